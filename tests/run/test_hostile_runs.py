"""Run folders from anyone: changed files, links out of the folder, pipes and damaged lines."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_cases import events, metric_lines, small_config, stored_run, without_checksums
from written_runs import append_lines, beat, write_preview, write_run

from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.inference import loaded
from napari_uda.run import outline
from napari_uda.run import reader as run_reader
from napari_uda.run.folder import PreviewRequest, RunFolder
from napari_uda.run.hints import hints
from napari_uda.run.history import RunHistory
from napari_uda.run.reader import RunReader, RunScanner
from napari_uda.run.run import Run, content_hash
from napari_uda.run.status import RunState, run_status
from napari_uda.training import loop

posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")


@pytest.fixture
def copied(tiny_run: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.path, tmp_path / "run"))


# --- checksums of settings and facts --------------------------------------------------------------


def changed_seed(run: Path) -> str:
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("seed: 0", "seed: 1"))
    return "config.yaml"


def changed_range(run: Path) -> str:
    file = run / "data.json"
    facts = json.loads(file.read_text())
    facts["grid"]["pixel_mm"] += 1e-9
    file.write_text(json.dumps(facts))
    return "data.json"


def unknown_setting(run: Path) -> str:
    with (run / "config.yaml").open("a") as file:
        file.write("colour: red\n")
    return "config.yaml"


def lost_fact(run: Path) -> str:
    file = run / "data.json"
    facts = json.loads(file.read_text())
    del facts["grid"]
    file.write_text(json.dumps(facts))
    return "data.json"


@pytest.mark.parametrize("change", [changed_seed, changed_range, unknown_setting, lost_fact])
def test_settings_and_facts_that_the_run_did_not_write_are_refused(
    change: Callable[[Path], str], copied: Path
) -> None:
    name = change(copied)
    entry = "config_sha256" if name == "config.yaml" else "data_sha256"
    with pytest.raises(InputError) as caught:
        _ = Run.open(copied).facts
    assert str(caught.value) == (
        f"{copied / name} is damaged or was changed: it does not fit its checksum in "
        "environment.json; restore the file or, if you changed it on purpose, remove "
        f"{entry} from environment.json"
    )
    without_checksums(copied)  # the way out that the sentence names
    if change in (changed_seed, changed_range):
        _ = Run.open(copied).facts
    else:
        with pytest.raises(InputError, match=r"colour|grid"):
            _ = Run.open(copied).facts


def test_the_layout_of_a_file_is_not_its_content(copied: Path) -> None:
    for name in ("config.yaml", "data.json"):
        file = copied / name
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    run = Run.open(copied)
    assert run.facts.labels == {"inner": 1, "outer": 3}


def test_the_checksum_by_hand() -> None:
    assert content_hash({}) == (  # sha256 of the two bytes {}
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
    assert content_hash({"a": 1, "b": [2.5]}) == content_hash({"b": [2.5], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 1.0})


def test_settings_and_facts_are_replaced_with_their_checksums(copied: Path) -> None:
    run = Run.open(copied)
    new = run.write_config(run.config.model_copy(update={"steps": 77}))
    assert (new.config.steps, Run.open(copied).config.steps) == (77, 77)
    run.write_facts(run.facts.model_copy(update={"source_modality": "of today"}))
    assert Run.open(copied).facts.source_modality == "of today"


@pytest.mark.parametrize("writes", range(3))
def test_a_kill_while_facts_are_written_leaves_a_run_that_opens(
    writes: int, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment without the checksum, the facts, the environment with it: killed before each."""
    run, left = Run.open(copied), writes
    before = run.facts.source_modality
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return replace(path, target)

    facts = run.facts.model_copy(update={"source_modality": "of today"})
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run.write_facts(facts)
    monkeypatch.undo()
    assert Run.open(copied).facts.source_modality == ("of today" if writes == 2 else before)


def test_a_run_of_version_0_1_gets_its_checksum_when_it_goes_on(tmp_path: Path) -> None:
    run = stored_run("sfda", tmp_path / "stored")
    assert "data_sha256" not in json.loads((run.path / "environment.json").read_text())
    list(iterate(run))
    stored = json.loads((run.path / "environment.json").read_text())
    assert stored["data_sha256"] == content_hash(json.loads(run.facts_file.read_text()))
    assert changed_range(run.path)
    with pytest.raises(InputError, match=r"data\.json is damaged or was changed"):
        _ = Run.open(run.path).facts


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("width: 8", r"segmentor\.\S+ is of shape \(4, .* there and \(8, .* by the settings"),
        ("width: 512", r"segmentor\.\S+ is of shape \(4, .* there and \(512, .* by the settings"),
    ],
)
def test_a_network_larger_than_its_weights_is_refused_before_it_is_built(
    changed: str, said: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = copied / "config.yaml"
    file.write_text(file.read_text().replace("width: 4\n  depth", f"{changed}\n  depth"))
    without_checksums(copied)
    build, built = outline.build_method, []

    def watched(*arguments: Any, **settings: Any) -> Any:
        method = build(*arguments, **settings)
        built.append({tensor.device.type for tensor in method.state_dict().values()})
        return method

    for module in (outline, loop):
        monkeypatch.setattr(module, "build_method", watched)
    run = Run.open(copied)
    for work in (lambda: loaded.LoadedRun.load(run, "cpu"), lambda: list(iterate(run))):
        with pytest.raises(InputError, match=f"does not fit the run's settings .*{said}"):
            work()
    assert built == [{"meta"}, {"meta"}]


# --- links ----------------------------------------------------------------------------------------

LINKED = [
    "config.yaml", "environment.json", "data.json", "metrics.jsonl", "events.jsonl", "log.txt",
    "output.txt", "heartbeat.json", "stop", "scores.csv", "scores.json",
    "slices.csv", "checkpoints", "checkpoints/last.safetensors", "checkpoints/previous.safetensors",
    "checkpoints/last.safetensors.next", "checkpoints/best.safetensors", "previews",
    "previews/request.json", "previews/slices.json", "previews/000001.npz", "predictions",
    "predictions/a_labels.nii.gz", "cache", "cache/source", "cache/source/0/image.npy",
]  # fmt: skip


@posix
@pytest.mark.parametrize("name", LINKED)
def test_a_link_out_of_the_folder_is_refused(name: str, copied: Path, tmp_path: Path) -> None:
    path, outside = copied / name, tmp_path / "outside"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        path.rename(outside)
    elif path.exists():
        shutil.move(path, outside)
    else:
        outside.write_text("mine")
    path.symlink_to(outside)
    before = outside.read_bytes() if outside.is_file() else sorted(outside.rglob("*"))
    with pytest.raises(InputError) as caught:
        Run.open(copied)
    assert str(caught.value).startswith(
        f"{path} is a link to a place outside of the run folder, which is not followed"
    )
    after = outside.read_bytes() if outside.is_file() else sorted(outside.rglob("*"))
    assert after == before
    status = RunReader(copied).look().status
    assert status.state is RunState.BROKEN
    assert "is a link to a place outside" in status.reason


@posix
def test_links_that_stay_inside_and_links_to_the_folder_are_fine(
    copied: Path, tmp_path: Path
) -> None:
    weights = copied / "checkpoints" / "last.safetensors"
    weights.rename(copied / "kept.safetensors")
    weights.symlink_to("../kept.safetensors")
    (tmp_path / "link").symlink_to(copied)
    run = Run.open(tmp_path / "link")
    assert run.weights_file().exists()
    (copied / "notes").symlink_to(tmp_path)  # no file of the run
    Run.open(copied)


@posix
def test_nothing_is_written_through_a_link_that_comes_later(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    """Everything that training writes, when links appear after the run was opened."""
    outside = tmp_path / "outside"
    outside.write_text("mine\n")
    run = Run.create(
        tmp_path / "run", small_config("source_only", *two_domains, steps=4, preview_every=1)
    )
    refusing = ("metrics.jsonl", "events.jsonl", "log.txt")
    replaced = ("heartbeat.json", "stop", "previews/slices.json")
    run.previews.mkdir()
    for name in replaced:
        (run.path / name).symlink_to(outside)
    run.slices_file.unlink()
    run.slices_file.symlink_to(tmp_path / "nowhere")
    run.ask_to_stop()
    run.ask_for_previews(PreviewRequest())
    list(iterate(run))
    assert events(run)[-1] == "finished"
    assert not any((run.path / name).is_symlink() for name in replaced)
    assert not (tmp_path / "nowhere").exists()
    for name in refusing:
        (run.path / name).unlink()
        (run.path / name).symlink_to(outside)
    for write in (
        lambda: run.log(1, 1.0, {}),
        lambda: run.event("started"),
        run.log_handler,
    ):
        with pytest.raises(InputError, match="is a link; put the file itself in its place"):
            write()
    run.rewind(2)
    facts = run.facts
    for name in ("config.yaml", "data.json", "environment.json"):
        (run.path / name).unlink()
        (run.path / name).symlink_to(outside)
    run.write_facts(facts)
    run.write_config(run.config)
    assert outside.read_text() == "mine\n"


# --- lines ----------------------------------------------------------------------------------------

DAMAGED_LINES = [
    b"nonsense", b"\xff\xfe\xfd", b'{"step": 2', b'{"step": "2", "seconds": 1.0}',
    b'{"step": 2}', b'{"step": 2.5, "seconds": 1}', b'{"step": true, "seconds": 1}',
    b'{"step": -2, "seconds": 1}', b'{"step": 2, "seconds": "x"}', b'{"step": 2, "seconds": NaN}',
    b'{"step": 9223372036854775808, "seconds": 1}', b'{"step": 2147483648, "seconds": 1}',
    b'{"step": 2, "seconds": -1}', b'{"step": 2, "seconds": 1e300}', b"[]", b"",
]  # fmt: skip


@pytest.mark.parametrize("line", DAMAGED_LINES)
def test_a_damaged_line_is_left_out_and_counted(line: bytes, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started", lines=3)
    with folder.metrics_file.open("ab") as file:
        file.write(line + b"\n")
    append_lines(folder, 4, 5)
    update = RunReader(folder.path).look()
    assert [one["step"] for one in update.lines] == [1, 2, 3, 4, 5]
    assert update.damaged == 1
    history = RunHistory()
    history.add(update.lines, update.damaged)
    assert history.step == 5
    assert [hint.text for hint in hints(history, {}) if hint.level == "warning"] == [
        "1 line of metrics.jsonl cannot be read and are left out; check the disk."
    ]
    assert RunScanner().scan([folder.path])[0].step == 5


def test_a_line_without_an_end_does_not_stop_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_reader, "MOST_BYTES", 200)
    folder = write_run(tmp_path / "run", "started", lines=2)
    with folder.metrics_file.open("ab") as file:
        file.write(b'{"step": 3, "x": "' + b"y" * 1000 + b'"}\n')
    append_lines(folder, 4, 5)
    reader, steps, damaged, more = RunReader(folder.path), [], 0, True
    while more:
        update = reader.look()
        steps += [line["step"] for line in update.lines]
        damaged, more = damaged + update.damaged, update.more
    assert (steps, damaged) == ([1, 2, 4, 5], 1)


@pytest.mark.parametrize("line", DAMAGED_LINES)
def test_a_run_with_a_damaged_line_goes_on(
    line: bytes, copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.open(copied)
    before = metric_lines(run)
    for file in (run.metrics_file, run.events_file):
        file.write_bytes(line + b"\n" + file.read_bytes() + b'{"half')
    assert run.seconds() > 0
    run.rewind(before[-1]["step"])
    assert metric_lines(run) == before
    assert "metrics.jsonl has 1 damaged lines, which are left out" in caplog.text
    assert run_status(run).state is RunState.FINISHED
    assert run.events_file.read_bytes().endswith(b"\n")


# --- whatever lies there, the Watch tab's reader goes on ------------------------------------------


def pipe(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def list_of_numbers(file: Path) -> None:
    file.write_text("[1, 2]")


def no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00\x01" * 10)


def folder_there(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def strange_values(file: Path) -> None:
    file.write_text(
        '{"labels": [1], "count": 1e999, "time": 1e999, "pid": 1.5, "step": 1e999, "seconds": [],'
        ' "slices": 3, "event": [], "target": 7}\n'
    )


READ = [
    "data.json", "metrics.jsonl", "events.jsonl", "heartbeat.json", "stop", "environment.json",
    "scores.csv", "previews/request.json", "previews/slices.json", "previews/000010.npz",
]  # fmt: skip


@posix
@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize(
    "damage", [pipe, list_of_numbers, no_text, folder_there, empty, strange_values]
)
def test_a_strange_file_does_not_stop_the_reader(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", "started", "finished", lines=3)
    write_preview(folder, 10)
    damage(folder.path / name)
    update = RunReader(folder.path).look()
    lost = name == "events.jsonl" and damage not in (empty, strange_values)
    nothing = name == "events.jsonl" and damage is empty
    expected = RunState.BROKEN if lost else RunState.NEW if nothing else RunState.FINISHED
    if damage is not strange_values:
        assert update.status.state is expected
    assert update.total == 100
    assert RunScanner().scan([folder.path])[0].path == folder.path
    assert folder.stop_request() in ("", "save")
    folder.preview_request()
    uda_runs = RunFolder(folder.path)
    assert uda_runs.events() is not None


@posix
def test_settings_in_a_pipe_are_no_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "finished")
    pipe(folder.config_file)
    with pytest.raises(InputError, match="is not a run folder"):
        Run.open(folder.path)
    assert RunReader(folder.path).look().status.state is RunState.BROKEN


@posix
@pytest.mark.parametrize("damage", [pipe, list_of_numbers, no_text, folder_there])
def test_strange_facts_are_one_sentence(damage: Callable[[Path], None], copied: Path) -> None:
    damage(copied / "data.json")
    with pytest.raises(InputError, match=r"data\.json") as caught:
        _ = Run.open(copied).facts
    assert "\n" not in str(caught.value)


def replaced_arrays(folder: RunFolder, **changes: Any) -> Path:
    file = folder.previews / "000010.npz"
    with np.load(file) as arrays:
        content = dict(arrays)
    np.savez(file, **{**content, **changes})
    return file


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction": np.zeros((2, 8, 8), np.float32)},
        {"prediction": np.zeros((2, 4, 8), np.uint8)},
        {"slices": np.zeros(1, np.int64)},
        {"pixel_mm": np.array("wide")},
        {"domains": np.zeros((2, 2))},
        {"cases": np.array([None, None], dtype=object)},
    ],
)
def test_a_preview_whose_arrays_do_not_belong_together_is_passed_over(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", "started")
    write_preview(folder, 10)
    replaced_arrays(folder, **changes)
    assert RunReader(folder.path).look().preview is None


def test_a_preview_larger_than_the_bound_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run", "started")
    write_preview(folder, 10)
    with np.load(folder.previews / "000010.npz") as arrays:
        size = sum(arrays[name].nbytes for name in arrays)
    monkeypatch.setattr(run_reader, "_MOST_PREVIEW_BYTES", size - 1)
    assert RunReader(folder.path).look().preview is None
    monkeypatch.setattr(run_reader, "_MOST_PREVIEW_BYTES", size)
    assert RunReader(folder.path).look().preview is not None


def test_facts_of_other_kinds_give_no_preview(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started")
    write_preview(folder, 10)
    for labels in ([1], {"MYO": 300}, {"MYO": "one"}, {"MYO": 1.0e300}, "text"):
        folder.facts_file.write_text(json.dumps({"labels": labels}))
        assert RunReader(folder.path).look().preview is None, labels


@pytest.mark.parametrize(
    "config",
    [
        "method: 7\nsteps: true\n", "method: {adversary: 3}\nsteps: -4\n",
        "method: {adversary: {loss: [bce]}}\nsteps: 4294967296\n", "method: []\nsteps: {a: 1}\n",
    ],
)  # fmt: skip
def test_settings_of_other_kinds_are_shown_as_far_as_they_go(config: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "finished", lines=12, config=config, discriminator_x=0.5)
    update = RunReader(folder.path).look()
    assert (update.total, update.step) == (0, 12)
    history = RunHistory()
    history.add(update.lines)
    assert hints(history, update.settings) == []


def test_choices_of_slices_are_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started")
    folder.previews.mkdir()
    choices = {"a": 3, "b": "many", "c": -1, "d": 0, "e": True, "f": 2**40}
    folder.slices_file.write_text(json.dumps({"target": choices, "source": [1]}))
    assert RunReader(folder.path).look().slices == {"target": {"a": 3}, "source": {}}


def test_the_heartbeat_of_a_running_run_is_still_seen(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started", lines=2, config="a: &x 1\nb: *x\n")
    beat(folder, step=9)
    update = RunReader(folder.path).look()
    assert update.status.state is RunState.RUNNING
    assert (update.step, update.settings) == (9, {})


def test_runs_of_version_0_1_have_no_checksums_and_work() -> None:
    for run in (Path(__file__).parent / "version_0_1" / "runs").iterdir():
        assert not [k for k in json.loads((run / "environment.json").read_text()) if "sha" in k]
        assert Run.open(run).facts.labels
