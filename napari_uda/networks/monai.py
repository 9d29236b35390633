"""Any 2-D network of MONAI as a segmentor, by name; needs the extra `napari_uda[monai]`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module

from torch import Tensor, nn

from napari_uda.core.errors import InputError
from napari_uda.networks.normalisation import over_all_ranks
from napari_uda.networks.segmentor import Segmentor, SegmentorConfig, SegmentorOutput

WIDEST = 8
STRIDE = 32
_EXAMPLES = "choose for instance monai:UNet, monai:AttentionUnet or monai:BasicUNet"
_CONSTRUCTION_ERRORS = (
    TypeError, ValueError, AttributeError, LookupError, NotImplementedError, AssertionError, ArithmeticError,
)  # fmt: skip
"""What constructors raise that are given arguments they were not written for."""


class MonaiSegmentor(Segmentor):
    """A network of `monai.networks.nets` behind our interface.

    It is built with `spatial_dims=2`, our channel numbers, `channels` and `strides` from width and depth
    where it asks for them (UNet, AttentionUnet), and our choice of normalisation where it takes one; all
    else is MONAI's default. Without a second head `aux_logits` is None, and `features` are the logits
    themselves: which layer comes before them differs from network to network.

    Args:
        class_name: in `monai.networks.nets`, for instance `AttentionUnet`.
        config: width, depth and norm.
        in_channels: K.
        num_classes: C.

    Raises:
        InputError: without MONAI, for an unknown class, or one that cannot be built like this.
    """

    def __init__(
        self, class_name: str, config: SegmentorConfig, in_channels: int, num_classes: int
    ) -> None:
        constructor = _constructor(class_name)
        accepted = inspect.signature(constructor).parameters
        super().__init__(in_channels, num_classes, num_classes, _stride(accepted, config.depth))
        self.network = over_all_ranks(
            _construct(
                class_name, constructor, _arguments(accepted, config, in_channels, num_classes)
            )
        )

    def forward(self, image: Tensor) -> SegmentorOutput:
        """Segment `(B, K, H, W)` images; of several outputs the first is taken."""
        self.check_input(image)
        output = self.network(image)
        logits: Tensor = output[0] if isinstance(output, list | tuple) and output else output
        return SegmentorOutput(logits, None, logits)


def _constructor(class_name: str) -> Callable[..., nn.Module]:
    try:
        networks = import_module("monai.networks.nets")
    except ImportError as error:
        raise InputError(
            f"network monai:{class_name} needs MONAI; install it with pip install napari_uda[monai]"
        ) from error
    found = getattr(networks, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise InputError(
            f"MONAI has no network {class_name!r}; choose for instance UNet, AttentionUnet or BasicUNet"
        )
    constructor: Callable[..., nn.Module] = found
    return constructor


def _arguments(
    accepted: Mapping[str, inspect.Parameter],
    config: SegmentorConfig,
    in_channels: int,
    num_classes: int,
) -> dict[str, object]:
    wanted: dict[str, object] = {
        "channels": [config.width * min(2**level, WIDEST) for level in range(config.depth + 1)],
        "strides": [2] * config.depth,
        "norm": ("instance", {"affine": True}) if config.norm == "instance" else "batch",
    }
    chosen = {name: value for name, value in wanted.items() if name in accepted}
    return chosen | {"spatial_dims": 2, "in_channels": in_channels, "out_channels": num_classes}


def _construct(
    class_name: str, constructor: Callable[..., nn.Module], arguments: dict[str, object]
) -> nn.Module:
    try:
        return constructor(**arguments)
    except ImportError as error:  # MONAI imports what a network needs when it is built
        missing = str(error).strip().partition("\n")[0].rstrip(".") or class_name
        raise InputError(
            f"network monai:{class_name} needs a package that is not installed ({missing}); install it, or "
            f"{_EXAMPLES}"
        ) from error
    except _CONSTRUCTION_ERRORS as error:
        raise InputError(
            f"network monai:{class_name} cannot be built from channels, classes, width and depth alone; {_EXAMPLES}"
        ) from error


def _stride(accepted: Mapping[str, inspect.Parameter], depth: int) -> int:
    """Sides of the input must be multiples of it; 32 is enough for all of MONAI's fixed layouts."""
    return int(2**depth) if "strides" in accepted else STRIDE
