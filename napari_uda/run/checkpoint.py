"""Checkpoints: weights and training state as safetensors, a pair that is always from one step.

Two files cannot be renamed at once. Both are first written whole under a `.next` name and carry their
step; only then are they renamed. Whatever the moment of a kill, either the old pair or the new pair is
complete, some of it perhaps still under its `.next` name, and `resume` takes the newest complete pair.
What a kill left half renamed is renamed first by the next `save`: a `.next` file that is part of the
newest pair is never written over.

Every file carries the sha256 of its tensors and of what else it says, and is checked whenever its tensors
are read. The pair before the last one stays, as `previous`: nobody takes it by itself, but where the last
pair is damaged the message says that it is there.
"""

from __future__ import annotations

import hashlib
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
from napari_uda.core.files import temporary_folder
from napari_uda.core.small_files import open_plain, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WEIGHTS, STATE = "last.safetensors", "last.state.safetensors"
PREVIOUS_WEIGHTS, PREVIOUS_STATE = "previous.safetensors", "previous.state.safetensors"
BEST = "best.safetensors"
START = "start.safetensors"
"""Weights that a run which adapts to its target alone begins with, to be compared with its last ones."""
AMPLITUDE_BANK = "amplitude_bank"
"""Tensor of a weights file that belongs to the run and its vote on reliability, not to the method."""
_NEXT = ".next"
_CHECKSUM = "sha256"
_KNOWN_METADATA: tuple[set[str], ...] = (set(), {"step"}, {"step", "optimizers"})
"""What is said beside tensors, without the checksum; older files have none."""
_MOST_HEADER_BYTES = 16 * 2**20
"""Names, shapes and metadata of a file; 100,000 tensors need as much."""


def save_weights(path: Path, weights: Mapping[str, Tensor], step: int) -> None:
    """Write what predicts to `path`, whole or not at all.

    Args:
        path: the file.
        weights: parameters and buffers of the method, and the run's `AMPLITUDE_BANK`.
        step: steps done.

    Raises:
        InputError: if the disk is full or the folder cannot be written; older weights are kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, weights, {"step": str(step)})
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
        finish_renaming(folder)
        header = {"step": str(step)}
        _write(folder / (WEIGHTS + _NEXT), weights, header)
        _write(folder / (STATE + _NEXT), tensors, {**header, "optimizers": json.dumps(plain)})
        _sync(folder)  # both are on the disk before either takes the place of an old file
        finish_renaming(folder)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"checkpoint of step {step} cannot be written to {folder} ({error}); free space there "
            "and resume: the previous checkpoint is kept"
        ) from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of one weights file.

    Raises:
        InputError: if the file is missing or damaged.
    """
    return _load(path)[0]


def load_method_weights(path: Path) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters and buffers of the method in a weights file, and the amplitude bank of its run.

    Raises:
        InputError: if the file is missing or damaged, has no such bank, or holds numbers that are not
            finite.
    """
    weights = load_weights(path)
    name = first_not_finite(weights)
    if name:
        raise InputError(
            f"{path} cannot be used: its tensor {name} holds numbers that are not finite (NaN or "
            f"infinity); {_offer(path)}"
        )
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
    with _opened(path) as file:
        _metadata(file)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a weights file, by name, without reading the tensors.

    Raises:
        InputError: if the file is missing or damaged.
    """
    with _opened(path) as file:
        _metadata(file)
        names = file.keys()
        return {name: tuple(file.get_slice(name).get_shape()) for name in names}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as safetensors opens it; whatever is wrong with it is one sentence."""
    try:
        with _read(path) as file:
            yield file
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; train the run first") from error
    except PermissionError as error:
        raise InputError(refusal(error)) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); {_offer(path)}") from error


@contextmanager
def _read(path: Path) -> Iterator[Any]:
    # safetensors takes a file that it may not read for one that is not there, and waits at a pipe
    with open_plain(path) as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > _MOST_HEADER_BYTES:
        raise ValueError(f"its header of {length} bytes is too large")
    with safe_open(path, framework="pt") as file:
        yield file


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file whose content is what was written."""
    with _opened(path) as file:
        metadata = _metadata(file)
        # copies: what safetensors gives is the file itself, and changes when that is written over
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        written = metadata.pop(_CHECKSUM, None)
        if written is not None and written != _digest(tensors, metadata):
            raise ValueError("its content does not fit its checksum")
    return tensors, metadata


def _metadata(file: Any) -> dict[str, str]:
    """What a file says beside its tensors.

    Raises:
        ValueError: if it says anything that is never written, such as a checksum under a bent name.
    """
    metadata = dict(file.metadata() or {})
    if metadata.keys() - {_CHECKSUM} not in _KNOWN_METADATA:
        raise ValueError("its metadata are not those of a checkpoint")
    return metadata


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Sha256 of names, types, shapes and bytes of tensors, and of what is said beside them."""
    digest = hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _offer(path: Path) -> str:
    """What helps where a file of a checkpoint cannot be used: the pair before it, if that is whole."""
    folder = path.parent
    step = previous(folder) if path.name.removesuffix(_NEXT) in (WEIGHTS, STATE) else None
    if step is None:
        return "copy the run once more from where it came from, or train it again"
    return (
        f"the checkpoint before it, of step {step}, is whole: remove {WEIGHTS} and {STATE} from "
        f"{folder} to use that one"
    )


def first_not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Name of the first tensor with a NaN or an infinity; "" when there is none."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            return name
    return ""


def first_misfit(error: Exception) -> str:
    """The first of torch's complaints about tensors that do not fit, without its heading."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), type(error).__name__)


def newest(folder: Path) -> tuple[int, Path, Path] | None:
    """Step, weights and state file of the newest complete pair; None when there is none.

    The previous pair counts only where nothing is left of a later one, as after its removal.
    """
    found = _newest_of(folder, (WEIGHTS, WEIGHTS + _NEXT), (STATE, STATE + _NEXT))
    if found is None and not any((folder / name).exists() for name in (WEIGHTS, STATE)):
        found = _newest_of(folder, (PREVIOUS_WEIGHTS,), (PREVIOUS_STATE,))
    return found


def previous(folder: Path) -> int | None:
    """Step of the pair before the last one, if it is there and whole to its last bit."""
    pair = _newest_of(folder, (PREVIOUS_WEIGHTS,), (PREVIOUS_STATE,))
    if pair is None:
        return None
    try:
        for file in pair[1:]:
            _load(file)
    except InputError:
        return None
    return pair[0]


def _newest_of(
    folder: Path,
    weights_names: tuple[str, ...],
    state_names: tuple[str, ...],
    other_than: int | None = None,
) -> tuple[int, Path, Path] | None:
    weights, states = (
        [(step, path) for path in paths if (step := _step_of(path)) is not None]
        for paths in ([folder / n for n in weights_names], [folder / n for n in state_names])
    )
    # any weights with any state of the same step: a kill between two renames leaves one of each name
    pairs = [
        (step, path, other)
        for step, path in weights
        for same, other in states
        if step == same and step != other_than
    ]
    return max(pairs, key=lambda pair: pair[0]) if pairs else None


def refuse_damaged(folder: Path) -> None:
    """Do not begin again where files of a finished save lie that cannot be read any more.

    A kill never leaves this: before the first save is complete no file has its final name.

    Raises:
        InputError: if `newest` finds nothing although there was a checkpoint.
    """
    try:
        names = (WEIGHTS, STATE, PREVIOUS_WEIGHTS, PREVIOUS_STATE)
        left = [name for name in names if (folder / name).exists()]
    except OSError as error:
        raise InputError(refusal(error)) from error
    if not left or newest(folder) is not None:
        return
    offer = "remove that folder to train the run again from its first step"
    if previous(folder) is not None:
        offer = _offer(folder / WEIGHTS)
    raise InputError(
        f"the checkpoint in {folder} is damaged ({' and '.join(left[:2])} is no readable pair); {offer}"
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
    tensors = load_weights(weights)
    tensors.pop(AMPLITUDE_BANK, None)  # it is the vote's, see `load_method_weights`
    states, metadata = _load(state)
    plain = parse_json(metadata.get("optimizers", "{}"), str(state))
    try:
        module.load_state_dict(tensors)
        for name, optimizer in optimizers.items():
            _restore_optimizer(optimizer, plain[name], name, states)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{weights} does not fit the run's settings ({first_misfit(error)}); undo the changes "
            "in config.yaml"
        ) from error
    return step


def finish_renaming(folder: Path) -> None:
    """Give the two newest complete pairs their final names; without effect when they have them.

    Raises:
        OSError: if the folder cannot be written.
    """
    found = _newest_of(folder, (WEIGHTS, WEIGHTS + _NEXT), (STATE, STATE + _NEXT))
    if found is None or (found[1].name, found[2].name) == (WEIGHTS, STATE):
        return
    step, weights, state = found
    # the old files make room for the new ones; a kill in between leaves one of each under each name
    names = ((WEIGHTS, PREVIOUS_WEIGHTS), (STATE, PREVIOUS_STATE))
    before = _newest_of(folder, *names, other_than=step)
    for path, (_, name) in zip(before[1:] if before else (), names, strict=False):
        _rename(path, folder / name)
    for path, (name, _) in zip((weights, state), names, strict=True):
        _rename(path, folder / name)
    _sync(folder)


def _rename(path: Path, new: Path) -> None:
    if path != new:
        path.replace(new)


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file, whole or not at all; a link of its name is replaced."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksum = {_CHECKSUM: _digest(whole, metadata)}
    # safetensors writes under hidden names of its own, which would stay after a kill and say nothing
    with temporary_folder(path.parent) as aside:
        file = aside / path.name
        save_file(whole, file, metadata={**metadata, **checksum})
        with suppress(
            OSError
        ):  # safetensors lets nobody else read it; some file systems know no modes
            file.chmod(path.parent.stat().st_mode & 0o666)
        _sync(file)
        os.replace(file, path)  # noqa: PTH105 - part of the writing, as the tests count it


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
        with _read(path) as file:
            return int(_metadata(file)["step"])
    except (OSError, SafetensorError, InputError, KeyError, ValueError):
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
    optimizer: torch.optim.Optimizer,
    plain: dict[str, Any],
    name: str,
    tensors: Mapping[str, Tensor],
) -> None:
    rates = [group["lr"] for group in optimizer.param_groups]  # of today's settings
    state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in plain["state"].items()}
    for key, tensor in tensors.items():
        player, index, entry = key.split("/")
        if player == name:
            state.setdefault(int(index), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": plain["param_groups"]})
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if "initial_lr" in group:  # what the schedule scales; it may have been changed on purpose
            group["initial_lr"] = rate
