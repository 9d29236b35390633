"""Files of a prediction: labels in several formats, entropy, reliability, and what they were made from and by."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_uda.core.errors import InputError, UnfitFormatError
from napari_uda.core.files import atomic_file, shown, volume_suffix
from napari_uda.core.scratch import each_plane, scratch_array
from napari_uda.core.small_files import read_object
from napari_uda.core.suggestions import check_choice
from napari_uda.core.together import write_together
from napari_uda.data.entropy_steps import ENTROPY_SLOPE, EntropyType, in_steps, in_unit_range
from napari_uda.data.patients import IMAGE_FOLDERS
from napari_uda.data.provenance import ModelOrigin, Provenance
from napari_uda.data.seg_nrrd_writer import SEG_NRRD, write_seg_nrrd
from napari_uda.data.volume import Source, write_volume
from napari_uda.inference.fit import Fit, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.data.dicom_source import DicomSource
    from napari_uda.data.patients import Case
    from napari_uda.data.volume import Volume
    from napari_uda.inference.predict import Prediction

ResultFormat = Literal["nifti", "seg-nrrd", "dicom-seg", "rtstruct"]
"""What the labels are written as; entropy and reliability are NIfTI always."""
Writer = Callable[[Path], object]

LABEL_ENDINGS: dict[ResultFormat, str] = {
    "nifti": "_labels.nii.gz",
    "seg-nrrd": f"_labels{SEG_NRRD}",
    "dicom-seg": "_labels.dcm",
    "rtstruct": "_rtstruct.dcm",
}
"""What follows the case in the name of the labels."""
_OF_DICOM = {"dicom-seg": "a DICOM segmentation", "rtstruct": "a DICOM structure set"}


def write_prediction(
    prediction: Prediction,
    out: Path,
    *,
    format: ResultFormat = "nifti",
    entropy: bool = True,
    entropy_dtype: EntropyType = "uint8",
) -> list[Path]:
    """Write a prediction, all files or none; see `Prediction.save`.

    Without `entropy`, and without a vote on reliability, such a map of an earlier prediction of the case is removed:
    it would be read as that of the new labels.

    Raises:
        InputError: if the folder cannot be written, is one of images or holds results of another image of that name,
            the image does not allow the format, or there is no such format.
    """
    for name, given, choices in (
        ("format", format, get_args(ResultFormat)),
        ("entropy_dtype", entropy_dtype, get_args(EntropyType)),
    ):
        check_choice(name, given, choices)
    check_place(out)
    case, grid = prediction.case, prediction.volume
    image = _image(grid, out)
    _refuse_another_image(out / f"{case}.json", image)
    about = _provenance(prediction)
    files: dict[str, Writer] = {
        case + LABEL_ENDINGS[format]: _labels_writer(format, prediction, about)
    }
    if entropy:
        files[f"{case}_entropy.nii.gz"] = partial(
            _write_entropy, grid=grid, entropy=prediction.entropy, dtype=entropy_dtype
        )
    if prediction.reliability is not None:
        reliability = grid.with_array(prediction.reliability)
        files[f"{case}_reliability.nii.gz"] = partial(write_volume, volume=reliability)
    if format == "nifti" or prediction.corrected:  # or nobody would know that it must not be scored
        # it comes last: where it is, the others are
        files[f"{case}.json"] = partial(
            _write_sidecar,
            about=about,
            model=_model(about.origin, out),
            image=image,
            more=_said_of(prediction, out),
        )
    written = write_together(out, f"the maps of {case}", files)
    for role in ("entropy", "reliability"):
        if f"{case}_{role}.nii.gz" not in files:
            (out / f"{case}_{role}.nii.gz").unlink(missing_ok=True)
    return written


def check_place(out: Path) -> None:
    """Refuse to put results among images: all that lies there is an image, whatever its name, for every command.

    Raises:
        InputError: the folder is called `images`, or as those of nnU-Net.
    """
    if out.resolve().name in IMAGE_FOLDERS:
        raise InputError(
            f"{shown(out)}: is a folder of images, and results in it would be taken for images by the next command; "
            "choose another folder for them"
        )


def check_format(format: ResultFormat, cases: Iterable[Case]) -> None:
    """Refuse a format that needs a DICOM series where the image is none, before any work.

    Args:
        format: of the labels.
        cases: what is to be segmented; one that cannot be read at all is left to its reader.

    Raises:
        UnfitFormatError: naming the first image that does not allow the format.
    """
    if format not in _OF_DICOM:
        return
    for case in cases:
        if volume_suffix(case.image):
            raise _needs_dicom(format, shown(case.image))
        try:
            _open_source(format, Source(case.image, case.series, is_dicom=True))
        except UnfitFormatError as error:
            named = str(error).startswith(f"{case.name}: ")
            raise UnfitFormatError(f"{'' if named else f'{case.name}: '}{error}") from error
        except InputError:
            continue


def _needs_dicom(format: ResultFormat, name: str) -> UnfitFormatError:
    return UnfitFormatError(
        f"{name}: is no DICOM series, and {_OF_DICOM[format]} refers to one; take --format nifti or seg-nrrd, or give "
        "the DICOM folder that it was made from"
    )


def _open_source(format: ResultFormat, source: Source) -> DicomSource:
    from napari_uda.data.dicom_seg_writer import check_one_file
    from napari_uda.data.dicom_source import DicomSource

    found = DicomSource.open(source)
    if format == "dicom-seg":
        check_one_file(found)
    return found


def _labels_writer(format: ResultFormat, prediction: Prediction, about: Provenance) -> Writer:
    """What writes the labels to a path."""
    labels, grid = prediction.labels, prediction.volume
    if format == "nifti":
        return partial(write_volume, volume=grid.with_array(labels))
    if format == "seg-nrrd":
        return partial(write_seg_nrrd, labels=labels, affine=grid.affine, about=about)
    if grid.source is None or not grid.source.is_dicom:
        raise _needs_dicom(format, grid.name or "the volume")
    source = _open_source(format, grid.source)
    if format == "dicom-seg":
        from napari_uda.data.dicom_seg_writer import write_dicom_seg as write
    else:
        from napari_uda.data.rtstruct_writer import write_rtstruct as write
    return partial(write, labels=labels, volume=grid, source=source, about=about)


def _write_entropy(path: Path, grid: Volume, entropy: NDArray[Any], dtype: EntropyType) -> None:
    values = entropy
    if entropy.dtype != dtype:
        values = scratch_array(entropy.shape, np.dtype(dtype))
        changed = in_steps if dtype == "uint8" else in_unit_range
        for plane, found in zip(each_plane(entropy), each_plane(values), strict=True):
            found[...] = changed(plane)
    write_volume(path, grid.with_array(values), slope=ENTROPY_SLOPE if dtype == "uint8" else 1.0)


def _provenance(prediction: Prediction) -> Provenance:
    return Provenance.of(prediction.case, prediction.names, prediction.model)


def _said_of(prediction: Prediction, out: Path) -> dict[str, Any]:
    """Whether the model fits, what was done beyond a plain prediction, and labels of the target it was given."""
    told, case = prediction.target_supervision, prediction.corrected
    others = [_model(origin, out) for origin in prediction.ensemble]
    return {
        "fit": {"verdict": prediction.fit.verdict, "reasons": prediction.fit.reasons},
        **({"ensemble": others} if others else {}),
        **({"tta": prediction.tta} if prediction.tta != "none" else {}),
        **({"smooth_mm": prediction.smooth_mm} if prediction.smooth_mm else {}),
        **({"largest_parts": True} if prediction.largest_parts else {}),
        **({"target_supervision": told} if told != "none" else {}),
        **({"corrected": case} if case else {}),
    }


def _write_sidecar(
    path: Path,
    about: Provenance,
    model: dict[str, Any],
    image: dict[str, Any],
    more: dict[str, Any],
) -> None:
    """What the maps were made from and by; nothing of it stands in their headers."""
    content = {
        "case": about.case,
        "program": about.program,
        "model": model,
        "image": image,
        **more,
        "structures": [asdict(structure) for structure in about.structures],
    }
    with atomic_file(path) as stream:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        # bytes of a path that are no text stand in JSON's own escapes, and are read back as they were
        stream.write(text.encode(errors="backslashreplace"))


def _model(origin: ModelOrigin, out: Path) -> dict[str, str | None]:
    """The model: its weights, and where it lies as seen from the result."""
    model: dict[str, str | None] = {"name": origin.name, "weights_sha256": origin.hash or None}
    model |= {"date": origin.date} if origin.date else {}
    model |= {"path": _path_from(out, Path(origin.path))} if origin.path else {}
    fitted = {"adapted_by": origin.adapted_by, "no_change_by": origin.no_change_by}
    return model | {key: method for key, method in fitted.items() if method}


def _path_from(out: Path, file: Path) -> str:
    """The way from a folder to a file; ".." leads out of the folder behind a link."""
    return Path(os.path.relpath(file, os.path.realpath(out))).as_posix()


def read_origin(folder: Path, case: str) -> tuple[ModelOrigin | None, Fit | None]:
    """What `<case>.json` says of the maps of a case beside it: the model, and whether it fits the image.

    None for each that is not said there, as beside labels of another program.
    """
    content = read_object(folder / f"{case}.json") or {}
    model, fit, path = content.get("model"), content.get("fit"), ""
    if not isinstance(model, dict) or not model.get("name"):
        return None, None
    if isinstance(model.get("path"), str):
        path = os.path.normpath(Path(os.path.realpath(folder)) / model["path"])
    origin = ModelOrigin.read({**model, "path": path})
    if not isinstance(fit, dict) or fit.get("verdict") not in get_args(Verdict):
        return origin, None
    reasons = fit.get("reasons")
    return origin, Fit(
        fit["verdict"], tuple(map(str, reasons)) if isinstance(reasons, list) else ()
    )


def _image(volume: Volume, out: Path) -> dict[str, Any]:
    """The image: its voxels, and where it lies as seen from the result."""
    source = volume.source
    image: dict[str, Any] = {
        "path": _path_from(out, source.path) if source else None,
        "voxels_sha256": voxels_sha256(volume.array),
        "voxels": volume.array.dtype.name,
        "shape_zyx": list(volume.array.shape),
    }
    return image | ({"series": source.series} if source and source.series else {})


def _refuse_another_image(sidecar: Path, image: Mapping[str, Any]) -> None:
    """Two patients may have images of one name: the results of one must not take the place of the other's."""
    found = (read_object(sidecar) or {}).get("image")
    if not isinstance(found, dict) or found.get("voxels_sha256") in (None, image["voxels_sha256"]):
        return
    before, now = found.get("path"), image["path"]
    if isinstance(before, str) and now not in (None, before) and (sidecar.parent / before).exists():
        raise InputError(
            f"{shown(sidecar)}: results of another image of that name, {before}, are in {sidecar.parent}; choose "
            "another folder for the results, or rename one of the images"
        )


def voxels_sha256(array: NDArray[Any]) -> str:
    """Checksum of voxels `(Z, Y, X)` in this order (x fastest) and their own type, little-endian."""
    digest = hashlib.sha256()
    for plane in each_plane(array):
        digest.update(np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
