"""The pair of files that resumes a run: torn writes, damage, full disks."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from tiny_cases import assert_same_tensors, snapshot
from torch import Tensor, nn, optim

from napari_uda.core.errors import InputError
from napari_uda.run import checkpoint


class Killed(BaseException):
    """The process ended here."""


class Killer:
    """Ends the process at the n-th write or rename: before it, or in the middle of a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.torn = -1, False
        save_file, replace = safetensors.torch.save_file, Path.replace

        def write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
            def tear() -> None:
                save_file(tensors, path, metadata=metadata)
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

            self._count(tear)
            save_file(tensors, path, metadata=metadata)

        def rename(path: Path, target: Path) -> Path:
            self._count(lambda: None)
            return replace(path, target)

        monkeypatch.setattr(checkpoint, "save_file", write)
        monkeypatch.setattr(Path, "replace", rename)

    def after(self, operations: int, *, torn: bool = False) -> Killer:
        """Let that many writes and renames pass; -1 lets all pass."""
        self.left, self.torn = operations, torn
        return self

    def _count(self, tear: Callable[[], None]) -> None:
        if self.left == 0:
            if self.torn:
                tear()
            raise Killed
        self.left -= 1


def _pair(step: int) -> tuple[nn.Module, dict[str, optim.Optimizer]]:
    """A module and its optimiser that both say which step they are from."""
    module = nn.Linear(3, 2)
    optimizer = optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(step)
            optimizer.state[parameter]["momentum_buffer"] = torch.full_like(parameter, step + 0.5)
    return module, {"player": optimizer}


def _save(folder: Path, step: int) -> None:
    module, optimizers = _pair(step)
    checkpoint.save(folder, module.state_dict(), optimizers, step)


def _resumed_step(folder: Path) -> int:
    """The step that resuming gives, after checking that weights and state are both from it."""
    module, optimizers = _pair(-1)
    step = checkpoint.resume(folder, module, optimizers)
    if step == 0:
        return 0
    state = optimizers["player"].state
    for parameter in module.parameters():
        assert (parameter == step).all()
        assert (state[parameter]["momentum_buffer"] == step + 0.5).all()
    return step


# A save writes two files, renames the two of the pair before and then the two new ones: after 2
# operations the new pair is complete.
MOMENTS = [(n, torn) for n in range(6) for torn in (False, True) if n < 2 or not torn]
FILES = [checkpoint.WEIGHTS, checkpoint.STATE]
ALL_FILES = sorted([*FILES, checkpoint.PREVIOUS_WEIGHTS, checkpoint.PREVIOUS_STATE])


def _left_to_rename(folder: Path) -> int:
    """Renames with which the next save begins: those that a kill kept from an earlier one."""
    killed = [path for path in _newest_files(folder) if path.name.endswith(".next")]
    old = [path for path in (folder / name for name in FILES) if path.exists()]
    return len(killed) + (sum(path not in _newest_files(folder) for path in old) if killed else 0)


def test_a_save_is_two_writes_and_two_renames(tmp_path: Path, monkeypatch) -> None:
    killer = Killer(monkeypatch).after(4)
    _save(tmp_path, 1)
    assert killer.left == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES
    assert _resumed_step(tmp_path) == 1
    killer.after(6)
    _save(tmp_path, 2)
    assert killer.left == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ALL_FILES
    assert _resumed_step(tmp_path) == 2
    assert checkpoint.previous(tmp_path) == 1


@pytest.mark.parametrize("first", [None, *MOMENTS])
@pytest.mark.parametrize("second", MOMENTS)
def test_kills_at_any_moment_leave_the_newest_complete_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first, second
) -> None:
    """Two saves in a row are killed, each at any moment, after a first one that was not."""
    killer = Killer(monkeypatch)
    _save(tmp_path, 1)
    expected = 1
    for step, moment in ((2, first), (3, second)):
        if moment is None:
            killer.after(-1)
            _save(tmp_path, step)
            expected = step
        else:
            killer.after(moment[0] + _left_to_rename(tmp_path), torn=moment[1])
            with pytest.raises(Killed):
                _save(tmp_path, step)
            expected = step if moment[0] >= 2 else expected
        assert _resumed_step(tmp_path) == expected
    killer.after(-1)
    _save(tmp_path, 5)
    assert _resumed_step(tmp_path) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ALL_FILES
    assert checkpoint.previous(tmp_path) == expected


@pytest.mark.parametrize("leftover", [0, 1, 2, 3])
def test_kills_while_finishing_the_renames_of_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leftover: int
) -> None:
    killer = Killer(monkeypatch)
    _save(tmp_path, 1)
    killer.after(2)
    with pytest.raises(Killed):
        _save(tmp_path, 2)
    killer.after(leftover)
    with pytest.raises(Killed):
        _save(tmp_path, 3)
    assert _resumed_step(tmp_path) == 2
    killer.after(-1)
    _save(tmp_path, 4)
    assert (_resumed_step(tmp_path), checkpoint.previous(tmp_path)) == (4, 2)


@pytest.mark.parametrize("moment", MOMENTS[:6])
def test_a_kill_in_the_first_save_begins_again_or_has_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment
) -> None:
    Killer(monkeypatch).after(moment[0], torn=moment[1])
    with pytest.raises(Killed):
        _save(tmp_path, 7)
    checkpoint.refuse_damaged(tmp_path)
    assert _resumed_step(tmp_path) == (7 if moment[0] >= 2 else 0)


def _newest_files(folder: Path) -> tuple[Path, ...]:
    pair = checkpoint.newest(folder)
    return pair[1:] if pair else ()


def test_an_older_pair_is_never_preferred(tmp_path: Path) -> None:
    """Both pairs whole, under either name: the higher step counts."""
    for final, waiting in ((1, 2), (2, 1)):
        folder = tmp_path / f"{final}{waiting}"
        _save(folder, waiting)
        for name in (checkpoint.WEIGHTS, checkpoint.STATE):
            (folder / name).rename(folder / f"{name}.kept")
        _save(folder, final)
        for name in (checkpoint.WEIGHTS, checkpoint.STATE):
            (folder / f"{name}.kept").rename(folder / f"{name}.next")
        assert _resumed_step(folder) == 2


# --- damage ---------------------------------------------------------------------------------------


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garble_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 16 + path.read_bytes()[16:])


def _replace_by_text(path: Path) -> None:
    path.write_text("not a checkpoint")


DAMAGES = [_truncate, _empty, _garble_header, _replace_by_text]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.STATE])
def test_a_damaged_file_is_refused_not_trained_over(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    _save(tmp_path, 3)
    damage(tmp_path / name)
    assert checkpoint.newest(tmp_path) is None
    with pytest.raises(InputError, match=r"is damaged .* remove that folder"):
        checkpoint.refuse_damaged(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.STATE])
def test_a_damaged_new_file_falls_back_to_the_older_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], name: str
) -> None:
    _save(tmp_path, 1)
    killer = Killer(monkeypatch).after(2)
    with pytest.raises(Killed):
        _save(tmp_path, 2)
    damage(tmp_path / f"{name}.next")
    checkpoint.refuse_damaged(tmp_path)
    assert _resumed_step(tmp_path) == 1
    killer.after(-1)
    _save(tmp_path, 2)
    assert _resumed_step(tmp_path) == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_named_when_read(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    _save(tmp_path, 1)
    damage(tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(InputError, match=r"last\.safetensors is damaged") as caught:
        checkpoint.load_weights(tmp_path / checkpoint.WEIGHTS)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        checkpoint.load_weights(tmp_path / "none.safetensors")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_the_pair_before_a_damaged_one_is_offered_and_used_after_its_removal(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    damage(tmp_path / name)
    assert checkpoint.newest(tmp_path) is None
    with pytest.raises(InputError, match=r"the checkpoint before it, of step 1, is whole: remove"):
        checkpoint.refuse_damaged(tmp_path)
    for file in FILES:
        (tmp_path / file).unlink()
    checkpoint.refuse_damaged(tmp_path)
    assert _resumed_step(tmp_path) == 1
    _save(tmp_path, 3)
    assert (_resumed_step(tmp_path), checkpoint.previous(tmp_path)) == (3, 1)


def test_a_damaged_pair_before_is_not_offered(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    _flip(tmp_path / checkpoint.PREVIOUS_STATE, -1, 3)
    _truncate(tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(InputError, match="remove that folder to train the run again"):
        checkpoint.refuse_damaged(tmp_path)


# --- single bits ----------------------------------------------------------------------------------


def _flip(path: Path, byte: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def _read_whole(folder: Path) -> dict[str, Any]:
    """Everything that resuming takes from the pair."""
    module, optimizers = _pair(-1)
    step = checkpoint.resume(folder, module, optimizers)
    groups = [optimizer.state_dict()["param_groups"] for optimizer in optimizers.values()]
    tensors = [
        *module.state_dict().values(),
        *(state["momentum_buffer"] for state in optimizers["player"].state.values()),
    ]
    return {"step": step, "groups": groups, "values": [tensor.tolist() for tensor in tensors]}


@pytest.mark.parametrize("name", FILES)
def test_every_single_bit_is_watched(tmp_path: Path, name: str) -> None:
    """Each bit of a small file in turn: it is noticed, or what is read is what was written."""
    _save(tmp_path, 4)
    expected, whole = _read_whole(tmp_path), (tmp_path / name).read_bytes()
    noticed = 0
    for byte in range(len(whole)):
        _flip(tmp_path / name, byte, byte % 8)
        try:
            found = checkpoint.newest(tmp_path)
            if found is None:
                noticed += 1
            else:
                assert _read_whole(tmp_path) == expected, (byte, byte % 8)
        except InputError:
            noticed += 1
        (tmp_path / name).write_bytes(whole)
    assert noticed > 0.95 * len(whole)


def test_what_was_read_does_not_follow_the_file(tmp_path: Path) -> None:
    """Neither weights in use nor those whose checksum was right a moment ago."""
    _save(tmp_path, 4)
    weights = checkpoint.load_weights(tmp_path / checkpoint.WEIGHTS)
    _flip(tmp_path / checkpoint.WEIGHTS, -1, 6)  # the same file, written over in place
    assert all((tensor == 4).all() for tensor in weights.values())


def test_a_flip_in_the_tensors_is_named_and_the_pair_before_offered(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    _flip(tmp_path / checkpoint.WEIGHTS, -1, 6)
    module, optimizers = _pair(-1)
    with pytest.raises(InputError) as caught:
        checkpoint.resume(tmp_path, module, optimizers)
    assert str(caught.value) == (
        f"{tmp_path / checkpoint.WEIGHTS} is damaged (its content does not fit its checksum); the "
        "checkpoint before it, of step 1, is whole: remove last.safetensors and "
        f"last.state.safetensors from {tmp_path} to use that one"
    )


def test_files_without_a_checksum_are_read_as_version_0_1_wrote_them(tmp_path: Path) -> None:
    _save(tmp_path, 3)
    for name in FILES:
        with safetensors.safe_open(tmp_path / name, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = {k: v for k, v in file.metadata().items() if k != "sha256"}
        safetensors.torch.save_file(tensors, tmp_path / name, metadata=metadata)
    assert _resumed_step(tmp_path) == 3
    _flip(tmp_path / checkpoint.WEIGHTS, -1, 0)  # nobody can notice this one
    checkpoint.load_weights(tmp_path / checkpoint.WEIGHTS)
    _save(tmp_path, 4)  # and from the next checkpoint on it can be
    _flip(tmp_path / checkpoint.WEIGHTS, -1, 0)
    with pytest.raises(InputError, match="does not fit its checksum"):
        checkpoint.load_weights(tmp_path / checkpoint.WEIGHTS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    weights = _pair(1)[0].state_dict() | {checkpoint.AMPLITUDE_BANK: torch.zeros(2)}
    weights["bias"] = torch.tensor([0.0, value])
    checkpoint.save_weights(tmp_path / checkpoint.BEST, weights, 1)
    with pytest.raises(InputError, match="its tensor bias holds numbers that are not finite"):
        checkpoint.load_method_weights(tmp_path / checkpoint.BEST)


def test_a_header_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, 1)
    file = tmp_path / checkpoint.WEIGHTS
    length = int.from_bytes(file.read_bytes()[:8], "little")
    monkeypatch.setattr(checkpoint, "_MOST_HEADER_BYTES", length)
    checkpoint.load_weights(file)
    monkeypatch.setattr(checkpoint, "_MOST_HEADER_BYTES", length - 1)
    with pytest.raises(InputError, match=f"its header of {length} bytes is too large"):
        checkpoint.load_weights(file)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_pipe_in_place_of_a_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    (tmp_path / checkpoint.WEIGHTS).unlink()
    os.mkfifo(tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(InputError, match="no plain file but a pipe"):
        checkpoint.load_weights(tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(InputError, match="is damaged"):
        checkpoint.refuse_damaged(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_saving_writes_through_no_link(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "checkpoints"
    outside.write_text("mine")
    folder.mkdir()
    for name in (*FILES, *(f"{name}.next" for name in FILES), *ALL_FILES):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside)
    _save(folder, 1)
    _save(folder, 2)
    assert outside.read_text() == "mine"
    assert _resumed_step(folder) == 2


def test_another_network_or_player_is_refused(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    module, optimizers = nn.Linear(4, 2), _pair(0)[1]
    with pytest.raises(InputError, match="does not fit the run's settings"):
        checkpoint.resume(tmp_path, module, optimizers)
    module, optimizers = _pair(0)
    with pytest.raises(InputError, match="does not fit the run's settings"):
        checkpoint.resume(tmp_path, module, {"someone_else": optimizers["player"]})
    with pytest.raises(InputError, match="does not fit the run's settings"):
        checkpoint.resume(tmp_path, module, {"player": optim.Adam(module.parameters())})


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_whoever_may_open_the_folder_may_read_the_weights(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    folder.chmod(0o750)
    _save(folder, 1)
    for name in (checkpoint.WEIGHTS, checkpoint.STATE):
        assert (folder / name).stat().st_mode & 0o777 == 0o640


# --- full disks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("passing", [0, 1])
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: no space")],
)
def test_a_full_disk_keeps_the_old_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passing: int, error: Exception
) -> None:
    _save(tmp_path, 1)
    count = iter(range(9))

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        if next(count) >= passing:
            path.write_bytes(b"half")
            raise error
        safetensors.torch.save_file(tensors, path, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(InputError, match="checkpoint of step 2 cannot be written") as caught:
        _save(tmp_path, 2)
    assert "the previous checkpoint is kept" in str(caught.value)
    assert _resumed_step(tmp_path) == 1
    monkeypatch.undo()
    _save(tmp_path, 3)
    assert _resumed_step(tmp_path) == 3


def test_a_full_disk_keeps_the_old_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = tmp_path / checkpoint.BEST
    checkpoint.save_weights(best, _pair(1)[0].state_dict(), 1)

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(InputError, match=r"best\.safetensors cannot be written"):
        checkpoint.save_weights(best, _pair(2)[0].state_dict(), 2)
    assert (checkpoint.load_weights(best)["weight"] == 1).all()


# --- round trip -----------------------------------------------------------------------------------


def _network() -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    first, *rest = network.children()
    others = [p for module in rest for p in module.parameters()]
    return [{"params": list(first.parameters()), "lr": 0.01}, {"params": others, "lr": 0.1}]


def _steps(network: nn.Module, optimizers: dict[str, optim.Optimizer], numbers: range) -> None:
    for number in numbers:
        draw = torch.Generator().manual_seed(number)
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        network(torch.rand(2, 3, 8, 8, generator=draw)).square().mean().backward()
        for optimizer in optimizers.values():
            optimizer.step()


@pytest.mark.parametrize(
    "build",
    [
        lambda groups: optim.SGD(groups, momentum=0.9, weight_decay=1e-3),
        lambda groups: optim.SGD(groups),  # no state at all
        lambda groups: optim.Adam(groups, betas=(0.9, 0.99)),
        lambda groups: optim.AdamW(groups, weight_decay=0.1),
    ],
)
def test_training_goes_on_bit_for_bit(tmp_path: Path, build) -> None:
    network = _network()
    optimizers = {"segmentor": build(_groups(network))}
    _steps(network, optimizers, range(3))
    optimizers["segmentor"].param_groups[0]["lr"] = 0.0123456789  # a schedule's number
    checkpoint.save(tmp_path, network.state_dict(), optimizers, 3)
    _steps(network, optimizers, range(3, 6))

    again = _network()
    restored = {"segmentor": build(_groups(again))}
    assert checkpoint.resume(tmp_path, again, restored) == 3
    _steps(again, restored, range(3, 6))
    assert_same_tensors(snapshot(network), snapshot(again))
    states = [o["segmentor"].state_dict() for o in (optimizers, restored)]
    groups = [json.loads(json.dumps(state["param_groups"])) for state in states]  # tuples as lists
    assert groups[0] == groups[1]
    for index, entries in states[0]["state"].items():
        for key, value in entries.items():
            assert torch.equal(
                torch.as_tensor(value), torch.as_tensor(states[1]["state"][index][key])
            )


def test_buffers_of_every_type_survive(tmp_path: Path) -> None:
    module = nn.Module()
    module.register_buffer("seen", torch.tensor([True, False]))
    module.register_buffer("count", torch.tensor(7))
    module.register_buffer("last", torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last))
    module.register_buffer("short", torch.rand(3).bfloat16())
    expected = snapshot(module)
    checkpoint.save(tmp_path, module.state_dict(), {}, 1)
    loaded = checkpoint.load_weights(tmp_path / checkpoint.WEIGHTS)
    assert_same_tensors(expected, loaded)
    assert loaded["seen"].dtype == torch.bool
