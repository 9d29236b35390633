"""What computes a trained network in prediction: torch, or OpenVINO, whose networks take about two thirds of the time on a CPU."""

from __future__ import annotations

import copy
import hashlib
import logging
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from platformdirs import user_cache_path
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_uda.core.errors import InputError
from napari_uda.core.files import temporary_folder
from napari_uda.core.side_by_side import pieces_at_once
from napari_uda.core.suggestions import check_choice
from napari_uda.core.version import __version__
from napari_uda.core.warning_filters import own_warning_filters

if TYPE_CHECKING:
    from napari_uda.inference.averaging import Network
    from napari_uda.methods.base import Method

Backend = Literal["auto", "torch", "openvino"]
"""auto takes OpenVINO where it is installed and a CPU computes."""

_FILE = "network.xml"
_CLOSE = 1e-3  # of probabilities in float32; the order of sums alone moves them by under 1e-5
_logger = logging.getLogger(__name__)


def prepare_network(
    method: Method[Any], backend: Backend, device: torch.device, *, bf16: bool, checksum: str
) -> Network:
    """What predicts as `method.predict` does, and faster: later changes of the method's weights do not reach it.

    Args:
        method: in evaluation mode, on the device.
        backend: which library computes.
        device: where.
        bf16: whether convolutions are computed in bfloat16.
        checksum: of the weights and what else decides what is computed; the exported network is kept by it. Without
            one it is not kept.

    Raises:
        InputError: there is no such backend, or OpenVINO was asked for, and it is not installed, cannot compute there or
            not this network.
    """
    check_choice("backend", backend, get_args(Backend))
    alone, required = method.segments_each_alone, backend == "openvino"
    if required:
        _check_openvino(method, device)
    if not alone:
        return method.predict
    folded = with_folded_norms(method)
    if required or (backend == "auto" and device.type == "cpu" and _is_installed()):
        return _OpenVino(folded, bf16=bf16, checksum=checksum, required=required)
    return folded.predict


def with_folded_norms(method: Method[Any]) -> Method[Any]:
    """A copy in which batch normalisation that follows a convolution is part of its weights.

    Only where one follows the other in a `Sequential`, so that nothing lies between them.
    """
    folded = copy.deepcopy(method).requires_grad_(False)
    for part in folded.modules():
        if isinstance(part, nn.Sequential):
            for index in range(len(part) - 1):
                convolution, norm = part[index], part[index + 1]
                if type(convolution) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d):
                    part[index] = fuse_conv_bn_eval(convolution, norm)
                    part[index + 1] = nn.Identity()
    return folded


def _is_installed() -> bool:
    return find_spec("openvino") is not None


def _check_openvino(method: Method[Any], device: torch.device) -> None:
    if not _is_installed():
        raise InputError(
            "OpenVINO is not installed; install it with pip install 'napari_uda[fast]', or let torch compute (--backend torch)"
        )
    if device.type != "cpu":
        raise InputError(
            f"OpenVINO computes on the CPU here, and the device is {device}; take --device cpu, or --backend torch"
        )
    if not method.segments_each_alone:
        raise InputError(
            f"{method.config.name} normalises slices together, which OpenVINO cannot do; let torch compute (--backend torch)"
        )


class _OpenVino:
    """A network that OpenVINO computes; every size of slices is exported and compiled by itself.

    A network that was traced with one size may have kept it in its paddings. bfloat16 is said for each network:
    OpenVINO would choose it by itself on a processor that has it.
    """

    def __init__(self, method: Method[Any], *, bf16: bool, checksum: str, required: bool) -> None:
        import openvino

        self._method = method
        self._required = required
        self._core = openvino.Core()
        self._precision = "bf16" if bf16 else "f32"
        processor = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
        made_by = (openvino.get_version(), torch.__version__, __version__)
        known = [*made_by, *(self._core.get_property("CPU", name) for name in processor), checksum]
        self._key = hashlib.sha256(repr(known).encode()).hexdigest()[:32] if checksum else ""
        self._threads, self._at_once = torch.get_num_threads(), pieces_at_once()
        self._compiled: dict[tuple[int, ...], Callable[[Any], Any]] = {}
        self._compiling = threading.Lock()

    def __call__(self, image: Tensor) -> Tensor:
        size = tuple(image.shape[1:])
        with self._compiling:
            if size not in self._compiled:
                self._compiled[size] = self._made_for(size)
        found: Tensor = torch.as_tensor(self._compiled[size](image)[0])
        return found

    def _made_for(self, size: tuple[int, ...]) -> Callable[[Any], Any]:
        try:
            return self._compile(self._read(size), self._precision)
        except Exception as error:  # its errors are of many kinds, and torch can do the same
            said = f"OpenVINO cannot compute this network ({_first_line(error)})"
            if self._required:
                raise InputError(f"{said}; let torch compute (--backend torch)") from error
            _logger.warning("%s, so torch does", said)
            return self._in_torch

    def _in_torch(self, image: Tensor) -> list[Tensor]:
        return [self._method.predict(image)]

    def _compile(self, model: Any, precision: str) -> Callable[[Any], Any]:
        compiled = self._core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": self._threads,
                "NUM_STREAMS": self._at_once,
            },
        )
        requests = threading.local()  # one of them computes for one thread at a time

        def infer(image: Tensor) -> Any:
            if not hasattr(requests, "own"):
                requests.own = compiled.create_infer_request()
            return requests.own.infer([image.float().contiguous().numpy()])

        return infer

    def _read(self, size: tuple[int, ...]) -> Any:
        """The exported network for slices of a size, from the user's cache where it is there."""
        if not self._key:
            return self._export(size)
        kept = cache_folder() / f"{self._key}-{'x'.join(map(str, size))}"
        with suppress(RuntimeError, OSError):  # not there, or not readable
            return self._core.read_model(str(kept / _FILE))
        model = self._export(size)
        with suppress(OSError):  # a cache that cannot be written is no reason to fail
            _keep(model, kept)
        return model

    def _export(self, size: tuple[int, ...]) -> Any:
        """Trace the network, and prove on noise that OpenVINO computes the same in float32.

        It is traced with two slices and tried with three: what knew the number of slices is found out.

        Raises:
            ValueError: it does not.
        """
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        noise = torch.rand((3, *size), generator=torch.Generator().manual_seed(0)) * 2 - 1
        with torch.no_grad(), torch.autocast("cpu", enabled=False), own_warning_filters():
            warnings.simplefilter("ignore")  # conditions on the size, which is the same each time
            expected = self._method.predict(noise).softmax(1)
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                _Predicts(self._method), noise[:2], check_trace=False
            )
            # not openvino.convert_model, which may report to its makers that it was called
            frontend = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchScriptPythonDecoder(traced)  # by a name: what is loaded does not keep it
            model = frontend.convert(frontend.load(decoder))
        model.reshape([-1, *size])
        found = torch.as_tensor(self._compile(model, "f32")(noise)[0]).softmax(1)
        if found.shape != expected.shape:
            raise ValueError("its result has another size for another number of slices")
        apart = float((found - expected).abs().max())
        if not apart <= _CLOSE:
            raise ValueError(f"its probabilities are off by {apart:.2g}")
        return model


class _Predicts(nn.Module):
    """`Method.predict` as the call of a module, as tracing wants it."""

    def __init__(self, method: Method[Any]) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor) -> Tensor:
        return self.method.predict(image)


def cache_folder() -> Path:
    """Where exported networks are kept: in the user's cache, which may be emptied at any time."""
    return user_cache_path("napari_uda") / "networks"


def _keep(model: Any, place: Path) -> None:
    """Write an exported network, whole or not at all; float32, where OpenVINO's default is half of it."""
    import openvino

    place.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(place.parent) as folder:
        openvino.save_model(model, folder / _FILE, compress_to_fp16=False)
        folder.rename(place)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
