"""Corrected cases: a data folder that collects them, and which case is one that a run has learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.data.contents import content_digest
from napari_uda.data.findings import listed
from napari_uda.data.folder import DataFolder, write_dataset_json
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.volume import Volume, write_volume


def add_corrected_case(
    folder: Path, image: Volume, labels: Volume, names: Mapping[int, str], modality: str = ""
) -> None:
    """Write an image and its corrected labels into a data folder, which is made when it is missing.

    Labels of the same case that are there already are replaced.

    Args:
        folder: the data folder, for `data.corrected`.
        image: its name is that of the case.
        labels: uint8, on the grid of the image.
        names: label value to structure name, all structures of the run.
        modality: such as "MR", or "".

    Raises:
        InputError: if the folder holds something else, other structures or another image of that name, the
            labels do not lie on the image, or it cannot be written; nothing is changed then.
    """
    case, structures = image.name, {name: value for value, name in sorted(names.items()) if value}
    if not structures:
        raise InputError(f"the labels of {case} name no structures; give them names first")
    labels = on_grid_of(labels, image)
    file = folder / "images" / f"{case}.nii.gz"
    is_new = True
    if folder.exists() and any(one for one in folder.iterdir() if not one.name.startswith(".")):
        there = DataFolder.open(folder)
        if there.labels != structures:
            raise InputError(
                f"{folder} holds cases with the structures {there.labels}, and {case} has {structures}; choose "
                "another folder"
            )
        same = next((one for one in there.cases if one.name == case), None)
        if same is not None:
            is_new = False
            if content_digest(same.read_image()) != content_digest(image):
                raise InputError(
                    f"{folder} holds another image called {case}; choose another folder, or rename one of them"
                )
    else:
        write_dataset_json(folder, structures, modality)
    try:
        if is_new:
            write_volume(file, image)
        write_volume(folder / "labels" / f"{case}.nii.gz", labels)
    except InputError:
        if is_new:
            file.unlink(missing_ok=True)
        raise


def corrected_case(corrected: Mapping[str, str], name: str, image: Volume) -> str:
    """The corrected case that an image is, "" for none.

    A case counts as corrected by its name, or by its voxels under another name: a file that was written anew
    may differ in its last bit, and one that was renamed keeps its voxels.

    Args:
        corrected: checksums by case (`DataFacts.corrected_cases`).
        name: of the case in the target; "" where names mean nothing, as in another domain.
        image: its image.
    """
    if not corrected:
        return ""
    return corrected_by_digest(corrected, name, content_digest(image))


def corrected_by_digest(corrected: Mapping[str, str], name: str, digest: str) -> str:
    """As `corrected_case`, by the checksum of the image."""
    if name in corrected:
        return name
    images = {checksums.partition(" ")[0]: case for case, checksums in corrected.items()}
    return images.get(digest, "")


def left_out(cases: Sequence[str], run: str = "") -> str:
    """Why cases are not scored, in a sentence without its full stop.

    Args:
        cases: their names.
        run: name of the run; "" where it is known from elsewhere.
    """
    one = len(cases) == 1
    return (
        f"{listed(cases)} {'is' if one else 'are'} left out of the scores, because {run or 'the run'} has learnt "
        f"from corrected labels of {'this case' if one else 'these cases'}"
    )
