"""The commands of `napari-uda`; options of `train` come from the settings tree, never written twice.

Exit codes: 0 done, 1 internal error, 2 bad input or usage, 130 interrupted.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, TypeVar

import tyro
from pydantic import ValidationError
from tqdm import tqdm

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import REFUSALS, refusal
from napari_uda.core.openmp import let_idle_threads_sleep
from napari_uda.run.run import first_problem

if TYPE_CHECKING:
    from types import FrameType

    from napari_uda.inference.predict import Prediction
    from napari_uda.inference.translate import Translation
    from napari_uda.run.config import RunConfig
    from napari_uda.run.run import Run

Result = TypeVar("Result")
RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
SpecFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC.yaml")]
Paths = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH...")]
_SECONDS_BETWEEN_LINES = 10.0  # of a progress bar that goes to a file


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        _dispatch(given)
    except InputError as error:
        _complain(str(error))
        sys.exit(2)
    except FloatingPointError as error:
        _complain(str(error))
        sys.exit(1)
    except BrokenPipeError:  # `napari-uda methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        _complain(refusal(error))
        sys.exit(2)
    except (KeyboardInterrupt, Cancelled) as interrupt:
        _complain(str(interrupt) or "interrupted")
        sys.exit(130)


def _complain(sentence: str) -> None:
    """Say it once, whatever the number of processes under torchrun."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):  # on a full disk the exit code still says it
            print(f"napari-uda: {sentence}", file=sys.stderr)


def _dispatch(given: list[str]) -> None:
    if given[:1] == ["--version"]:
        from napari_uda import __version__

        print(__version__)
        return
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return
    name, rest = given[0], given[1:]
    if name in _TRAINING:
        _settle_threads()
    if name == "train":
        _train(rest)
    elif name in _COMMANDS:
        _parse(_deferred(_COMMANDS[name]), rest, f"napari-uda {name}")()
    else:
        known = ", ".join(("train", *_COMMANDS))
        raise InputError(f"unknown command {name!r}; choose one of {known}")


def _settle_threads() -> None:
    if "torch" not in sys.modules:  # it reads the variable once
        let_idle_threads_sleep(os.environ)


def _overview() -> str:
    lines = ["usage: napari-uda COMMAND ... (COMMAND --help tells more)", ""]
    entries = {"train": "Train an adaptation method, or continue a run with --resume RUN."}
    entries |= {name: (run.__doc__ or "").splitlines()[0] for name, run in _COMMANDS.items()}
    lines += [f"  {name:<10} {text}" for name, text in entries.items()]
    return "\n".join(lines)


# --- options --------------------------------------------------------------------------------------


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """A function with the command's options that returns the call instead of making it."""

    @functools.wraps(command)
    def bind(*arguments: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(command, *arguments, **options)

    return bind


def _parse(kind: Callable[..., Any], given: list[str], program: str, **settings: Any) -> Any:
    """Options as values; what does not fit is said in one sentence instead of tyro's box.

    Raises:
        InputError: for an unknown option, a missing one, or a value out of range.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(kind, args=given, prog=program, **settings)
    except SystemExit as end:
        if not end.code:
            raise
        reason = _reason(said.getvalue(), end)
        raise InputError(f"{reason}; see {program} --help") from end


def _reason(box: str, end: SystemExit) -> str:
    """The sentence in tyro's message, or in the validation error it was made from."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [re.sub(r"^[│|]|[│|]$", "", line).rstrip() for line in plain.splitlines()[1:]]
    sections = "\n".join(row if row.strip(" ─-╰╯") else "" for row in rows).strip("\n")
    lines = sections.partition("\n\n")[0].splitlines()
    if len(lines) > 1 and "Missing from" in lines[0]:  # names stand one step in, their help two
        names = [line for line in lines if _indent(line) == _indent(lines[1])]
        return f"{', '.join(n.split(' (required)')[0].strip() for n in names)} must be given"
    text = " ".join(" ".join(lines).split()).removeprefix("Error parsing ").rstrip(".")
    invalid = _cause(end)
    if invalid is None:
        return text
    section = re.match(r"([a-z_.]+):", text)
    return f"{section[1] + '.' if section else ''}{first_problem(invalid)}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _cause(error: BaseException | None) -> ValidationError | None:
    while error is not None and not isinstance(error, ValidationError):
        error = error.__cause__ or error.__context__
    return error


# --- train ----------------------------------------------------------------------------------------


def _train(given: list[str]) -> None:
    """`train METHOD --data.source DIR ... --run-dir RUN` or `train --resume RUN`."""
    from napari_uda import api
    from napari_uda.run.run import Run

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
            "[--recipe NAME|FILE[,...]] [options]\n       napari-uda train --resume RUN\n\n"
            f"methods: {names}\nrecipes: {', '.join(api.list_recipes())}\n"
            "napari-uda train METHOD --help lists the options"
        )
        sys.exit(0 if {"-h", "--help"} & set(rest) else 2)
    default = api.build_config(method, recipe=recipe)
    config = _parse_settings(default, rest)
    if run_dir is None:
        raise InputError("no run folder given; add --run-dir with a new folder")
    with _process_group() as leader:
        Run.check_new(run_dir)
        _wait_for_all()  # every process has looked before the first one makes the folder
        with api.new_run(run_dir, config) if leader else nullcontext():
            _wait_for_all()
            _drive(Run.open(run_dir))


def _parse_settings(default: RunConfig, rest: list[str]) -> RunConfig:
    from napari_uda.run.config import RunConfig

    name = default.method.name
    description = (
        f"{RunConfig.__doc__}\n\n--run-dir RUN (a new folder) is needed; --recipe NAME|FILE[,...] "
        "starts from presets, whose values are the defaults shown here."
    )
    program = f"napari-uda train {name}"
    config = _parse(RunConfig, rest, program, default=default, description=description)
    assert isinstance(config, RunConfig)
    return config


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

    if dist.is_initialized():  # by a script that trains several runs
        yield dist.get_rank() == 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    try:
        yield dist.get_rank() == 0
        dist.barrier()  # gloo aborts when one process leaves while another still talks
    finally:
        dist.destroy_process_group()


def _wait_for_all() -> None:
    from napari_uda.core import distributed

    if distributed.is_distributed():
        import torch.distributed as dist

        dist.barrier()


def _drive(run: Run, title: str = "") -> None:
    """Train with a progress bar; the first interrupt saves and stops."""
    from napari_uda import api
    from napari_uda.core import distributed

    stop = threading.Event()
    with (
        _stop_on_signal(stop),
        tqdm(
            desc=title or run.config.method.name,
            total=run.config.steps,
            unit="step",
            file=sys.stderr if sys.stderr.isatty() else _Unbreakable(sys.stderr),
            disable=distributed.rank() != 0,
            mininterval=0.5 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES,
            delay=1e-3,  # nothing before the first step, so that bad data leaves one sentence
        ) as bar,
    ):
        stopped = False
        for progress in api.iterate(run, stop=stop):
            stopped = progress.stopped
            bar.update(progress.step - bar.n)
            if progress.scalars:
                bar.set_postfix(loss=f"{sum(_losses(progress.scalars)):.3f}", refresh=False)
        if bar.n:
            bar.refresh()  # a file gets the last state of a run that was shorter than its interval
    if stopped:
        raise KeyboardInterrupt(
            f"stopped and saved; continue with: napari-uda train --resume {shlex.quote(str(run.path))}"
        )


class _Unbreakable:
    """A stream to a file; where its disk is full, training goes on without a progress bar."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _losses(scalars: object) -> list[float]:
    """The segmentor's loss terms among what a method logs."""
    assert hasattr(scalars, "items")
    return [
        v
        for k, v in scalars.items()
        if not k.startswith(("discriminator", "reliable", "structure"))
    ]


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
    run: RunFolder,
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
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict as segment
    from napari_uda.run.run import Run

    load = functools.cache(functools.partial(LoadedRun.load, Run.open(run), device))

    def work(file: Path, stop: threading.Event) -> Prediction:
        return segment(load(), file, batch_size=batch_size, reliability=reliability, stop=stop)

    _volume_by_volume(images, work, lambda done: done.save(out), "predict", "segmented")


def _volume_by_volume(
    images: Sequence[Path],
    work: Callable[[Path, threading.Event], Result],
    save: Callable[[Result], object],
    title: str,
    done: str,
) -> None:
    """Do the work for each volume and save it; a bad one does not keep the others from theirs.

    Raises:
        InputError: for a case given twice, or, at the end, naming the volumes that failed.
    """
    files = _different_cases(images)
    failed: list[str] = []
    stop = threading.Event()
    with _stop_on_signal(stop):
        for file in tqdm(files, desc=title, unit="volume", delay=1e-3):
            try:
                result = work(file, stop)
            except InputError as error:
                if len(files) == 1:
                    raise
                failed.append(str(error))
                continue
            save(result)
    if failed:
        listed = "; ".join(dict.fromkeys(failed))  # what is wrong with the run is said once
        raise InputError(f"{len(failed)} of {len(files)} volumes could not be {done}: {listed}")


def _different_cases(images: Sequence[Path]) -> list[Path]:
    """The volumes among the paths, no two of one name: their results would have the same files."""
    from napari_uda.data.folder import find_volumes
    from napari_uda.data.volume import case_name

    files = find_volumes(images)
    names = [case_name(file) for file in files]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{', '.join(sorted(twice))} is given twice; rename one of the files")
    return files


def adapt(
    run: RunFolder,
    images: Paths,
    out: Path,
    method: Literal["sfda", "bn_adapt", "tent"] = "sfda",
    steps: int = 0,
    sizes_ml: Annotated[tuple[tuple[str, float], ...], tyro.conf.arg(metavar="NAME ML ...")] = (),
    presence: Literal["cohort", "all", "select", "proposals"] = "cohort",
    max_volume_change: float = 4.0,
    together: bool = False,
    reliability: bool = False,
    device: str = "auto",
) -> None:
    """Adapt a run to volumes and segment them before and after; the run is not changed.

    Args:
        run: run folder of a trained model.
        images: volumes, DICOM folders, or folders of volumes.
        out: folder for `before/`, `after/` (with files as those of predict) and `<case>_adaptation.json`.
        method: sfda (class ratios and entropy), bn_adapt (statistics of batch normalisation) or tent (they and entropy).
        steps: gradient steps; 0 takes the method's own number.
        sizes_ml: sfda: expected volumes of all structures, instead of the sizes stored in the run.
        presence: sfda: which structures a slice is expected to hold (see train sfda --help).
        max_volume_change: a structure that grows or shrinks by more than this factor keeps the unadapted result; 0 never does.
        together: adapt once to all volumes; without it each begins with the run's weights.
        reliability: vote over views, too.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
    """
    from napari_uda.run.run import Run
    from napari_uda.training.adapt import Adaptation
    from napari_uda.training.adapt import adapt as fit

    opened = Run.open(run)
    settings = {} if presence == "cohort" else {"presence": presence}

    def work(files: Path | list[Path], stop: threading.Event) -> list[Adaptation]:
        return fit(
            opened,
            files,
            method=method,
            steps=steps,
            max_volume_change=max_volume_change,
            sizes_ml=dict(sizes_ml),
            settings=settings,
            together=together,
            reliability=reliability,
            device=device,
            stop=stop,
        )

    def save(found: list[Adaptation]) -> None:
        for adaptation in found:
            adaptation.save(out)
            tqdm.write(adaptation.summary())

    if not together:
        _volume_by_volume(images, work, save, "adapt", "adapted to")
        return
    stop = threading.Event()
    with _stop_on_signal(stop):
        found = work(_different_cases(images), stop)
    save(found)


def translate(
    run: RunFolder,
    images: Paths,
    out: Path,
    direction: Literal["target_to_source", "source_to_target"] = "target_to_source",
    device: str = "auto",
    batch_size: int = 0,
) -> None:
    """Give volumes the look of the other domain, and back; prints how smoothly slices follow.

    The change from a slice to the next is a mean absolute difference where intensities go from -1 to 1.

    Args:
        run: run folder of a trained model with generators (cyclegan, attent).
        images: volumes, DICOM folders, or folders of volumes.
        out: folder for `<case>_translated.nii.gz`, `<case>_cycle.nii.gz` and, of a run with attention gates,
            `<case>_attention_<resolution>.nii.gz` (quarter, half, full).
        direction: which domain the volumes are of, and which they shall look like.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        batch_size: slices at once; 0 chooses.
    """
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.translate import translate as give_look
    from napari_uda.run.run import Run

    load = functools.cache(functools.partial(LoadedRun.load, Run.open(run), device))

    def work(file: Path, stop: threading.Event) -> Translation:
        return give_look(load(), file, direction=direction, batch_size=batch_size, stop=stop)

    def save(translation: Translation) -> None:
        translation.save(out)
        translated, given = translation.slice_change
        tqdm.write(
            f"{translation.case}: change from slice to slice {translated:.4f} translated, "
            f"{given:.4f} before"
        )

    _volume_by_volume(images, work, save, "translate", "translated")


def evaluate(
    predictions: Folder,
    labels: Folder,
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
    from napari_uda.evaluation.report import evaluate_folders

    scores = evaluate_folders(predictions, labels, protocol=protocol)
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
    """Make the tables of a spec: train what is not trained yet, score, compare, draw.

    Started again, it goes on where it stopped. A cell that fails is named in the table, the rest goes on, and
    the exit code is 1, or 2 when all failures are of the input.

    Args:
        spec: YAML file that names rows, data, directions, seeds and protocol.
        out: folder for `table.md`, `table.csv`, `table.tex`, `tests.csv`, `cells.csv`, pictures and runs.
        data: folder that the spec's relative data folders start from; its own folder when left out.
        jobs: cells at once; 0 is one at a time here, and all of them on a cluster.
        executor: local, slurm, or submitit_local, which tries the way of slurm on this machine.
        ranks: processes that train one cell together (torchrun).
        slurm: parameters of the jobs as NAME=VALUE, such as timeout_min=600 slurm_partition=gpu.
        pictures: draw bars, segmentations and entropy maps (needs the extra tables).
    """
    from napari_uda.experiments.benchmark import run_benchmark
    from napari_uda.experiments.executors import Progress, read_parameters
    from napari_uda.experiments.spec import read_spec

    read = read_spec(spec, data=data)
    stop = threading.Event()
    with (
        _stop_on_signal(stop),
        tqdm(desc="cells", unit="cell", delay=1e-3) as cells,
        tqdm(
            unit="step",
            leave=False,
            mininterval=0.5 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES,
            delay=1e-3,
        ) as inside,
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
            raise KeyboardInterrupt("stopped and saved; the same command goes on") from cancelled
    print(outcome.markdown)
    if outcome.failed:
        listed = "; ".join(f"{cell}: {reason}" for cell, reason in outcome.failed.items())
        _complain(f"{len(outcome.failed)} cells failed, the others are in the tables: {listed}")
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
        from_labels: folder of abdominal CT label maps (BTCV numbering) to paint on instead.
        subjects: subjects per modality.
        size: pixels per side of a slice.
        seed: the same seed makes the same volumes.
    """
    from napari_uda.phantom import write_phantom

    with tqdm(desc="phantom", unit="volume", delay=1e-3) as bar:

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
        split: write OUT/<domain>/train and OUT/<domain>/test where a split of the papers ships.
        domain: only these modalities, contrasts or sites.
        ignore_label_geometry: take the image's place in space for label maps of the same shape.
    """
    from napari_uda.convert import convert as convert_layout

    stop = threading.Event()
    with _stop_on_signal(stop), tqdm(desc=layout, unit="case", delay=1e-3) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

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


def tags(run: RunFolder, folder: Folder, out: Path, areas: bool = False) -> None:
    """Note which structures each slice of labelled volumes contains: weak labels for sfda.

    Args:
        run: run folder; its structures and slices are meant.
        folder: data folder with labels.
        out: JSON file to write.
        areas: note how large the structures are, too: an oracle, for the bound of true sizes.
    """
    from napari_uda.data.folder import DataFolder
    from napari_uda.data.weak_labels import make_weak_labels
    from napari_uda.run.run import Run

    facts = Run.open(run).facts
    kind: Literal["tags", "areas"] = "areas" if areas else "tags"
    make_weak_labels(DataFolder.open(folder), facts.labels, facts.grid, kind).write(out)
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


def show(paths: Paths, screenshot: Path | None = None) -> None:
    """Open napari with volumes, predictions or a run arranged.

    Args:
        paths: volumes, prediction files, folders of them, or run folders.
        screenshot: save a picture of the window there and close it again.
    """
    if not paths:
        raise InputError("nothing to show; give volumes, predictions, or a run folder")
    windows = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in windows):
        raise InputError(
            "there is no display; set DISPLAY, or run it under xvfb-run with --screenshot FILE"
        )
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


_TRAINING = ("train", "benchmark", "demo")
_COMMANDS: dict[str, Callable[..., None]] = {
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
