"""The commands that do something with each of many volumes: predict, adapt, translate."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from napari_uda.cli.arguments import Paths, Placement, RunFolder
from napari_uda.cli.terminal import complain, progress_bar, say_beside_bar, stop_on_signal
from napari_uda.core.errors import InputError

if TYPE_CHECKING:
    from napari_uda.data.patients import Case
    from napari_uda.inference.predict import Prediction
    from napari_uda.inference.translate import Translation

Result = TypeVar("Result")


def predict(
    run: RunFolder,
    images: Paths,
    out: Path,
    device: str = "auto",
    batch_size: int = 0,
    reliability: bool = True,
    series: str = "",
    placement: Placement = "auto",
) -> None:
    """Segment volumes: labels, entropy and reliability as NIfTI on each volume's own grid.

    For each volume it is printed whether the model fits it (fits, doubtful, does not fit), and why not.

    Args:
        run: run folder of a trained model.
        images: volumes, DICOM folders, or folders of volumes or of patients.
        out: folder for `<case>_labels.nii.gz`, `<case>_entropy.nii.gz`, `<case>_reliability.nii.gz`.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        batch_size: slices that are segmented at once; 0 chooses a number for the device.
        reliability: let transformed views of each slice vote on where the labels are reliable, which takes seven passes instead of one.
        series: which DICOM volumes, where a folder holds several: a series number, or a part of a description.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict as segment
    from napari_uda.run.run import Run

    load = functools.cache(functools.partial(LoadedRun.load, Run.open(run), device))

    def work(case: Case, stop: threading.Event) -> Prediction:
        model, image = load(), case.read_image()
        return segment(model, image, batch_size=batch_size, reliability=reliability, stop=stop)

    def save(prediction: Prediction) -> None:
        prediction.save(out)
        say_beside_bar(prediction.summary())

    cases = different_cases(images, series, placement)
    volume_by_volume(cases, work, save, "predict", "segmented")


def volume_by_volume(
    cases: Sequence[Case],
    work: Callable[[Case, threading.Event], Result],
    save: Callable[[Result], object],
    title: str,
    done: str,
) -> None:
    """Do the work for each volume and save what it gives; a bad volume does not stop the others.

    Args:
        cases: as `different_cases` gives them.
        work: does one volume; takes the event that stops it.
        save: puts a result where it belongs.
        title: what stands before the bar.
        done: the work as a participle, for the sentence about volumes that failed.

    Raises:
        InputError: naming the volumes that failed, at the end.
    """
    failed: list[str] = []
    with stop_on_signal() as stop:
        for case in progress_bar("volume", title=title, iterable=cases):
            try:
                result = work(case, stop)
            except InputError as error:
                if len(cases) == 1:
                    raise
                failed.append(str(error))
                continue
            save(result)
    if failed:
        listed = "; ".join(dict.fromkeys(failed))  # what is wrong with the run is said once
        raise InputError(f"{len(failed)} of {len(cases)} volumes could not be {done}: {listed}")


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
            count = len(found.cases)
            said = (f"{count} volume{'' if count == 1 else 's'}", found.notes())
            complain(f"{shown(path)}: {'; '.join(filter(None, said))}")
    names = [case.name for case in cases]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(
            f"{', '.join(sorted(twice))} is given twice; rename one of the files, or give it once"
        )
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
    from napari_uda.inference.translate import translate as give_look
    from napari_uda.run.run import Run

    load = functools.cache(functools.partial(LoadedRun.load, Run.open(run), device))

    def work(case: Case, stop: threading.Event) -> Translation:
        model, image = load(), case.read_image()
        return give_look(model, image, direction=direction, batch_size=batch_size, stop=stop)

    def save(translation: Translation) -> None:
        translation.save(out)
        translated, given = translation.slice_change
        say_beside_bar(
            f"{translation.case}: change from slice to slice {translated:.4f} after translation, "
            f"{given:.4f} before"
        )

    cases = different_cases(images, series, placement)
    volume_by_volume(cases, work, save, "translate", "translated")
