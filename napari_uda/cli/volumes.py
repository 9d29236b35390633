"""The commands that do something with each of many volumes: predict, adapt, translate."""

from __future__ import annotations

import functools
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from napari_uda.cli.arguments import Paths, Placement, RunFolder
from napari_uda.cli.output import answer_each, in_braces
from napari_uda.cli.terminal import counted_in_parts, note, note_files, stop_on_signal
from napari_uda.core.errors import InputError, UnfitFormatError
from napari_uda.core.words import number_of

if TYPE_CHECKING:
    from napari_uda.data.patients import Case
    from napari_uda.data.volume import Volume
    from napari_uda.inference.predict import Prediction
    from napari_uda.inference.translate import Translation
    from napari_uda.run.run import Run

Result = TypeVar("Result")
Report = Callable[[int, int], None]
"""Told of slices done and slices in all."""


def predict(
    run: RunFolder,
    images: Paths,
    out: Path,
    device: str = "auto",
    backend: Literal["auto", "torch", "openvino"] = "auto",
    batch_size: int = 0,
    reliability: bool = True,
    ensemble: tuple[Path, ...] = (),
    tta: Literal["none", "flips", "looks"] = "none",
    smooth_mm: float = 0.0,
    largest_parts: bool = False,
    format: Literal["nifti", "seg-nrrd", "dicom-seg", "rtstruct"] = "nifti",
    entropy: bool = True,
    entropy_dtype: Literal["uint8", "float32"] = "uint8",
    series: str = "",
    placement: Placement = "auto",
) -> None:
    """Segment volumes: labels, entropy and reliability on each volume's own grid.

    For each volume it is printed whether the model fits it (fits, doubtful, does not fit), and why not.

    Args:
        run: run folder of a trained model.
        images: volumes, DICOM folders, or folders of volumes or of patients.
        out: folder for `<case>_labels.nii.gz`, `<case>_entropy.nii.gz`, `<case>_reliability.nii.gz` where views voted, and `<case>.json` that says what they were made from and by.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        backend: what computes: torch, openvino (the network in about two thirds of the time on a CPU; pip install 'napari_uda[fast]'), or auto, which takes OpenVINO where it is installed and a CPU computes.
        batch_size: slices that are segmented at once; 0 chooses a number for the device.
        reliability: let transformed views of each slice vote on where the labels are reliable, which takes seven passes instead of one.
        ensemble: further run folders of the same structures and data settings; probabilities are the mean over all runs.
        tta: test-time augmentation; probabilities are the mean over views of each slice, which are none, flips (its mirror images) or looks (brighter and darker).
        smooth_mm: average probabilities over neighbouring slices by a Gaussian of so many millimetres (standard deviation), up to 20; 0 is off.
        largest_parts: keep of each structure the largest part that hangs together, and nothing else.
        format: of the labels: nifti, seg-nrrd (`<case>_labels.seg.nrrd`, for 3D Slicer), dicom-seg (`<case>_labels.dcm`) or rtstruct (`<case>_rtstruct.dcm`); the last two need a DICOM series. Entropy and reliability are NIfTI.
        entropy: write the entropy map.
        entropy_dtype: uint8 stores the entropy in steps of 1/255, which every program scales back to 0 to 1; float32 stores it exactly, in files many times as large.
        series: which DICOM volumes, where a folder holds several: a series number, or a part of a description.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.inference.results import check_format, check_place

    check_place(out)
    opened = [open_run(run), *(open_run(one, "--ensemble") for one in ensemble)]
    cases = different_cases(images, series, placement)
    check_format(format, cases)
    next_image = read_ahead(cases)
    # torch is imported while the first volume is read
    from napari_uda.inference.averaging import check_members
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict as segment

    model, *others = [LoadedRun.load(one, device).for_prediction(backend) for one in opened]
    check_members([model, *others])

    def work(case: Case, stop: threading.Event, report: Report) -> Prediction:
        return segment(
            model,
            next_image(),
            batch_size=batch_size,
            reliability=reliability,
            ensemble=others,
            tta=tta,
            smooth_mm=smooth_mm,
            largest_parts=largest_parts,
            entropy_dtype=entropy_dtype if entropy else "uint8",
            on_progress=report,
            stop=stop,
        )

    def save(done: Prediction) -> None:
        files = done.save(out, format=format, entropy=entropy, entropy_dtype=entropy_dtype)
        answer_files(files, done.overview(), done.summary())

    volume_by_volume(cases, work, save, "predict", "segmented")


def open_run(path: Path, option: str = "") -> Run:
    """Open a run that was named on the command line; what is none tells the order of the words.

    Args:
        path: what stands where a run has to be.
        option: the option that it follows; "" for the first word.

    Raises:
        InputError: as `Run.open`.
    """
    from napari_uda.run.run import NoRunError, Run

    try:
        return Run.open(path)
    except NoRunError as error:
        if not path.exists():
            raise
        order = (
            f"all words after {option} are runs, so put images before it"
            if option
            else "the run comes first, and what it is used on after it"
        )
        raise InputError(f"{path} is not a run folder (it has no config.yaml); {order}") from error


def read_ahead(cases: Sequence[Case]) -> Callable[[], Volume]:
    """Read the images of cases in a thread, each while the one before it is worked on.

    Returns:
        What gives the next image, in the order of the cases; it raises what reading that one has raised.
    """
    reader = ThreadPoolExecutor(1, "read ahead")
    to_come = iter(cases)
    waiting: deque[Future[Volume]] = deque()

    def begin() -> None:
        waiting.extend(reader.submit(case.read_image) for case in itertools.islice(to_come, 1))

    def next_image() -> Volume:
        this = waiting.popleft()
        wait([this])
        begin()
        return this.result()

    begin()
    return next_image


def volume_by_volume(
    cases: Sequence[Case],
    work: Callable[[Case, threading.Event, Report], Result],
    save: Callable[[Result], object],
    title: str,
    done: str,
    *,
    part: str = "slice",
) -> None:
    """Do the work for each volume and save what it gives; a bad volume does not stop the others.

    Args:
        cases: as `different_cases` gives them.
        work: does one volume; takes the event that stops it, and what is told of slices done and in all.
        save: puts a result where it belongs, and answers about it.
        title: what stands before the bar.
        done: the work as a participle, for the sentence about volumes that failed.
        part: what `work` counts.

    Raises:
        InputError: naming the volumes that failed, at the end.
    """
    failed: list[str] = []
    with stop_on_signal() as stop, counted_in_parts(title, part=part) as report:
        for index, case in enumerate(cases):
            try:
                result = work(case, stop, functools.partial(report, index, len(cases)))
            except InputError as error:
                if len(cases) == 1:
                    raise
                failed.append(str(error))
                answer_each("failed", {"case": case.name, "why": str(error)})
                continue
            try:
                save(result)
            except (
                UnfitFormatError
            ) as error:  # others, such as a full disk, keep all from being saved
                if len(cases) == 1:
                    raise
                failed.append(str(error))
                answer_each("failed", {"case": case.name, "why": str(error)})
    if failed:
        listed = "; ".join(dict.fromkeys(failed))  # what is wrong with the run is said once
        raise InputError(f"{len(failed)} of {len(cases)} volumes could not be {done}: {listed}")


def answer_files(files: Sequence[Path], facts: Mapping[str, object], said: str = "") -> None:
    """Answer about one volume: what came out, and the files that were written.

    Args:
        files: people see the maps in one line, `OUT/mr_001_{labels,entropy}.nii.gz`, and not what lies beside.
        facts: of the volume, for `--json`.
        said: a line about it; the files are a note then, and the answer without it.
    """
    maps = [file for file in files if file.suffix != ".json"]
    answer_each("volumes", {**facts, "files": list(files)}, said or "\n".join(in_braces(maps)))
    if said:
        note_files(maps)


def different_cases(
    images: Sequence[Path], series: str = "", placement: Placement = "auto"
) -> list[Case]:
    """The volumes among the paths, no two of one name: their results would have the same files.

    How many a folder holds, and what is passed over, is said on stderr.

    Args:
        images: what the user gave: volumes, DICOM folders, folders of volumes or of patients.
        series: which DICOM volumes, where there are several.
        placement: which of sform and qform is trusted where a NIfTI file has both.

    Raises:
        InputError: for a case given twice, or as `find_cases`.
    """
    from napari_uda.core.files import shown
    from napari_uda.data.folder import find_cases

    cases: list[Case] = []
    for path, found in zip(images, find_cases(images, series, placement), strict=True):
        cases += found.cases
        if path.is_dir():
            said = (number_of(len(found.cases), "volume"), found.notes())
            note(f"{shown(path)}: {'; '.join(filter(None, said))}")
    places = [(case.image.parent.resolve() / case.image.name, case.series) for case in cases]
    twice = {shown(place[0]) for place, count in Counter(places).items() if count > 1}
    remedy = "give each once, alone or with its folder"
    if not twice:
        twice = {name for name, count in Counter(case.name for case in cases).items() if count > 1}
        remedy = "rename one of the files, or give each once"
    if twice:
        raise InputError(f"given twice: {', '.join(sorted(twice))}; {remedy}")
    return cases


def adapt(given: list[str]) -> None:
    """Adapt a run to volumes and segment them before and after; the run is not changed."""
    from napari_uda.cli.adapt import parse_adapt

    parse_adapt(given)()


def translate(
    run: RunFolder,
    images: Paths,
    out: Path,
    direction: Literal["target_to_source", "source_to_target"] = "target_to_source",
    device: str = "auto",
    batch_size: int = 0,
    series: str = "",
    placement: Placement = "auto",
) -> None:
    """Translate volumes to the look of the other domain and back, and print their change from slice to slice.

    The change from slice to slice is the mean absolute difference of intensities that go from -1 to 1.

    Args:
        run: run folder of a trained model of a method that translates images, such as cyclegan.
        images: volumes, DICOM folders, or folders of volumes or of patients.
        out: folder for `<case>_translated.nii.gz`, `<case>_cycle.nii.gz` and, of a run with attention gates,
            `<case>_attention_<resolution>.nii.gz` (quarter, half, full).
        direction: from the domain of the volumes to the domain that they shall look like.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        batch_size: slices that are translated at once; 0 chooses a number for the device.
        series: which DICOM volumes, where a folder holds several: a series number, or a part of a description.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.translate import check_translates
    from napari_uda.inference.translate import translate as give_look

    opened = open_run(run)
    cases = different_cases(images, series, placement)
    model = LoadedRun.load(opened, device)
    check_translates(model)

    def work(case: Case, stop: threading.Event, report: Report) -> Translation:
        return give_look(
            model,
            case.read_image(),
            direction=direction,
            batch_size=batch_size,
            on_progress=report,
            stop=stop,
        )

    def save(translation: Translation) -> None:
        translated, given = translation.slice_change
        said = (
            f"{translation.case}: change from slice to slice {translated:.4f} after translation, "
            f"{given:.4f} before"
        )
        answer_files(translation.save(out), translation.overview(), said)

    volume_by_volume(cases, work, save, "translate", "translated")
