"""Checkpoints: weights and training state as safetensors, a pair that is always from one step.

Two files cannot be renamed at once. Both are first written whole under a `.next` name and carry their
step; only then are they renamed. Whatever the moment of a kill, either the old pair or the new pair is
complete, some of it perhaps still under its `.next` name, and `resume` takes the newest complete pair.
What a kill left half renamed is renamed first by the next `save`: a `.next` file that is part of the
newest pair is never written over.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from napari_uda.core.errors import InputError, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WEIGHTS, STATE = "last.safetensors", "last.state.safetensors"
BEST = "best.safetensors"
AMPLITUDE_BANK = "amplitude_bank"
"""Tensor of a weights file that belongs to the run and its vote on reliability, not to the method."""
_NEXT = ".next"


def save_weights(path: Path, weights: Mapping[str, Tensor], step: int) -> None:
    """Write what predicts to `path`, whole or not at all.

    Args:
        path: the file.
        weights: parameters and buffers of the method, and the run's `AMPLITUDE_BANK`.
        step: steps done.

    Raises:
        InputError: if the disk is full or the folder cannot be written; older weights are kept.
    """
    temporary = path.with_name(path.name + _NEXT)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, weights, {"step": str(step)})
        temporary.replace(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be written ({error}); free space there and resume: the previous "
            "checkpoint is kept"
        ) from error


def save(
    folder: Path,
    weights: Mapping[str, Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer],
    step: int,
) -> None:
    """Write the pair that resumes a run after `step` steps; `weights` as for `save_weights`.

    Raises:
        InputError: if the disk is full or the folder cannot be written; the old pair is kept.
    """
    tensors, plain = _split_optimizers(optimizers)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # a pair that a kill left half renamed: its other half is a .next file that is written over below
        _finish_renaming(folder)
        header = {"step": str(step)}
        _write(folder / (WEIGHTS + _NEXT), weights, header)
        _write(folder / (STATE + _NEXT), tensors, {**header, "optimizers": json.dumps(plain)})
        _sync(folder)  # both are on the disk before either takes the place of an old file
        _finish_renaming(folder)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"checkpoint of step {step} cannot be written to {folder} ({error}); free space there "
            "and resume: the previous checkpoint is kept"
        ) from error


def load_weights(path: Path, *, device: str = "cpu") -> dict[str, Tensor]:
    """Tensors of one weights file.

    Raises:
        InputError: if the file is missing or damaged.
    """
    with _opened(path, device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def load_method_weights(path: Path) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters and buffers of the method in a weights file, and the amplitude bank of its run.

    Raises:
        InputError: if the file is missing or damaged, or has no such bank.
    """
    weights = load_weights(path)
    try:
        bank = weights.pop(AMPLITUDE_BANK)
    except KeyError as error:
        raise InputError(
            f"{path} holds no {AMPLITUDE_BANK}, so it is no weights file of this program; give a run "
            "folder as training wrote it"
        ) from error
    return weights, bank


def check_weights(path: Path) -> None:
    """Look whether a weights file can be read, without reading its tensors.

    Raises:
        InputError: if the file is missing or damaged.
    """
    with _opened(path, "cpu"):
        pass


@contextmanager
def _opened(path: Path, device: str) -> Iterator[Any]:
    try:
        # safetensors takes a file that it may not read for one that is not there
        path.open("rb").close()
        with safe_open(path, framework="pt", device=device) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; train the run first") from error
    except PermissionError as error:
        raise InputError(refusal(error)) from error
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged ({error}); resume or train the run again") from error


def first_misfit(error: Exception) -> str:
    """The first of torch's complaints about tensors that do not fit, without its heading."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), type(error).__name__)


def newest(folder: Path) -> tuple[int, Path, Path] | None:
    """Step, weights and state file of the newest complete pair; None when there is none."""
    steps = {
        path: step
        for name in (WEIGHTS, STATE)
        for path in (folder / name, folder / (name + _NEXT))
        if (step := _step_of(path)) is not None
    }
    # any weights with any state of the same step: a kill between two renames leaves one of each name
    pairs = [
        (step, weights, state)
        for weights, step in steps.items()
        for state, state_step in steps.items()
        if weights.name.startswith(WEIGHTS) and state.name.startswith(STATE) and step == state_step
    ]
    return max(pairs, key=lambda pair: pair[0]) if pairs else None


def refuse_damaged(folder: Path) -> None:
    """Do not begin again where files of a finished save lie that cannot be read any more.

    A kill never leaves this: before the first save is complete no file has its final name.

    Raises:
        InputError: if `newest` finds nothing although there was a checkpoint.
    """
    try:
        left = [name for name in (WEIGHTS, STATE) if (folder / name).exists()]
    except OSError as error:
        raise InputError(refusal(error)) from error
    if left and newest(folder) is None:
        raise InputError(
            f"the checkpoint in {folder} is damaged ({' and '.join(left)} is no readable pair); remove "
            "that folder to train the run again from its first step"
        )


def resume(
    folder: Path, module: torch.nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]
) -> int:
    """Restore the newest complete pair.

    Returns:
        Number of steps done; 0 when there is no checkpoint and nothing was restored.

    Raises:
        InputError: if the pair does not fit the networks that the settings describe.
    """
    pair = newest(folder)
    if pair is None:
        return 0
    step, weights, state = pair
    try:
        tensors = load_weights(weights)
        tensors.pop(AMPLITUDE_BANK, None)  # it is the vote's, see `load_method_weights`
        module.load_state_dict(tensors)
        with safe_open(state, framework="pt") as file:
            plain = json.loads(file.metadata()["optimizers"])
            for name, optimizer in optimizers.items():
                _restore_optimizer(optimizer, plain[name], name, file)
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            f"{weights} does not fit the run's settings ({first_misfit(error)}); undo the changes "
            "in config.yaml"
        ) from error
    return step


def _finish_renaming(folder: Path) -> None:
    """Give the newest complete pair its final names; without effect when it has them."""
    _, weights, state = newest(folder) or (0, folder / WEIGHTS, folder / STATE)
    moved = False
    for path, name in ((weights, WEIGHTS), (state, STATE)):
        if path.name != name:
            path.replace(folder / name)
            moved = True
    if moved:
        _sync(folder)


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, path, metadata=metadata)
    with suppress(OSError):  # safetensors lets nobody else read it; some file systems know no modes
        path.chmod(path.parent.stat().st_mode & 0o666)
    _sync(path)


def _sync(path: Path) -> None:
    """Force a file, or a folder's entries, to the disk."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _step_of(path: Path) -> int | None:
    """Step written in a file's header; None when the file is missing, partial or foreign."""
    try:
        with safe_open(path, framework="pt") as file:
            return int((file.metadata() or {})["step"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _split_optimizers(
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Optimiser states as tensors by name, and the rest as JSON."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        kept: dict[str, dict[str, Any]] = {}
        for index, entries in state["state"].items():
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{name}/{index}/{key}"] = value
                else:
                    kept.setdefault(str(index), {})[key] = value
        plain[name] = {"state": kept, "param_groups": state["param_groups"]}
    return tensors, plain


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, plain: dict[str, Any], name: str, file: Any
) -> None:
    state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in plain["state"].items()}
    for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
        player, index, entry = key.split("/")
        if player == name:
            state.setdefault(int(index), {})[entry] = file.get_tensor(key)
    optimizer.load_state_dict({"state": state, "param_groups": plain["param_groups"]})
