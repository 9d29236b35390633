"""The commands as a user meets them: what they print, write and return."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny_cases import small_config, without_checksums

from napari_uda.api import iterate
from napari_uda.cli import main
from napari_uda.core.version import __version__
from napari_uda.methods.registry import translating_methods
from napari_uda.run import checkpoint
from napari_uda.run.run import Run
from napari_uda.run.status import Beat

TINY = [
    *("--data.size", "32", "--segmentor.width", "4", "--segmentor.depth", "2"),
    *("--batch-size", "2", "--steps", "3", "--device", "cpu"),
]


@dataclass(frozen=True)
class Said:
    """Exit code and output of one command."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process."""

    def run(*arguments: object) -> Said:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def folders(two_domains: tuple[Path, Path]) -> list[str]:
    source, target = two_domains
    return ["--data.source", str(source), "--data.target", str(target)]


@pytest.fixture
def source_copy(two_domains: tuple[Path, Path], tmp_path: Path) -> Path:
    """A source folder that a test may damage."""
    return Path(shutil.copytree(two_domains[0], tmp_path / "own_source"))


def _assert_bad_input(said: Said, *words: str) -> None:
    """Exit code 2 and one sentence on stderr that has these words, after what was found in the data."""
    assert said.code == 2
    found = re.compile(r"napari-uda: (source|target): \d+ patients with \d+ slices")
    lines = [line for line in said.err.strip().splitlines() if not found.fullmatch(line)]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("napari-uda: ")
    for word in words:
        assert word in lines[0]


# --- what works -----------------------------------------------------------------------------------


def test_version_and_overview(command: Command) -> None:
    assert command("--version").out.strip() == __version__
    for said in (command(), command("--help")):
        assert said.code == 0
        for name in (
            "train",
            "predict",
            "translate",
            "evaluate",
            "phantom",
            "methods",
            "show",
            "demo",
        ):
            assert f"\n  {name} " in said.out


def test_methods_lists_what_each_needs(command: Command) -> None:
    rows = command("methods").out.splitlines()
    assert rows[0].split() == ["name", "family", "paper", "needs"]
    se_asa = next(row for row in rows if row.startswith("se_asa "))
    assert "Feng et al., AAAI 2023" in se_asa
    assert se_asa.endswith("source, target")


@pytest.mark.slow
def test_train_takes_dashes_for_underscores(
    command: Command, folders: list[str], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    said = command(
        *("train", "se-asa", *folders, *TINY, "--run_dir", run_dir),
        *("--method.prototype_batches", "1", "--method.prototype-momentum", "0.02"),
    )
    assert said.code == 0, said.err
    assert "3/3" in said.err
    run = Run.open(run_dir)
    assert run.config.method.name == "se_asa"
    assert run.config.method.model_dump()["prototype_momentum"] == 0.02
    assert [line["step"] for line in run.metrics()] == [3]
    again = command("train", "--resume", run_dir)
    assert again.code == 0
    _assert_bad_input(
        command("train", "source_only", *folders, *TINY, "--run-dir", run_dir),
        "holds a run already",
        "--resume",
    )


def test_train_with_recipe_names_and_files(
    command: Command,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(two_domains[0].parent)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "method: source_only\nsteps: 2\nsegmentor: {width: 4, depth: 2}\nbatch_size: 2\n"
        "data: {source: source, size: 32}\n"
    )
    assert command("train", f"--recipe={recipe}", "--run-dir", tmp_path / "a").code == 0
    said = command(
        *("train", "source_only", "--recipe", f"cpu_small,{recipe}", "--run-dir", tmp_path / "b"),
        *("--steps", "1"),
    )
    assert said.code == 0, said.err
    first, second = Run.open(tmp_path / "a").config, Run.open(tmp_path / "b").config
    assert (first.steps, second.steps) == (2, 1)
    assert second.clip_norm == 10  # from cpu_small
    assert first.data.source == second.data.source == two_domains[0]  # absolute: resumes anywhere


def test_predict_and_evaluate(
    command: Command, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    target = two_domains[1]
    one = target / "images" / "target_0.nii.gz"
    for given, cases in (([one], 1), ([target / "images"], 3), ([target], 3)):
        out = tmp_path / f"out_{len(list(tmp_path.iterdir()))}"
        said = command("predict", tiny_run.path, *given, "--out", out)
        assert said.code == 0, said.err
        assert len(list(out.iterdir())) == 4 * cases
        verdicts = [line.partition(": ")[2] for line in said.out.splitlines()]
        assert len(verdicts) == cases
        assert all(line.startswith(("fits", "doubtful", "does not fit")) for line in verdicts)
    image, labels = nib.load(one), nib.load(out / "target_0_labels.nii.gz")
    assert np.array_equal(image.affine, labels.affine)
    assert set(np.unique(labels.dataobj)) <= {0, 1, 3}
    said = command("evaluate", out, target / "labels", "--out", tmp_path / "scores")
    assert said.code == 0, said.err
    assert "inner" in said.out
    header = (tmp_path / "scores" / "scores.csv").read_text().splitlines()[0]
    assert header.startswith("case,label,name,state,dice,assd_mm")


def test_what_predict_writes_of_nnunets_layout_evaluate_finds(
    command: Command, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "Dataset001_MR"
    for ending, cases in (("Tr", (0, 1)), ("Ts", (2,))):
        for part, channel in (("images", "_0000"), ("labels", "")):
            (folder / f"{part}{ending}").mkdir(parents=True)
            for case in cases:
                name = f"target_{case}"
                shutil.copy(
                    two_domains[1] / part / f"{name}.nii.gz",
                    folder / f"{part}{ending}" / f"{name}{channel}.nii.gz",
                )
    shutil.copy(two_domains[1] / "dataset.json", folder)
    given = (
        (folder, "labelsTr", ["target_0", "target_1"]),
        (folder / "imagesTr", "labelsTr", ["target_0", "target_1"]),
        (folder / "imagesTs", "labelsTs", ["target_2"]),
        (folder / "imagesTs" / "target_2_0000.nii.gz", "labelsTs", ["target_2"]),
    )
    for index, (images, labels, cases) in enumerate(given):
        out = tmp_path / f"out_{index}"
        said = command("predict", tiny_run.path, images, "--out", out, "--no-reliability")
        assert said.code == 0, said.err
        assert sorted(file.name for file in out.glob("*_labels.nii.gz")) == [
            f"{case}_labels.nii.gz" for case in cases
        ]
        said = command("evaluate", out, folder / labels, "--out", out / "scores")
        assert said.code == 0, said.err
        rows = (out / "scores" / "scores.csv").read_text().splitlines()[1:]
        assert sorted({row.split(",")[0] for row in rows}) == cases
    # the same images in a folder of any name, as nnU-Net's own prediction takes them
    shutil.copytree(folder / "imagesTr", tmp_path / "inputs")
    out = tmp_path / "out"
    assert command("predict", tiny_run.path, tmp_path / "inputs", "--out", out).code == 0
    said = command("evaluate", out, folder / "labelsTr", "--out", out / "scores")
    assert said.code == 0, said.err


def test_predict_puts_no_results_among_the_images(
    command: Command, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    images = Path(shutil.copytree(two_domains[1] / "images", tmp_path / "images"))
    before = sorted(images.iterdir())
    said = command("predict", tiny_run.path, images, "--out", images)
    assert said.code == 2
    assert "images: is a folder of images, and results in it would be taken for images" in said.err
    assert sorted(images.iterdir()) == before


def test_predict_goes_on_after_a_bad_volume_and_says_so(
    command: Command, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    images = Path(shutil.copytree(two_domains[1] / "images", tmp_path / "images"))
    bad = images / "target_0.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-200])
    said = command("predict", tiny_run.path, images, "--out", tmp_path / "out", "--no-reliability")
    assert said.code == 2
    assert "1 of 3 volumes could not be segmented: target_0.nii.gz" in said.err.splitlines()[-1]
    # labels, entropy and <case>.json of both others; nothing voted, so nothing is called reliable
    assert len(list((tmp_path / "out").iterdir())) == 6


@pytest.mark.slow
def test_adapt_writes_before_and_after(
    command: Command, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    target, out = two_domains[1], tmp_path / "out"
    given = ("adapt", tiny_run.path, target, "--out", out, "--steps", "1")
    said = command(*given, "--max-volume-change", "0")
    assert said.code == 0, said.err
    lines = said.out.strip().splitlines()
    cases = [line.partition(":")[0] for line in lines]  # what changed, and whether the model fits
    assert cases == ["target_0", "target_0", "target_1", "target_1", "target_2", "target_2"]
    assert f"{out}/after/target_1_{{labels,entropy}}.nii.gz" in said.err
    assert " entropy 0." in lines[0]
    assert re.search(r" mL( \([^)]+\))?, outer ", lines[0])
    for when in ("before", "after"):
        assert len(list((out / when).iterdir())) == 9
    assert len(list(out.glob("*_adaptation.json"))) == 3
    scored = command("evaluate", out / "after", target / "labels", "--out", tmp_path / "scores")
    assert scored.code == 0, scored.err
    joined = ("--together", "--sizes-ml", "inner", "3", "outer", "5", "--presence", "all")
    said = command(*given[:3], "--out", tmp_path / "joined", "--steps", "1", *joined)
    assert said.code == 0, said.err
    assert len(said.out.strip().splitlines()) == 6
    report = json.loads((tmp_path / "joined" / "target_2_adaptation.json").read_text())
    assert (report["method"], report["steps"]) == ("sfda", 1)
    _assert_bad_input(command(*given[:3], "--out", out, "--method", "cotta"), "cotta")
    options = ("--method", "bn-adapt", "--method.source-slices", "3")
    said = command(*given[:3], "--out", tmp_path / "moved", *options)
    assert said.code == 0, said.err
    report = json.loads((tmp_path / "moved" / "target_2_adaptation.json").read_text())
    assert (report["method"], report["steps"]) == ("bn_adapt", 0)
    one = target / "images" / "target_0.nii.gz"
    twice = command("adapt", tiny_run.path, one, one, "--together", "--out", out)
    _assert_bad_input(
        twice, "given twice: target_0.nii.gz; give each once, alone or with its folder"
    )


def test_an_image_given_by_two_ways_is_given_twice(
    command: Command, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    images = two_domains[1] / "images"
    (tmp_path / "link").symlink_to(two_domains[1])
    for ways in (
        (images, images / "target_1.nii.gz"),
        (images / ".." / "images" / "target_1.nii.gz", tmp_path / "link"),
    ):
        twice = command("predict", tiny_run.path, *ways, "--out", tmp_path / "out", "-q")
        _assert_bad_input(twice, "given twice: target_1.nii.gz; give each once")
    assert not (tmp_path / "out").exists()


def test_adapt_offers_the_settings_of_the_method_that_is_named(command: Command) -> None:
    plain, tent = (command("adapt", *name, "--help").out for name in ((), ("--method", "tent")))
    for option in ("--steps", "--sizes-ml", "--max-volume-change", "--together", "--device"):
        assert option in plain
        assert option in tent
    assert "--method.presence" in plain
    assert "--method.presence" not in tent
    assert "(default: 0.001)" in tent


def test_tags_and_a_source_free_run(
    command: Command, two_domains: tuple[Path, Path], tiny_run: Run, tmp_path: Path
) -> None:
    target, file = two_domains[1], tmp_path / "tags.json"
    said = command("tags", tiny_run.path, target, "--out", file)
    assert (said.code, said.out) == (0, f"{file}\n")
    stored = json.loads(file.read_text())
    assert stored["kind"] == "tags"
    assert len(stored["cases"]["target_0"]) == 6
    run = tmp_path / "run"
    adapt = ("train", "sfda", "--data.target", target, "--run-dir", run, *TINY)
    tagged = ("--method.presence", "tags", "--method.weak-labels", file)
    refused = command(*adapt, *tagged)
    assert refused.code == 2
    assert "sfda starts from a trained run" in refused.err
    assert not run.exists()
    assert command(*adapt, *tagged, "--init", tiny_run.path).code == 0
    facts = Run.open(run).facts
    assert facts.target_supervision == "weak: which structures each slice contains"
    assert command("tags", tiny_run.path, target, "--areas", "--out", file).code == 0
    assert json.loads(file.read_text())["kind"] == "areas"


def test_translate(command: Command, two_domains: tuple[Path, Path], tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", small_config("cyclegan", *two_domains, steps=1))
    for _ in iterate(run):
        pass
    for direction, side in (("target_to_source", 1), ("source_to_target", 0)):
        images, out = two_domains[side] / "images", tmp_path / direction
        said = command("translate", run.path, images, "--out", out, "--direction", direction)
        assert said.code == 0, said.err
        assert len(list(out.iterdir())) == 6
        lines = said.out.splitlines()
        assert len(lines) == 3
        name = ("source", "target")[side]
        assert lines[0].startswith(f"{name}_0: change from slice to slice 0.")
    image, translated = (
        nib.load(path) for path in (images / "source_0.nii.gz", out / "source_0_translated.nii.gz")
    )
    assert np.array_equal(image.affine, translated.affine)
    assert image.shape == translated.shape


def test_translate_needs_generators(
    command: Command, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    image = two_domains[1] / "images" / "target_0.nii.gz"
    said = command("translate", tiny_run.path, image, "--out", tmp_path / "out")
    _assert_bad_input(
        said, "se_asa, which has no generators", f"give a run of {translating_methods()}"
    )
    assert not (tmp_path / "out").exists()


def test_phantom_writes_data_folders(command: Command, tmp_path: Path) -> None:
    said = command("phantom", tmp_path / "made", "--subjects", "1", "--size", "64")
    assert said.code == 0, said.err
    assert said.out.split() == [str(tmp_path / "made" / side) for side in ("ct", "mr")]
    _assert_bad_input(command("phantom", tmp_path / "made"), "is not empty")


@pytest.mark.parametrize(
    "name",
    [
        "train source_only",
        "train sfda",
        "predict",
        "adapt",
        "tags",
        "translate",
        "show",
        "evaluate",
        "phantom",
    ],
)
def test_help_of_every_command(name: str, command: Command) -> None:
    said = command(*name.split(), "--help")
    assert said.code == 0
    assert "usage: napari-uda" in said.out


def test_help_does_not_load_the_window() -> None:
    code = (
        "import sys; from napari_uda.cli import main\n"
        "try: main(['show', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit(any(m.split('.')[0] in ('napari', 'qtpy', 'PyQt5', 'torch') for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("option", "slow"),
    [
        ("--help", {"torch", "numpy", "pydantic", "tqdm", "yaml"}),
        ("--version", {"torch", "numpy", "pydantic", "tqdm", "yaml", "tyro"}),
    ],
)
def test_what_answers_at_once_loads_nothing_slow(option: str, slow: set[str]) -> None:
    code = (
        "import sys; from napari_uda.cli import main\n"
        f"main([{option!r}]); print(*{{name.split('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) & slow == set()


@pytest.mark.parametrize("words", ["predict --help", "methods", "recipes", "train --help"])
def test_lists_and_help_do_not_load_torch(words: str) -> None:
    code = (
        "import sys; from napari_uda.cli import main\n"
        f"try: main({words.split()!r})\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


# --- what does not --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nonsense", ("unknown command 'nonsense'", "choose one of train")),
        ("trainn se_asa", ("unknown command 'trainn'; did you mean train?",)),
        ("train se-assa --run-dir RUN", ("unknown method 'se-assa'; did you mean se_asa?",)),
        (
            "train se_asa --recipe cpu-smal --run-dir RUN",
            ("did you mean cpu_small? (napari-uda recipes",),
        ),
        ("train se_asa --run-dirr RUN", ("no option --run-dirr; did you mean --run-dir? (see",)),
        ("train se_asa --run-dir RUN --size 9", ("no option --size; did you mean --data.size?",)),
        (
            "train se_asa --run-dir RUN --lr 1",
            ("did you mean --method.segmentor-optimizer.lr or --method.discriminator",),
        ),
        ("predict RUN IMAGE --ouut OUT", ("no option --ouut; did you mean --out?",)),
        ("predict RUN IMAGE --out OUT --no-reliabilty", ("did you mean --no-reliability?",)),
        ("evaluate P L --out OUT --protocoll sifa", ("did you mean --protocol?",)),
        ("adapt RUN IMAGE --out OUT --methd tent", ("did you mean --method?",)),
        ("adapt RUN IMAGE --out OUT --method tnet", ("adapt by 'tnet'; did you mean tent?",)),
        ("adapt RUN IMAGE --out OUT --size-ml a 3", ("did you mean --sizes-ml?",)),
        ("convert mmhws A B", ("unknown layout 'mmhws'; did you mean mmwhs?",)),
        ("phantom OUT --anatomy abdomen", ("did you mean abdominal? (one of cardiac, abdominal)",)),
        ("train nope --run-dir RUN", ("unknown method 'nope'", "se_asa")),
        ("train se_asa --recipe nope --run-dir RUN", ("no recipe 'nope'", "cpu_small")),
        ("train se_asa --run-dir RUN --bogus=2", ("there is no option --bogus;", "--help")),
        ("train se_asa --run-dir RUN --steps", ("--steps needs a value",)),
        ("train se_asa --run-dir RUN --steps abc", ("--steps must be a whole number", "'abc'")),
        ("train se_asa --run-dir RUN --steps 0", ("steps must be at least 1, not 0",)),
        ("train se_asa --run-dir RUN --data.neighbours 2", ("data.neighbours must be odd",)),
        ("train se_asa --run-dir RUN --segmentor.norm no", ("--segmentor.norm", "'no'", "batch")),
        (
            "train se_asa --run-dir RUN --method.adversary.width 1",
            ("method.adversary.width must be at least 4, not 1",),
        ),
        ("train se_asa", ("no run folder is given", "--run-dir")),
        ("train se_asa --run-dir", ("--run-dir needs a value",)),
        ("train se_asa --run-dir RUN", ("se_asa needs --data.source",)),
        ("train source_only --run-dir RUN --data.source nowhere", ("nowhere", "no such folder")),
        ("train --resume nowhere", ("nowhere is not a run folder",)),
        ("train --resume nowhere --steps 9", ("leave --steps 9 out",)),
        ("predict", ("RUN, --out PATH must be given",)),
        ("predict --bogus", ("RUN must be given",)),
        (
            "adapt RUN VOLUME --out OUT --sizes-ml liver",
            ("--sizes-ml must be names and numbers in turn",),
        ),
        ("adapt RUN VOLUME --out OUT --sizes-ml liver big", ("--sizes-ml must be names and",)),
        ("adapt RUN VOLUME --out OUT --steps -1", ("steps must be at least 0, not -1",)),
        ("adapt RUN VOLUME --out OUT --max-volume-change 0.5", ("max_volume_change", "above 1")),
        ("adapt RUN VOLUME --out OUT --method tent --sizes-ml a 3", ("(sfda), not for tent",)),
        ("adapt RUN VOLUME --out OUT --method advent", ("cannot adapt by 'advent'", "sfda, tent")),
        ("adapt RUN VOLUME --out OUT --method", ("--method needs a value",)),
        (
            "adapt RUN VOLUME --out OUT --presence no",
            ("--method.presence cannot be 'no'", "cohort"),
        ),
        (
            "adapt RUN VOLUME --out OUT --method tent --presence all",
            ("no option --method.presence",),
        ),
        (
            "adapt RUN VOLUME --out OUT --method tent --method.lr-power -1",
            (": method.lr_power must be at least 0, not -1",),
        ),
        ("adapt", ("RUN, --out PATH must be given",)),
        ("predict nowhere volume.nii.gz --out OUT", ("nowhere is not a run folder",)),
        ("evaluate nowhere nowhere --out OUT", ("nowhere", "is not a folder")),
        ("evaluate nowhere", ("LABELS, --out PATH must be given",)),
        ("phantom OUT --size 5", ("size is 5 pixels", "64 to 512")),
        ("phantom OUT --anatomy brain", ("'brain'", "cardiac")),
        ("methods more", ("there is no place for more",)),
        ("show", ("nothing to show",)),
    ],
)
def test_bad_usage_is_one_sentence_and_leaves_nothing(
    arguments: str,
    words: tuple[str, ...],
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = command(*arguments.split())
    _assert_bad_input(said, *words)
    assert list(tmp_path.iterdir()) == []


def test_show_without_a_display(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    _assert_bad_input(command("show", tmp_path), "no display", "xvfb-run")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("steps: [1\n", ("not valid YAML", "line 2")),
        ("steps: !mine 3\n", ("not valid YAML", "line 1", "!mine")),
        ('steps: !!python/object/apply:os.system ["touch pwned"]\n', ("python/object",)),
        ("bogus: 2\n", ("there is no setting bogus", "correct or remove it")),
        ("batchsize: 2\n", ("there is no setting batchsize; did you mean batch_size?",)),
        (
            "data: {sizes: 64}\n",
            ("there is no setting data.sizes; did you mean data.size or data.series?",),
        ),
        ("size: 64\n", ("there is no setting size; did you mean data.size?",)),
        ("method: {name: se_asa, bogus: 2}\n", ("there is no setting method.bogus",)),
        (
            "method: {name: se_asa, prototype_momentum: 2}\n",
            ("method.prototype_momentum must be below 1, not 2",),
        ),
        ("method: {name: nope}\n", ("unknown method 'nope'",)),
        ("method: {name: advent}\n", ("mine is for advent, not se_asa",)),
        ("method: [1]\n", ("method in", "[1]")),
        ("per_method: 3\n", ("per_method in",)),
        ("just text\n", ("holds no settings",)),
        ("", ("holds no settings",)),
        ("\x00", ("not valid YAML",)),
    ],
)
def test_bad_recipes(
    content: str,
    words: tuple[str, ...],
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(content)
    _assert_bad_input(command("train", "se_asa", "--recipe", recipe, "--run-dir", "run"), *words)
    assert list(tmp_path.iterdir()) == [recipe]


def _other_grid(folder: Path) -> None:
    file = folder / "labels" / "source_0.nii.gz"
    labels = nib.load(file)
    nib.save(nib.Nifti1Image(np.asarray(labels.dataobj)[:-2], labels.affine), file)


def _too_large(folder: Path) -> None:
    file = folder / "labels" / "source_0.nii.gz"
    labels = nib.load(file)
    values = np.asarray(labels.dataobj).astype(np.int16)
    values[0, 0, 0] = 300
    nib.save(nib.Nifti1Image(values, labels.affine), file)


def _no_labels(folder: Path) -> None:
    shutil.rmtree(folder / "labels")


def _torn(folder: Path) -> None:
    file = folder / "images" / "source_0.nii.gz"
    file.write_bytes(file.read_bytes()[:-200])


def _no_images(folder: Path) -> None:
    for file in (folder / "images").iterdir():
        file.unlink()


def _bad_json(folder: Path) -> None:
    (folder / "dataset.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_other_grid, ("labels of source_0", "grid", "(6, 40, 38)")),
        (_too_large, ("source_0.nii.gz", "300")),
        (_no_labels, ("has no label maps, which source_only needs",)),
        (_torn, ("source_0.nii.gz", "damaged")),
        (_no_images, ("holds no volume",)),
        (_bad_json, ("dataset.json", "not valid JSON")),
    ],
)
def test_bad_data_leaves_no_run(
    damage: Callable[[Path], None],
    words: tuple[str, ...],
    command: Command,
    source_copy: Path,
    tmp_path: Path,
) -> None:
    damage(source_copy)
    said = command(
        "train", "source_only", "--data.source", source_copy, *TINY, "--run-dir", tmp_path / "run"
    )
    _assert_bad_input(said, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--segmentor.depth", "8"), ("slices of 32 pixels", "multiple of 256")),
        (("--segmentor.name", "nope"), ("unknown network 'nope'",)),
        (("--device", "cuda:99"), ("device 'cuda:99'", "auto or cpu")),
        (("--validate-every", "1"), ("data.validation_fraction",)),
        (("--select", "source_validation"), ("validate_every",)),
        (("--init", "nowhere"), ("nowhere is not a run folder",)),
    ],
)
def test_settings_that_do_not_go_together_leave_no_run(
    options: tuple[str, ...],
    words: tuple[str, ...],
    command: Command,
    folders: list[str],
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "mine"
    said = command("train", "source_only", *folders, *TINY, *options, "--run-dir", run_dir)
    _assert_bad_input(said, *words)
    assert not run_dir.exists()


def test_a_folder_with_files_of_the_user_is_no_run_folder(
    command: Command, folders: list[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("the user's own")
    said = command("train", "source_only", *folders, *TINY, "--run-dir", tmp_path)
    _assert_bad_input(said, "holds other files (notes.txt)", "choose a new or empty folder")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_cannot_start_from_another_network(
    command: Command, tiny_run: Run, folders: list[str], tmp_path: Path
) -> None:
    options = [*TINY, "--segmentor.width", "6", "--init", tiny_run.path]
    said = command("train", "source_only", *folders, *options, "--run-dir", tmp_path / "run")
    _assert_bad_input(said, "is not that of this run", "segmentor.")


def _truncate(run: Path) -> None:
    file = run / "checkpoints" / checkpoint.WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])


def _wider(run: Path) -> None:
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("width: 4\n  depth", "width: 8\n  depth"))
    without_checksums(run)


def _no_weights(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def _bad_facts(run: Path) -> None:
    (run / "data.json").write_text("{")


def _bad_config(run: Path) -> None:
    (run / "config.yaml").write_text('a: !!python/object/apply:os.system ["touch pwned"]\n')


@pytest.mark.parametrize(
    ("damage", "predicting", "resuming"),
    [
        (_truncate, "last.safetensors is damaged", "the checkpoint in"),
        (_wider, "does not fit the run's settings", "undo the changes in config.yaml"),
        (_no_weights, "has no weights", ""),
        (_bad_facts, "data.json is not valid JSON", "data.json is not valid JSON"),
        (_bad_config, "config.yaml is not valid YAML", "config.yaml is not valid YAML"),
    ],
)
def test_damaged_runs(
    damage: Callable[[Path], None],
    predicting: str,
    resuming: str,
    command: Command,
    tiny_run: Run,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    run = Path(shutil.copytree(tiny_run.path, tmp_path / "run"))
    damage(run)
    image = two_domains[1] / "images" / "target_0.nii.gz"
    _assert_bad_input(command("predict", run, image, "--out", tmp_path / "out"), predicting)
    assert not (tmp_path / "out").exists()
    if resuming:
        _assert_bad_input(command("train", "--resume", run), resuming)
        assert run.exists()


def _new_setting(run: Path) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write("colour: red\n")
    without_checksums(run)


def _new_fact(run: Path) -> None:
    file = run / "data.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "hue": 3}))
    without_checksums(run)


@pytest.mark.parametrize(
    ("change", "said", "alone"),
    [
        (_new_setting, "there is no setting colour", "correct or remove it"),
        (
            _new_fact,
            "data.json is not readable by this version (there is no setting hue)",
            "retrain the run",
        ),
        (_wider, "does not fit the run's settings", "use the version that trained it"),
    ],
)
def test_a_run_of_another_version_says_which(
    change: Callable[[Path], None],
    said: str,
    alone: str,
    command: Command,
    tiny_run: Run,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    run = Path(shutil.copytree(tiny_run.path, tmp_path / "run"))
    change(run)
    image = two_domains[1] / "images" / "target_0.nii.gz"
    predict = ("predict", run, image, "--out", tmp_path / "out")
    _assert_bad_input(command(*predict), said, alone)
    file = run / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "napari_uda": "99.0"}))
    which = f"it was made by napari_uda 99.0, and this is {__version__}: use that version"
    _assert_bad_input(command(*predict), said, which)


def test_train_says_what_it_found_and_strict_refuses_what_is_odd(
    command: Command, folders: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = ("train", "advent", *folders, *TINY, "--run-dir")
    said = command(*train, tmp_path / "run")
    assert said.code == 0
    assert [line for line in said.err.splitlines() if "patients" in line] == [
        "napari-uda: source: 3 patients with 18 slices",
        "napari-uda: target: 3 patients with 18 slices",
    ]
    (record,) = [one for one in caplog.records if "air has -1000 HU" in one.getMessage()]
    assert record.levelname == "WARNING"
    strict = command(*train, tmp_path / "strict", "--strict")
    _assert_bad_input(
        strict, "strict takes a warning about the data for an error (source: the images are said"
    )
    assert not (tmp_path / "strict").exists()


def test_what_the_log_shows_is_not_said_again(
    command: Command, folders: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = command("train", "advent", *folders, *TINY, "--run-dir", tmp_path / "run", "-v")
    assert said.code == 0
    assert "patients" not in said.err  # pytest keeps what is logged
    assert caplog.text.count("source: 3 patients with 18 slices") == 1


def test_resume_refuses_other_volumes(command: Command, source_copy: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    given = ["--data.source", source_copy, *TINY, "--run-dir", run_dir]
    assert command("train", "source_only", *given).code == 0
    for part in ("images", "labels"):
        (source_copy / part / "source_2.nii.gz").unlink()
    _assert_bad_input(command("train", "--resume", run_dir), "not those that it began with")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "")],
)
def test_idle_threads_of_training_sleep_soon_unless_told_otherwise(
    given: dict[str, str], spins: str
) -> None:
    """Set before torch is loaded, which reads it once; a process of its own, as it has torch already."""
    code = (
        "import os, sys\n"
        "from napari_uda.cli import main\n"
        "for command in ('predict', 'train'):\n"
        "    try:\n"
        "        main([command, '--recipe'])\n"
        "    except SystemExit:\n"
        "        print(os.environ.get('GOMP_SPINCOUNT', ''), 'torch' in sys.modules)\n"
    )
    settings = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {k: v for k, v in os.environ.items() if k not in settings} | given
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    before = given.get("GOMP_SPINCOUNT", "")
    assert said.stdout.splitlines() == [f"{before} False", f"{spins} False"]


def test_threads_are_left_alone_once_torch_is_there(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert command("train", "--recipe").code == 2
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_loss_that_is_not_finite_ends_with_code_2_and_the_ways_past_it(
    command: Command, folders: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    said = command(
        *("train", "source_only", *folders, *TINY, "--steps", "30", "--run-dir", tmp_path / "run"),
        *("--method.segmentor-optimizer.lr", "1e38"),
    )
    assert said.code == 2
    resume = f"napari-uda train --resume {run}"
    assert "lower the learning rate" in said.err.splitlines()[-1]
    assert "no checkpoint was written yet, go on with" in said.err.splitlines()[-1]
    assert said.err.splitlines()[-1].endswith(
        f"go on with: {resume} --method.segmentor-optimizer.lr 1e+37 or: {resume} --skip-step"
    )
    failed = Run.open(run).events()[-1]
    assert (failed["event"], failed["not_finite_at"] > 0) == ("failed", True)
    skipped = command("train", "--resume", run, "--skip-step")
    assert skipped.code == 2  # the next step has such a loss, too
    assert Run.open(run).skipped_steps() == {failed["not_finite_at"]}
    # no step was saved, so training begins again, with a learning rate that learns
    assert command("train", "--resume", run, "--method.segmentor-optimizer.lr", "1e-3").code == 0
    assert Run.open(run).config.method.segmentor_optimizer.lr == 1e-3
    kinds = [event["event"] for event in Run.open(run).events()]
    assert kinds == [
        "started",
        "failed",
        "skipped",
        "started",
        "failed",
        "changed",
        "started",
        "finished",
    ]


def test_only_learning_rates_are_changed_on_resume(
    command: Command, tiny_run: Run, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run.path, tmp_path / "run"))
    before = (run / "config.yaml").read_bytes()
    said = command("train", "--resume", run, "--steps", "9", "--data.size", "64")
    _assert_bad_input(
        said, "(--data.source, --data.target, --data.corrected); leave --steps 9 --data.size 64 out"
    )
    said = command("train", "--resume", run, "--method.segmentor-optimizer.lr=1e-5", "--colour=red")
    _assert_bad_input(said, "leave --colour=red out")
    _assert_bad_input(
        command("train", "--resume", run, "--method.x.lr", "1"), "no option --method.x"
    )
    said = command("train", "--resume", run, "--method.segmentor-optimizer.lr", "-1")
    _assert_bad_input(said, "segmentor-optimizer.lr must be above 0")
    _assert_bad_input(command("train", "--resume", run, "--skip-step"), "leave --skip-step out")
    assert (run / "config.yaml").read_bytes() == before
    Run.open(run).write_beat(
        {**asdict(Beat(1, time.time(), 4711, "elsewhere")), "machine": "other"}
    )
    rate = ("--method.segmentor-optimizer.lr", "1e-5")
    _assert_bad_input(command("train", "--resume", run, *rate), "of elsewhere", "give --force")
    assert (run / "config.yaml").read_bytes() == before
    assert command("train", "--resume", run, *rate, "--force").code == 0
    assert Run.open(run).config.method.segmentor_optimizer.lr == 1e-5


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_resume_completes(
    number: signal.Signals,
    command: Command,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    held_at: Callable[[int], Path],
) -> None:
    given = ["train", "source_only", "--data.source", str(two_domains[0]), *TINY]
    given += ["--steps", "40", "--log-every", "1"]
    run_dir = tmp_path / "interrupted"
    held_at(10)
    child = subprocess.Popen(
        [sys.executable, "-m", "napari_uda", *given, "--run-dir", str(run_dir)],
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    deadline = time.monotonic() + 120
    while not (run_dir / "metrics.jsonl").exists():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(number)
    said = child.communicate(timeout=600)[1]
    assert child.returncode == 130, said
    assert f"continue with: napari-uda train --resume {run_dir}" in said.splitlines()[-1]
    assert "Traceback" not in said
    pair = checkpoint.newest(run_dir / "checkpoints")
    assert pair is not None
    assert 1 <= pair[0] <= 10
    assert command("train", "--resume", run_dir).code == 0
    assert command(*given, "--run-dir", tmp_path / "whole").code == 0
    ended, whole = (
        checkpoint.load_weights(folder / "checkpoints" / checkpoint.WEIGHTS)
        for folder in (run_dir, tmp_path / "whole")
    )
    assert all(torch.equal(ended[name], whole[name]) for name in whole)
