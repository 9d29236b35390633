"""Which case is one of the corrected ones that a run has learnt from, and so must not be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from napari_uda.data.contents import content_digest
from napari_uda.data.findings import listed

if TYPE_CHECKING:
    from napari_uda.data.volume import Volume


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
