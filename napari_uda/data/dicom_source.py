"""The DICOM series that a segmentation refers to: its frames in order, and the headers they come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.valuerep import DA, DS, TM

from napari_uda.core.errors import InputError, UnfitFormatError, reason
from napari_uda.core.files import shown
from napari_uda.data.dicom import find_stack
from napari_uda.data.dicom_headers import DICOM_ERRORS, Frame, quiet_pydicom
from napari_uda.data.dicom_stacks import stack_affine
from napari_uda.data.grid import spacing_mm
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.volume import Source, Volume

_NEEDED = {
    "StudyInstanceUID": "study (0020,000D)",
    "SeriesInstanceUID": "series (0020,000E)",
    "FrameOfReferenceUID": "frame of reference (0020,0052)",
    "SOPClassUID": "kind (0008,0016)",
    "SOPInstanceUID": "number of its own (0008,0018)",
}
_COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "StudyID", "ReferringPhysicianName",
)  # fmt: skip
"""What is copied to everything made from an image: empty where the image does not say it."""
LATIN_AND_ALL_OTHERS = "ISO_IR 192"
"""UTF-8: names of structures may be in any language, and so may the patient's."""


@dataclass(frozen=True, eq=False)
class DicomSource:
    """A DICOM volume, to be referred to.

    Attributes:
        name: of the file or folder, for messages.
        frames: in the order of the volume's slices.
        datasets: file to its header, without pixels.
    """

    name: str
    frames: tuple[Frame, ...]
    datasets: dict[Path, Any]

    @classmethod
    def open(cls, source: Source) -> Self:
        """Read the headers of what a volume was read from.

        Raises:
            InputError: they cannot be read, or lack what a reference consists of.
        """
        name = shown(source.path)
        try:
            stack = find_stack(source.path, source.series)
            files = dict.fromkeys(frame.header.file for frame in stack.frames)
            step = spacing_mm(stack_affine(stack.frames, name))[0]
            with quiet_pydicom():
                datasets = {
                    file: _completed(
                        pydicom.dcmread(file, stop_before_pixels=True, force=True), step
                    )
                    for file in files
                }
        except InputError:
            raise
        except DICOM_ERRORS as error:
            cause = " ".join(str(error).split())
            raise InputError(
                f"{name}: its DICOM headers cannot be read ({cause}); {_OTHER_FORMATS}"
            ) from error
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({reason(error)}); check the path") from error
        found = cls(name, stack.frames, datasets)
        with quiet_pydicom():
            found._check()
        return found

    @property
    def first(self) -> Any:
        """The header of the first slice."""
        return self.dataset(self.frames[0])

    def dataset(self, frame: Frame) -> Any:
        """The header of the file of a frame."""
        return self.datasets[frame.header.file]

    @cached_property
    def holds_many_frames(self) -> bool:
        """Whether its files are of many frames (enhanced)."""
        return "PerFrameFunctionalGroupsSequence" in self.first

    @property
    def new_series_number(self) -> int:
        """One that no scanner uses for the same study, as far as that can be known."""
        try:
            return 1000 + abs(int(self.first.get("SeriesNumber") or 0))
        except (TypeError, ValueError):
            return 1000

    def arranged(self, labels: NDArray[np.uint8], volume: Volume) -> NDArray[np.uint8]:
        """Labels in the order of the frames: `(N, rows, columns)`.

        Args:
            labels: `(Z, Y, X)` on the grid of `volume`.
            volume: what was read from this series, perhaps turned since.

        Raises:
            InputError: the volume lies elsewhere than the series.
        """
        rows, columns = self.frames[0].header.shape
        shape = (len(self.frames), rows, columns)
        here = Volume(
            np.broadcast_to(np.uint8(0), shape), stack_affine(self.frames, self.name), self.name
        )
        array: NDArray[np.uint8] = on_grid_of(volume.with_array(labels), here).array
        return np.ascontiguousarray(array)

    def _check(self) -> None:
        for file, dataset in self.datasets.items():
            missing = [words for keyword, words in _NEEDED.items() if not dataset.get(keyword)]
            if missing:
                raise UnfitFormatError(
                    f"{self.name}: {shown(file)} does not say its {missing[0]}, to which a DICOM segmentation has to "
                    f"refer; {_OTHER_FORMATS}"
                )
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
            if len({dataset.get(keyword) for dataset in self.datasets.values()}) > 1:
                raise UnfitFormatError(
                    f"{self.name}: its slices differ in their {_NEEDED[keyword]}, and a DICOM segmentation refers to "
                    f"one; {_OTHER_FORMATS}"
                )
        if len({dataset.SOPInstanceUID for dataset in self.datasets.values()}) < len(self.datasets):
            raise UnfitFormatError(
                f"{self.name}: two of its slices have the same {_NEEDED['SOPInstanceUID']}, so a DICOM "
                f"segmentation cannot refer to them; {_OTHER_FORMATS}"
            )


_OTHER_FORMATS = "take --format nifti or seg-nrrd"


def _completed(dataset: Any, step: float) -> Any:
    """The header with every element that is copied, empty where it is missing or no value of its kind."""
    for keyword in _COPIED:
        if keyword not in dataset or not _is_date_or_time(dataset[keyword]):
            setattr(dataset, keyword, "")
    if not dataset.get("SliceThickness"):
        dataset.SliceThickness = DS(step, auto_format=True)
    if dataset.PatientSex not in ("M", "F", "O", ""):
        dataset.PatientSex = ""  # no other value may be written
    return dataset


def _is_date_or_time(element: Any) -> bool:
    """Whether it can be written as what it is; what anonymisers put for a date is often none."""
    kind = {"DA": DA, "TM": TM}.get(element.VR)
    if kind is None:
        return True
    try:
        kind(element.value)
    except ValueError:
        return False
    return True


def copy_patient_and_study(source: DicomSource, target: Any) -> None:
    """Let a dataset be of the same patient and study."""
    for keyword in (*_COPIED, "StudyInstanceUID"):
        setattr(target, keyword, source.first.get(keyword))
