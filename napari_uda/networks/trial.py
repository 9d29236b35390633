"""One forward of a network after it is built: does it give a map of classes, before anybody trains it?"""

from __future__ import annotations

import torch

from napari_uda.core.errors import InputError, ran_out_of_memory
from napari_uda.networks.segmentor import Segmentor

_SIDE = 64  # pixels; fewer than most networks are trained with, more than the deepest layers need
_EXAMPLES = "choose for instance unet, monai:UNet, monai:AttentionUnet or monai:BasicUNet"


def try_network(network: Segmentor, name: str, size: int) -> None:
    """Segment one empty image, in evaluation mode; weights and random numbers stay as they are.

    Args:
        network: on any device; on the device "meta" shapes alone are computed.
        name: by which the settings call it.
        size: side of the slices in pixels, a multiple of the network's stride; the image is smaller where
            it may be.

    Raises:
        InputError: if it fails, or its logits are no `(1, C, H, W)`.
    """
    side = min(size, max(2 * network.stride, -(-_SIDE // network.stride) * network.stride))
    device = next(network.parameters()).device
    what = f"1 image of {network.in_channels} x {side} x {side}"
    is_training = network.training
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            image = torch.zeros(1, network.in_channels, side, side, device=device)
            logits = network(image).logits
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        cause = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"network {name} fails on {what} ({cause}), so it cannot be used; {_EXAMPLES}"
        ) from error
    finally:
        network.train(is_training)
    wanted = (1, network.num_classes, side, side)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != wanted:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(
            f"network {name} gives no map of classes: for {what} its output is {found}, and {wanted} is needed; "
            f"{_EXAMPLES}"
        )
