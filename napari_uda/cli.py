"""The commands of `napari-uda`; options of `train` come from the settings tree, never written twice.

Exit codes: 0 done, 1 internal error, 2 bad input or usage, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tqdm import tqdm
from tyro.conf import Positional

from napari_uda.errors import Cancelled, InputError

if TYPE_CHECKING:
    from types import FrameType

    from napari_uda.run_config import RunConfig
    from napari_uda.runs import Run

Paths = Annotated[tuple[Path, ...], tyro.conf.Positional]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        _dispatch(given)
    except InputError as error:
        print(f"napari-uda: {error}", file=sys.stderr)
        sys.exit(2)
    except FloatingPointError as error:
        print(f"napari-uda: {error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, Cancelled):
        print("napari-uda: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `napari-uda methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _dispatch(given: list[str]) -> None:
    if given[:1] == ["--version"]:
        from napari_uda import __version__

        print(__version__)
        return
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return
    name, rest = given[0], given[1:]
    if name == "train":
        _train(rest)
    elif name in _COMMANDS:
        tyro.cli(_COMMANDS[name], args=rest, prog=f"napari-uda {name}")
    else:
        known = ", ".join(("train", *_COMMANDS))
        raise InputError(f"unknown command {name!r}; choose one of {known}")


def _overview() -> str:
    lines = ["usage: napari-uda COMMAND ... (COMMAND --help tells more)", ""]
    entries = {"train": "Train an adaptation method, or continue a run with --resume RUN."}
    entries |= {name: (run.__doc__ or "").splitlines()[0] for name, run in _COMMANDS.items()}
    lines += [f"  {name:<10} {text}" for name, text in entries.items()]
    return "\n".join(lines)


# --- train ----------------------------------------------------------------------------------------


def _train(given: list[str]) -> None:
    """`train METHOD --data.source DIR ... --run-dir RUN` or `train --resume RUN`."""
    from napari_uda import api
    from napari_uda.runs import Run

    resume, rest = _take_option(given, "--resume")
    if resume is not None:
        if rest:
            raise InputError(
                f"--resume goes on with the run's own settings; leave {' '.join(rest)} out"
            )
        with _process_group():
            _drive(Run.open(resume))
        return
    run_dir, rest = _take_option(rest, "--run-dir")
    recipe, rest = _take_option(rest, "--recipe")
    method = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    if not method and not recipe:
        names = ", ".join(entry["name"] for entry in api.list_methods())
        print(
            "usage: napari-uda train METHOD --data.source DIR --data.target DIR --run-dir RUN "
            "[--recipe NAME|FILE] [options]\n       napari-uda train --resume RUN\n\n"
            f"methods: {names}\nrecipes: {', '.join(api.list_recipes())}\n"
            "napari-uda train METHOD --help lists the options"
        )
        sys.exit(0 if {"-h", "--help"} & set(rest) else 2)
    default = api.build_config(method, recipe=recipe)
    config = _parse_settings(default, rest)
    if run_dir is None:
        raise InputError("no run folder given; add --run-dir with a new folder")
    with _process_group() as leader:
        if leader:
            Run.create(run_dir, config)
        _wait_for_leader()
        _drive(Run.open(run_dir))


def _parse_settings(default: RunConfig, rest: list[str]) -> RunConfig:
    from napari_uda.run_config import RunConfig

    name = default.method.name
    description = (
        f"{RunConfig.__doc__}\n\n--run-dir RUN (a new folder) is needed; --recipe NAME|FILE starts "
        "from a preset, whose values are the defaults shown here."
    )
    return tyro.cli(
        RunConfig,
        args=rest,
        default=default,
        prog=f"napari-uda train {name}",
        description=description,
    )


def _take_option(given: list[str], option: str) -> tuple[str | None, list[str]]:
    """Value of `option VALUE` or `option=VALUE`, and the arguments without it."""
    rest: list[str] = []
    value: str | None = None
    arguments = iter(given)
    for argument in arguments:
        flag, equals, inline = argument.partition("=")
        if flag.replace("_", "-") != option:
            rest.append(argument)
        elif equals:
            value = inline
        else:
            value = next(arguments, None)
            if value is None:
                raise InputError(f"{option} needs a value")
    return value, rest


@contextmanager
def _process_group() -> Iterator[bool]:
    """Join the other processes when started by torchrun; yields whether this is the first one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    import torch
    import torch.distributed as dist

    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank() == 0
        dist.barrier()  # gloo aborts when one process leaves while another still talks
    finally:
        dist.destroy_process_group()


def _wait_for_leader() -> None:
    from napari_uda.engine import distributed

    if distributed.is_distributed():
        import torch.distributed as dist

        dist.barrier()


def _drive(run: Run, title: str = "") -> None:
    """Train with a progress bar; the first interrupt saves and stops."""
    from napari_uda import api
    from napari_uda.engine import distributed

    stop = threading.Event()
    with (
        _stop_on_signal(stop),
        tqdm(
            desc=title or run.config.method.name,
            total=run.config.steps,
            unit="step",
            disable=distributed.rank() != 0,
            mininterval=0.5,
        ) as bar,
    ):
        for progress in api.iterate(run, stop=stop):
            bar.update(progress.step - bar.n)
            if "segmentation" in progress.scalars:
                bar.set_postfix(loss=f"{sum(_losses(progress.scalars)):.3f}", refresh=False)
    if stop.is_set():
        print(
            f"stopped and saved; continue with: napari-uda train --resume {run.path}",
            file=sys.stderr,
        )
        raise KeyboardInterrupt


def _losses(scalars: object) -> list[float]:
    """The segmentor's loss terms among what a method logs."""
    assert hasattr(scalars, "items")
    return [v for k, v in scalars.items() if not k.startswith(("discriminator", "reliable"))]


@contextmanager
def _stop_on_signal(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM ask to stop; a second SIGINT stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- the other commands ----------------------------------------------------------------------------


def predict(
    run: Positional[Path],
    images: Paths,
    out: Path,
    device: str = "auto",
    batch_size: int = 0,
    reliability: bool = True,
) -> None:
    """Segment volumes: labels, entropy and reliability as NIfTI on each volume's own grid.

    Args:
        run: run folder of a trained model.
        images: volumes, DICOM folders, or folders of volumes.
        out: folder for `<case>_labels.nii.gz`, `<case>_entropy.nii.gz`, `<case>_reliability.nii.gz`.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        batch_size: slices at once; 0 chooses.
        reliability: vote over views, seven passes instead of one.
    """
    from napari_uda.data.folder import find_volumes
    from napari_uda.data.volume import case_name
    from napari_uda.inference.predict import predict as segment
    from napari_uda.runs import Run

    opened = Run.open(run)
    files = find_volumes(images)
    names = [case_name(file) for file in files]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{', '.join(sorted(twice))} is given twice; rename one of the files")
    failed: list[str] = []
    stop = threading.Event()
    with _stop_on_signal(stop):
        for file in tqdm(files, desc="predict", unit="volume"):
            try:
                segment(
                    opened,
                    file,
                    device=device,
                    batch_size=batch_size,
                    reliability=reliability,
                    stop=stop,
                ).save(out)
            except InputError as error:
                if len(files) == 1:
                    raise
                failed.append(str(error))
    if failed:
        listed = "; ".join(failed)
        raise InputError(f"{len(failed)} of {len(files)} volumes could not be segmented: {listed}")


def evaluate(
    predictions: Positional[Path],
    labels: Positional[Path],
    out: Path,
    protocol: str = "recommended",
) -> None:
    """Score predictions against labels: scores.csv, scores.json and slices.csv.

    Args:
        predictions: folder with `<case>_labels.nii.gz` or `<case>.nii.gz`.
        labels: folder with `<case>.nii.gz`.
        out: folder for the tables.
        protocol: recommended, or the definitions of a paper: sifa, attent_slice, se_asa, sfda.
    """
    from napari_uda.metrics.report import evaluate_folders

    scores = evaluate_folders(predictions, labels, protocol=protocol)
    scores.write(out)
    print(scores.table())


def phantom(
    out: Positional[Path],
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
        from_labels: folder of abdominal CT label maps (BTCV numbering) to paint on instead.
        subjects: subjects per modality.
        size: pixels per side of a slice.
        seed: the same seed makes the same volumes.
    """
    from napari_uda.data.phantom import write_phantom

    with tqdm(desc="phantom", unit="volume") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

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


def methods() -> None:
    """List the methods: name, family, paper and the data each needs."""
    from napari_uda.api import list_methods

    rows = list_methods()
    columns = ("name", "family", "paper", "needs")
    widths = [max(len(c), *(len(row[c]) for row in rows)) for c in columns]
    for row in ({c: c for c in columns}, *rows):
        line = "  ".join(f"{row[c]:<{w}}" for c, w in zip(columns, widths, strict=True))
        print(line.rstrip())


def show(paths: Paths, screenshot: Path | None = None) -> None:
    """Open napari with volumes, predictions or a run arranged.

    Args:
        paths: volumes, prediction files, folders of them, or run folders.
        screenshot: save a picture of the window there and close it again.
    """
    from napari_uda.gui.launch import open_viewer

    open_viewer(paths, screenshot=screenshot)


def demo(out: Path = Path("demo_output"), viewer: bool = True) -> None:
    """Adapt a network from the sample CT to the sample MR, score it, and show it in napari.

    Args:
        out: new folder for data, runs, predictions and scores.
        viewer: open napari at the end (without a display: save a screenshot instead).
    """
    from napari_uda.demo import run_demo

    run_demo(out, drive=_drive, with_viewer=viewer)


_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "phantom": phantom,
    "predict": predict,
    "evaluate": evaluate,
    "methods": methods,
    "show": show,
}
