"""The commands by their names, and those that are a few lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from napari_uda.cli.arguments import Folder, Paths, Placement, RunFolder, SpecFile
from napari_uda.cli.output import answer, answer_each, text_table
from napari_uda.cli.terminal import (
    complain,
    counted,
    counted_in_parts,
    note_files,
    progress_bar,
    step_bar,
    stop_on_signal,
)
from napari_uda.cli.volumes import adapt, open_run, predict, translate
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.interrupts import let_sigterm_end_windows
from napari_uda.core.words import number_of

if TYPE_CHECKING:
    from napari_uda.experiments.executors import Progress
    from napari_uda.experiments.model_card import ModelCard


def evaluate(
    predictions: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PREDICTIONS")],
    labels: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="LABELS")],
    out: Path,
    protocol: str = "recommended",
    placement: Placement = "auto",
    match: tuple[str, ...] = (),
) -> None:
    """Score predictions against labels: scores.csv, scores.json and slices.csv.

    Args:
        predictions: folder with `<case>_labels.nii.gz` or `<case>.nii.gz`, or one file of labels.
        labels: folder with `<case>.nii.gz`, `<case>.dcm` (DICOM SEG, RTSTRUCT), `<case>.seg.nrrd` and the like, a tree of DICOM, or, for one file, the file to compare it with.
        out: folder for the tables.
        protocol: recommended, or the definitions of a paper: sifa, attent_slice, se_asa, sfda.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
        match: structures that have another name in the labels than in the predictions, as REFERENCE=PREDICTION, such as "left ventricle=LVC"; equal names, then equal numbers are matched without it.
    """
    from napari_uda.evaluation.matching import parse_matches
    from napari_uda.evaluation.report import evaluate_folders

    pairs = parse_matches(match)
    with counted_in_parts("evaluate", unit="case") as report:
        scores = evaluate_folders(
            *(predictions, labels),
            protocol=protocol,
            placement=placement,
            match=pairs,
            on_slices=report,
        )
    files = scores.write(out)
    answer(scores.table(), **scores.document(), files=files)
    note_files(files)


def report(
    predictions: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PREDICTIONS")],
    out: Path,
    labels: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="LABELS")] = None,
    reader: str = "",
    protocol: str = "recommended",
    placement: Placement = "auto",
    match: tuple[str, ...] = (),
) -> None:
    """Write a report of predictions as one page or PDF: pictures, scores, verdicts, where they come from.

    Without LABELS it holds volumes, entropy and the verdict whether the model fits, and no scores.

    Args:
        predictions: folder with `<case>_labels.nii.gz` or `<case>.nii.gz`, or one file of labels.
        labels: folder or file with labels, as for evaluate.
        out: FILE.html or FILE.pdf; PDF needs napari_uda[tables].
        reader: name of who reads the report, such as "Dr. X".
        protocol: recommended, or the definitions of a paper: sifa, attent_slice, se_asa, sfda.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
        match: structures that have another name in the labels than in the predictions, as REFERENCE=PREDICTION, such as "left ventricle=LVC"; equal names, then equal numbers are matched without it.
    """
    from napari_uda.evaluation.folder_report import report as write_report
    from napari_uda.evaluation.matching import parse_matches

    pairs = parse_matches(match)
    with counted_in_parts("report", unit="case") as progress:
        file = write_report(
            *(predictions, labels),
            out=out,
            reader=reader,
            protocol=protocol,
            placement=placement,
            match=pairs,
            on_slices=progress,
        )
    answer(str(file), file=file)


def benchmark(
    spec: SpecFile,
    out: Path,
    data: Path | None = None,
    jobs: int = 0,
    executor: Literal["local", "slurm", "submitit_local"] = "local",
    ranks: int = 1,
    slurm: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    pictures: bool = True,
    strict: bool = False,
) -> None:
    """Run the benchmark that a file describes: train, score, compare with statistical tests, draw.

    A cell is one row of the tables on one data set with one seed. Run again, the command goes on where it
    stopped. When a cell fails, the others go on and the table names it; the exit code is then 1, or 2 if all
    failures come from the input.

    Args:
        spec: YAML file that names rows, data, directions, seeds and protocol.
        out: folder for `table.md`, `table.csv`, `table.tex`, `tests.csv`, `cost.md`, `cells.csv`, pictures and runs.
        data: folder that relative data folders in the file start from; the folder of the file when left out.
        jobs: cells that run at once; 0 means one on this machine, and all of them on a cluster.
        executor: where cells run: local, slurm, or submitit_local (jobs as for slurm, but on this machine, to try it).
        ranks: processes that train one cell together, started by torchrun.
        slurm: parameters of the jobs on the cluster as NAME=VALUE, such as timeout_min=600 slurm_partition=gpu.
        only: data sets of the file to run, by name, so that folders of the others need not be there; all when left out.
        pictures: draw bars, segmentations and entropy maps; needs napari_uda[tables].
        strict: refuse to begin if the check of the data finds anything.
    """
    from napari_uda.experiments.benchmark import run_benchmark
    from napari_uda.experiments.executors import read_parameters
    from napari_uda.experiments.spec import read_spec

    read = read_spec(spec, data=data, only=only)
    with (
        stop_on_signal() as stop,
        progress_bar("cell", title="cells") as cells,
        step_bar(leave=False) as inside,
    ):

        def report(progress: Progress) -> None:
            cells.total = progress.total
            cells.update(progress.finished - cells.n)
            if not progress.title:
                return
            words = f"{progress.title}: {progress.phase}"
            if inside.desc != f"{words}: ":
                inside.reset(progress.of)
                inside.set_description(words, refresh=False)
            inside.total = progress.of
            inside.update(progress.done - inside.n)

        try:
            outcome = run_benchmark(
                read,
                out,
                executor=executor,
                jobs=jobs,
                ranks=ranks,
                cluster=read_parameters(slurm),
                with_pictures=pictures,
                strict=strict,
                on_progress=report,
                stop=stop,
            )
        except Cancelled as cancelled:
            raise KeyboardInterrupt(
                "stopped and saved; run the same command again to go on"
            ) from cancelled
    answer(outcome.markdown, **outcome.document())
    note_files(outcome.files)
    if outcome.failed:
        listed = "; ".join(f"{cell}: {reason}" for cell, reason in outcome.failed.items())
        failed = number_of(len(outcome.failed), "cell")
        complain(f"{failed} failed; the others are in the tables: {listed}")
        sys.exit(2 if outcome.of_input else 1)


def select(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    data: Path | None = None,
    checkpoints: bool = False,
    device: str = "auto",
) -> None:
    """Rank trained runs for some images, without any label of these, and say which one to take.

    Printed are scores from 0 to 1, means over the volumes, where more is better: how alike changed views of the
    slices are segmented (consistency), how sure the network is inside of the structures (certainty), whether these are
    as large as in the source (plausibility), the product of the last two with the root of the first (score), and the
    Dice of held-out source cases where the run logged it.

    Args:
        runs: run folders that segment the same structures.
        data: folder of images; labels in it are not read. The target of the runs when left out.
        checkpoints: rank all weights that each run holds, and not only those that predict.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
    """
    from napari_uda.training.select import select as rank

    with stop_on_signal() as stop, counted("volume", "select") as progress:
        found = rank(
            runs, data, checkpoints=checkpoints, device=device, on_progress=progress, stop=stop
        )
    rows = found.rows()
    shown = [
        {
            key: f"{value:.3f}".replace("nan", "-") if isinstance(value, float) else value
            for key, value in row.items()
        }
        for row in rows
    ]
    answer(text_table(tuple(rows[0]), shown), runs=rows)
    answer(found.reason, choice=found.choice.name, reason=found.reason)


def phantom(
    out: Folder,
    anatomy: Literal["cardiac", "abdominal"] = "cardiac",
    from_labels: Path | None = None,
    subjects: int = 8,
    size: int = 128,
    seed: int = 0,
) -> None:
    """Make phantom volumes with labels: OUT/ct and OUT/mr as data folders of unpaired subjects.

    Args:
        out: new folder.
        anatomy: cardiac (MYO, LAC, LVC, AA) or abdominal (liver, kidneys, spleen).
        from_labels: folder of abdominal CT label maps (BTCV numbering) whose anatomy is used instead.
        subjects: number of subjects per modality.
        size: pixels per side of a slice.
        seed: the same seed makes the same volumes.
    """
    from napari_uda.phantom import write_phantom

    with counted("volume", "phantom") as progress:
        folders = write_phantom(
            out,
            anatomy=anatomy,
            subjects=subjects,
            size=size,
            seed=seed,
            from_labels=from_labels,
            on_progress=progress,
        )
    answer("\n".join(map(str, folders)), folders=folders)


def convert(
    layout: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")],
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    split: bool = False,
    domain: tuple[str, ...] = (),
    ignore_label_geometry: bool = False,
    placement: Placement = "auto",
) -> None:
    """Turn a public data set into data folders OUT/<domain>, with label values and splits of the papers.

    Args:
        layout: btcv, chaos, ivdm3seg, mmwhs, saml or sifa.
        source: folder of the unpacked release.
        out: new or empty folder.
        split: write OUT/<domain>/train and OUT/<domain>/test, for data sets whose split in the papers is known.
        domain: convert only these modalities, contrasts or sites.
        ignore_label_geometry: use a label map that has its image's shape even where its header places it elsewhere.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.convert import convert as convert_layout

    with stop_on_signal() as stop, counted("case", layout) as progress:
        folders = convert_layout(
            layout,
            source,
            out,
            split=split,
            domains=domain,
            ignore_label_geometry=ignore_label_geometry,
            placement=placement,
            on_progress=progress,
            stop=stop,
        )
    answer("\n".join(map(str, folders)), folders=folders)


def tags(
    run: RunFolder, folder: Folder, out: Path, areas: bool = False, placement: Placement = "auto"
) -> None:
    """Write down which structures each slice of labelled volumes contains, as weak labels for sfda.

    Args:
        run: run folder whose structures and direction of slices are used.
        folder: data folder with labels.
        out: JSON file to write.
        areas: also write how large each structure is, to see what sfda reaches when it knows the true sizes.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.data.folder import DataFolder
    from napari_uda.data.weak_labels import make_weak_labels

    facts = open_run(run).facts
    kind: Literal["tags", "areas"] = "areas" if areas else "tags"
    opened = DataFolder.open(folder, placement=placement).named(facts.labels)
    make_weak_labels(opened, facts.labels, facts.grid, kind).write(out)
    answer(str(out), file=out)


def check(
    folder: Folder,
    target: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = None,
    strict: bool = False,
    series: str = "",
    placement: Placement = "auto",
) -> None:
    """Look at data folders as training does before its first step, and say what is odd in them.

    Nothing is changed. Of a second folder, the target, no label is read. The exit code is 2 if training would
    refuse a folder.

    Args:
        folder: data folder; the source where two are given.
        target: data folder of the target.
        strict: exit with 2 for warnings, too.
        series: which DICOM volumes, where a folder holds several: a series number, or a part of a description.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.cli.check import as_table, as_values, check_quietly, verdict

    with stop_on_signal() as stop, counted("volume", "check") as progress:
        reports = check_quietly(folder, target, series, placement, progress, stop)
    answer(as_table(reports), **as_values(reports))
    refused = verdict(reports, strict=strict)
    if refused:
        raise InputError(refused)


def clean(folder: Folder) -> None:
    """Remove what killed commands left in a folder, and in the folders below it.

    Hidden files and folders of this program go if the process that wrote them is gone: those of a living one
    stay, and those of another machine or container until nothing has changed in them for 24 hours. Mapped
    slices (`cache`) go from runs that nobody trains. All that goes is printed.

    Args:
        folder: data folder, run folder, folder of results, or one that holds such folders.
    """
    from napari_uda.run.cleaning import clean as clean_folder

    found = clean_folder(folder)
    answer(removed=[], kept=[])
    for path in found.removed:
        answer_each("removed", {"path": path}, f"removed {path}")
    for leftover in found.kept:
        why = leftover.kept or "it cannot be removed"
        answer_each("kept", {"path": leftover.path, "why": why}, f"kept {leftover.path}: {why}")
    if not found.removed and not found.kept:
        answer("nothing was left")


def methods() -> None:
    """List the methods: name, family, paper and the data each needs."""
    from napari_uda.methods.listing import list_methods

    rows = list_methods()
    answer(text_table(("name", "family", "paper", "needs"), rows), methods=rows)


def recipes() -> None:
    """List the recipes, the presets for --recipe: name, method and what each is for."""
    from napari_uda.run.recipes import recipe_table

    rows = recipe_table()
    shown = [{**row, "method": row["method"] or "any"} for row in rows]
    answer(text_table(("name", "method", "about"), shown, shorten="about"), recipes=rows)


def pack(run: RunFolder, out: Path, purpose: str = "", licence: str = "") -> None:
    """Write a trained run as one file to hand on, with its card; names and places of patients stay here.

    Args:
        run: trained run folder.
        out: the file, which ends in .zip.
        purpose: what the model is for, in a sentence; left out, the card says what it segments in what.
        licence: under which the weights may be used, such as CC-BY-4.0.
    """
    from napari_uda.experiments.model_pack import pack as write_packed

    card = write_packed(run, out, purpose=purpose, licence=licence)
    answer(_card_text(card), **card.model_dump(), files=[out])
    note_files([out])


def unpack(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.zip")], out: Path
) -> None:
    """Make a run folder of a file that pack wrote, and show its card.

    Args:
        file: the packed run.
        out: a new folder; it can then be used wherever a run is asked for.
    """
    from napari_uda.experiments.model_pack import unpack as make_run

    card = make_run(file, out)
    answer(_card_text(card), **card.model_dump(), run=out)
    note_files([out])


def _card_text(card: ModelCard) -> str:
    return "\n".join(f"{title}: {text}" for title, text in card.lines())


def show(paths: Paths, screenshot: Path | None = None, placement: Placement = "auto") -> None:
    """Open napari with volumes, a folder of cases, predictions, a run or a session.

    A folder opens as a list of its cases in the Data dock, with the first one shown; predictions find their
    images wherever these are.

    Args:
        paths: volumes, prediction files, a folder of them, a run folder, a data folder and the predictions for it, or a session.yaml.
        screenshot: file for a picture of the window, which is then closed.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    if not paths:
        raise InputError(
            "there is nothing to show; give volumes, a data folder, predictions, a run folder, or a session"
        )
    windows = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in windows):
        raise InputError(
            "there is no display; set DISPLAY, or run this under xvfb-run with --screenshot FILE"
        )
    let_sigterm_end_windows()
    from napari_uda.gui.launch import open_viewer

    open_viewer(paths, screenshot=screenshot, placement=placement)


def demo(out: Path = Path("demo_output"), viewer: bool = True) -> None:
    """Adapt a network from the sample CT to the sample MR, score it, and show it in napari.

    Args:
        out: new folder for data, runs, predictions and scores.
        viewer: open napari at the end, or save a screenshot where there is no display.
    """
    from napari_uda.cli.train import drive
    from napari_uda.demo import run_demo

    scores = run_demo(out, drive=drive, with_viewer=viewer)
    answer(str(out), out=out, rows={name: each.summary() for name, each in scores.items()})


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "phantom": phantom,
    "convert": convert,
    "tags": tags,
    "check": check,
    "predict": predict,
    "adapt": adapt,
    "translate": translate,
    "evaluate": evaluate,
    "report": report,
    "select": select,
    "benchmark": benchmark,
    "clean": clean,
    "methods": methods,
    "recipes": recipes,
    "pack": pack,
    "unpack": unpack,
    "show": show,
}
