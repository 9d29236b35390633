"""The commands by their names, and those that are a few lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from napari_uda.cli.arguments import Folder, Paths, Placement, RunFolder, SpecFile
from napari_uda.cli.terminal import complain, counted, progress_bar, step_bar, stop_on_signal
from napari_uda.cli.volumes import adapt, predict, translate
from napari_uda.core.errors import Cancelled, InputError

if TYPE_CHECKING:
    from napari_uda.experiments.executors import Progress


def evaluate(
    predictions: Folder,
    labels: Folder,
    out: Path,
    protocol: str = "recommended",
    placement: Placement = "auto",
) -> None:
    """Score predictions against labels: scores.csv, scores.json and slices.csv.

    Args:
        predictions: folder with `<case>_labels.nii.gz` or `<case>.nii.gz`.
        labels: folder with `<case>.nii.gz`, `<case>.dcm` (DICOM SEG, RTSTRUCT), `<case>.seg.nrrd` and the like, or a tree of DICOM.
        out: folder for the tables.
        protocol: recommended, or the definitions of a paper: sifa, attent_slice, se_asa, sfda.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.evaluation.report import evaluate_folders

    scores = evaluate_folders(predictions, labels, protocol=protocol, placement=placement)
    scores.write(out)
    print(scores.table())


def benchmark(
    spec: SpecFile,
    out: Path,
    data: Path | None = None,
    jobs: int = 0,
    executor: Literal["local", "slurm", "submitit_local"] = "local",
    ranks: int = 1,
    slurm: tuple[str, ...] = (),
    pictures: bool = True,
) -> None:
    """Run the benchmark that a file describes: train, score, compare with statistical tests, draw.

    A cell is one row of the tables on one data set with one seed. Run again, the command goes on where it
    stopped. When a cell fails, the others go on and the table names it; the exit code is then 1, or 2 if all
    failures come from the input.

    Args:
        spec: YAML file that names rows, data, directions, seeds and protocol.
        out: folder for `table.md`, `table.csv`, `table.tex`, `tests.csv`, `cells.csv`, pictures and runs.
        data: folder that relative data folders in the file start from; the folder of the file when left out.
        jobs: cells that run at once; 0 means one on this machine, and all of them on a cluster.
        executor: where cells run: local, slurm, or submitit_local (jobs as for slurm, but on this machine, to try it).
        ranks: processes that train one cell together, started by torchrun.
        slurm: parameters of the jobs on the cluster as NAME=VALUE, such as timeout_min=600 slurm_partition=gpu.
        pictures: draw bars, segmentations and entropy maps; needs napari_uda[tables].
    """
    from napari_uda.experiments.benchmark import run_benchmark
    from napari_uda.experiments.executors import read_parameters
    from napari_uda.experiments.spec import read_spec

    read = read_spec(spec, data=data)
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
                on_progress=report,
                stop=stop,
            )
        except Cancelled as cancelled:
            raise KeyboardInterrupt(
                "stopped and saved; run the same command again to go on"
            ) from cancelled
    print(outcome.markdown)
    if outcome.failed:
        listed = "; ".join(f"{cell}: {reason}" for cell, reason in outcome.failed.items())
        count = len(outcome.failed)
        cells_failed = "1 cell failed" if count == 1 else f"{count} cells failed"
        complain(f"{cells_failed}; the others are in the tables: {listed}")
        sys.exit(2 if outcome.of_input else 1)


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
    print(*folders, sep="\n")


def convert(
    layout: Annotated[str, tyro.conf.Positional],
    source: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    split: bool = False,
    domain: tuple[str, ...] = (),
    ignore_label_geometry: bool = False,
) -> None:
    """Turn a public data set into data folders OUT/<domain>, with label values and splits of the papers.

    Args:
        layout: btcv, chaos, ivdm3seg, mmwhs, saml or sifa.
        source: folder of the unpacked release.
        out: new or empty folder.
        split: write OUT/<domain>/train and OUT/<domain>/test, for data sets whose split in the papers is known.
        domain: convert only these modalities, contrasts or sites.
        ignore_label_geometry: use a label map that has its image's shape even where its header places it elsewhere.
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
            on_progress=progress,
            stop=stop,
        )
    print(*folders, sep="\n")


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
    from napari_uda.run.run import Run

    facts = Run.open(run).facts
    kind: Literal["tags", "areas"] = "areas" if areas else "tags"
    opened = DataFolder.open(folder, placement=placement).named(facts.labels)
    make_weak_labels(opened, facts.labels, facts.grid, kind).write(out)
    print(out)


def methods() -> None:
    """List the methods: name, family, paper and the data each needs."""
    from napari_uda.api import list_methods

    rows = list_methods()
    columns = ("name", "family", "paper", "needs")
    widths = [max(len(c), *(len(row[c]) for row in rows)) for c in columns]
    for row in ({c: c for c in columns}, *rows):
        line = "  ".join(f"{row[c]:<{w}}" for c, w in zip(columns, widths, strict=True))
        print(line.rstrip())


def show(paths: Paths, screenshot: Path | None = None, placement: Placement = "auto") -> None:
    """Open napari with volumes, predictions or runs.

    Args:
        paths: volumes, prediction files, folders of them, or run folders.
        screenshot: file for a picture of the window, which is then closed.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    if not paths:
        raise InputError("there is nothing to show; give volumes, predictions, or a run folder")
    windows = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in windows):
        raise InputError(
            "there is no display; set DISPLAY, or run this under xvfb-run with --screenshot FILE"
        )
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

    run_demo(out, drive=drive, with_viewer=viewer)


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "phantom": phantom,
    "convert": convert,
    "tags": tags,
    "predict": predict,
    "adapt": adapt,
    "translate": translate,
    "evaluate": evaluate,
    "benchmark": benchmark,
    "methods": methods,
    "show": show,
}
