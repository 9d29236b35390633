"""The commands that do something with each of many volumes: predict, adapt, translate."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from napari_uda.cli.arguments import Paths, Placement, RunFolder
from napari_uda.cli.terminal import progress_bar, say_beside_bar, stop_on_signal
from napari_uda.core.errors import InputError
from napari_uda.core.files import case_of_image

if TYPE_CHECKING:
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
    placement: Placement = "auto",
) -> None:
    """Segment volumes: labels, entropy and reliability as NIfTI on each volume's own grid.

    Args:
        run: run folder of a trained model.
        images: volumes, DICOM folders, or folders of volumes.
        out: folder for `<case>_labels.nii.gz`, `<case>_entropy.nii.gz`, `<case>_reliability.nii.gz`.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        batch_size: slices that are segmented at once; 0 chooses a number for the device.
        reliability: let transformed views of each slice vote on where the labels are reliable, which takes seven passes instead of one.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.data.volume import read_volume
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict as segment
    from napari_uda.run.run import Run

    load = functools.cache(functools.partial(LoadedRun.load, Run.open(run), device))

    def work(file: Path, stop: threading.Event) -> Prediction:
        image = read_volume(file, placement=placement)
        return segment(load(), image, batch_size=batch_size, reliability=reliability, stop=stop)

    volume_by_volume(images, work, lambda done: done.save(out), "predict", "segmented")


def volume_by_volume(
    images: Sequence[Path],
    work: Callable[[Path, threading.Event], Result],
    save: Callable[[Result], object],
    title: str,
    done: str,
) -> None:
    """Do the work for each volume and save what it gives; a bad volume does not stop the others.

    Args:
        images: what the user gave: volumes, DICOM folders, folders of volumes.
        work: does one volume; takes the event that stops it.
        save: puts a result where it belongs.
        title: what stands before the bar.
        done: the work as a participle, for the sentence about volumes that failed.

    Raises:
        InputError: for a case given twice, or, at the end, naming the volumes that failed.
    """
    files = different_cases(images)
    failed: list[str] = []
    with stop_on_signal() as stop:
        for file in progress_bar("volume", title=title, iterable=files):
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


def different_cases(images: Sequence[Path]) -> list[Path]:
    """The volumes among the paths, no two of one name: their results would have the same files."""
    from napari_uda.data.folder import find_volumes

    files = find_volumes(images)
    names = [case_of_image(file) for file in files]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(
            f"{', '.join(sorted(twice))} is given twice; rename one of the files, or give it once"
        )
    return files


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
    placement: Placement = "auto",
) -> None:
    """Translate volumes to the look of the other domain and back, and print their change from slice to slice.

    The change from slice to slice is the mean absolute difference of intensities that go from -1 to 1.

    Args:
        run: run folder of a trained model of a method that translates images, such as cyclegan.
        images: volumes, DICOM folders, or folders of volumes.
        out: folder for `<case>_translated.nii.gz`, `<case>_cycle.nii.gz` and, of a run with attention gates,
            `<case>_attention_<resolution>.nii.gz` (quarter, half, full).
        direction: from the domain of the volumes to the domain that they shall look like.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        batch_size: slices that are translated at once; 0 chooses a number for the device.
        placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
    """
    from napari_uda.data.volume import read_volume
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.translate import translate as give_look
    from napari_uda.run.run import Run

    load = functools.cache(functools.partial(LoadedRun.load, Run.open(run), device))

    def work(file: Path, stop: threading.Event) -> Translation:
        image = read_volume(file, placement=placement)
        return give_look(load(), image, direction=direction, batch_size=batch_size, stop=stop)

    def save(translation: Translation) -> None:
        translation.save(out)
        translated, given = translation.slice_change
        say_beside_bar(
            f"{translation.case}: change from slice to slice {translated:.4f} after translation, "
            f"{given:.4f} before"
        )

    volume_by_volume(images, work, save, "translate", "translated")
