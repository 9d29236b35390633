"""What a cell costs: seconds of a step, peak memory, parameters, and the networks that prediction needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_uda.core.processes import forget_peak_memory, peak_memory_mib

if TYPE_CHECKING:
    from napari_uda.inference.loaded import LoadedRun

_MIB = 2**20


class TrainingMeter:
    """Measures a training from its first step on.

    On the CPU seconds are those of this process's threads together, so that other programs at work change
    them little; on a GPU they are those of the clock. Memory is that of the whole process, or on a GPU
    what torch has held there.
    """

    def __init__(self) -> None:
        self._began = self._last = (0, 0.0)
        _forget_peak()

    def after_step(self, step: int) -> None:
        """Note that a step is done; the first one, which loads and warms up, is not measured."""
        now = time.monotonic() if _on_gpu() else time.process_time()
        self._last = (step, now)
        if not self._began[0]:
            self._began = self._last

    def measured(self) -> dict[str, Any]:
        """`seconds_per_step` (absent without two steps) and `peak_mib`."""
        steps = self._last[0] - self._began[0]
        found: dict[str, Any] = {"peak_mib": round(_peak_mib(), 1)}
        if steps:
            found["seconds_per_step"] = round((self._last[1] - self._began[1]) / steps, 5)
        return found


def of_prediction(loaded: LoadedRun) -> dict[str, Any]:
    """`parameters` of all networks, `prediction_parameters`, and `networks` that a prediction calls, by name."""
    import torch

    method = loaded.method
    used: dict[str, int] = {}

    def note(name: str, count: int) -> None:
        used[name] = count

    handles = [
        module.register_forward_hook(
            lambda *_, name=name, module=module: note(
                name, sum(p.numel() for p in module.parameters(recurse=False))
            )
        )
        for name, module in method.named_modules()
    ]
    side = 2 * max(method.segmentor.stride, 16)
    image = torch.zeros(1, method.segmentor.in_channels, side, side, device=loaded.device)
    try:
        with torch.no_grad():
            method.predict(image)
    finally:
        for handle in handles:
            handle.remove()
    networks = dict.fromkeys(name.partition(".")[0] for name, count in used.items() if count)
    return {
        "parameters": sum(p.numel() for p in method.parameters()),
        "prediction_parameters": sum(used.values()),
        "networks": list(networks),
    }


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _forget_peak() -> None:
    forget_peak_memory()
    if _on_gpu():
        import torch

        torch.cuda.reset_peak_memory_stats()


def _peak_mib() -> float:
    if _on_gpu():
        import torch

        return torch.cuda.max_memory_reserved() / _MIB
    return peak_memory_mib()
