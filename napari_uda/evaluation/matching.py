"""Which structure of a prediction is compared with which of the reference: by name, and not by number."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.suggestions import what_to_choose
from napari_uda.evaluation.inputs import (
    Pair,
    PredictionLike,
    Scorable,
    label_map,
    names_beside,
    read_pair,
    stored_values_above,
)
from napari_uda.evaluation.overlap import Labels

_logger = logging.getLogger(__name__)

How = Literal["name", "number", "chosen", "none"]
NONE = ""
"""As the name of a structure of the prediction: the reference's structure is compared with nothing."""
_NO_NAME = re.compile(r"(label|labels|structure|segment|class|value)?[\s_-]*\d+")
_LARGEST = 255


@dataclass(frozen=True)
class Match:
    """A structure of the reference, and the one of the prediction that is compared with it.

    Attributes:
        reference: its name.
        value: its label in the reference.
        prediction: name of the other; "" where there is none, so that the structure counts as missed.
        predicted: label of the other in the prediction; None where there is none.
        how: by equal names, by equal numbers where names say nothing else, chosen by the user, or not at all.
    """

    reference: str
    value: int
    prediction: str = NONE
    predicted: int | None = None
    how: How = "none"

    @property
    def is_sure(self) -> bool:
        """Whether the names themselves say that these are the same, or a user did."""
        return self.how in ("name", "chosen") or (
            self.how == "number" and (is_unnamed(self.prediction) or is_unnamed(self.reference))
        )


def is_unnamed(name: str) -> bool:
    """Whether a name only repeats a number, such as `label_3`."""
    return _NO_NAME.fullmatch(name.strip().lower()) is not None


def match_structures(
    predicted: Mapping[int, str],
    referenced: Mapping[int, str],
    chosen: Mapping[str, str] | None = None,
) -> list[Match]:
    """Pair the structures of two sides.

    First come the pairs that were chosen, then equal names (letters' case, blanks, `_` and `-` do not count),
    then equal numbers among those that are left.

    Args:
        predicted: label to name in the prediction.
        referenced: label to name in the reference.
        chosen: name in the reference to name in the prediction, "" for none; names that the reference does
            not have are passed over, so that one table serves a whole folder.

    Returns:
        One entry for every structure of the reference, in order of its label.

    Raises:
        InputError: if a chosen structure is none of the prediction's, or is chosen twice.
    """
    found: dict[int, Match] = {}
    free = dict(sorted(predicted.items()))
    for value, name in sorted(referenced.items()):
        if chosen is None or name not in chosen:
            continue
        if chosen[name] == NONE:
            found[value] = Match(name, value, how="chosen")
            continue
        other = next((key for key, known in free.items() if known == chosen[name]), None)
        if other is None:
            raise InputError(_cannot_choose(name, chosen[name], list(predicted.values())))
        found[value] = Match(name, value, free.pop(other), other, "chosen")
    for value, name in sorted(referenced.items()):
        if value not in found:
            plain = _plain(name)
            other = next((key for key, known in free.items() if _plain(known) == plain), None)
            if other is not None:
                found[value] = Match(name, value, free.pop(other), other, "name")
    for value, name in sorted(referenced.items()):
        if value not in found:
            known = free.pop(value, None)
            found[value] = (
                Match(name, value) if known is None else Match(name, value, known, value, "number")
            )
    return [found[value] for value in sorted(found)]


def parse_matches(words: Sequence[str]) -> dict[str, str]:
    """`REFERENCE=PREDICTION` of a command line as a mapping; nothing after `=` is no structure.

    Raises:
        InputError: without `=`, or for a structure that is named twice.
    """
    found: dict[str, str] = {}
    for word in words:
        reference, equals, prediction = (part.strip() for part in word.partition("="))
        if not equals or not reference:
            raise InputError(
                f"--match takes REFERENCE=PREDICTION, such as 'left ventricle=LVC', and not {word!r}"
            )
        if reference in found:
            raise InputError(f"--match names {reference!r} twice; give each structure once")
        found[reference] = prediction
    return found


def read_matched_pair(
    prediction: Scorable,
    reference: Scorable,
    *,
    spacing_mm: Sequence[float] | None = None,
    names: Mapping[int, str] | None = None,
    case: str = "",
    entropy: NDArray[np.floating] | None = None,
) -> Pair:
    """A pair in the numbers of the prediction: where both sides name their structures, equal names belong together.

    Args:
        prediction: as for `read_pair`.
        reference: as for `read_pair`.
        spacing_mm: as for `read_pair`.
        names: as for `read_pair`; given, they say what the numbers of both sides mean.
        case: as for `read_pair`.
        entropy: as for `read_pair`.

    Raises:
        InputError: as for `read_pair`.
    """
    predicted = _predicted(prediction) if names is None else {}
    expected = _expected(reference) if predicted else {}
    shared = names
    if predicted:  # files that store segments by name are read by the prediction's
        shared = {value: name for name, value in expected.items()} or predicted
    pair = read_pair(
        *(prediction, reference),
        spacing_mm=spacing_mm,
        names=shared,
        case=case,
        entropy=entropy,
    )
    if not expected:
        return pair
    there = _present(pair.reference)  # a description may name a hundred structures that no file has
    named = {value: name for value, name in pair.names.items() if value in there}
    matched = with_matched_reference(pair, predicted, named)
    for note in matched.notes[len(pair.notes) :]:
        _logger.warning("%s", note)
    return matched


def with_matched_prediction(
    pair: Pair, predicted: Mapping[int, str], chosen: Mapping[str, str] | None = None
) -> Pair:
    """The pair with the prediction in the numbers of the reference, whose names stand in the tables.

    Args:
        pair: with the names of the reference.
        predicted: label to name in the prediction.
        chosen: as for `match_structures`.
    """
    labels = label_map(pair.prediction, "prediction")
    matches = match_structures(predicted, pair.names, chosen)
    pairs = {one.predicted: one.value for one in matches if one.predicted is not None}
    changed, names = _onto(pairs, labels, predicted, pair.names, _present(pair.reference))
    return replace(pair, prediction=changed, names=names, notes=(*pair.notes, *doubts(matches)))


def with_matched_reference(
    pair: Pair,
    predicted: Mapping[int, str],
    referenced: Mapping[int, str],
    chosen: Mapping[str, str] | None = None,
) -> Pair:
    """The pair with the reference in the numbers of the prediction, which may be edited in these numbers.

    Args:
        pair: of any names.
        predicted: label to name in the prediction; a number that only the reference names is called as there.
        referenced: label to name in the reference.
        chosen: as for `match_structures`.
    """
    if not referenced:
        return replace(pair, names=dict(predicted))
    matches = match_structures(predicted, referenced, chosen)
    named = {one.predicted: one.reference for one in matches if one.predicted is not None}
    own = {
        value: named[value] if value in named and is_unnamed(name) else name
        for value, name in predicted.items()
    }
    pairs = {one.value: one.predicted for one in matches if one.predicted is not None}
    if not predicted:
        pairs = {value: value for value in referenced}
    labels = label_map(pair.reference, "reference")
    changed, names = _onto(pairs, labels, referenced, own, _present(pair.prediction))
    return replace(pair, reference=changed, names=names, notes=(*pair.notes, *doubts(matches)))


def doubts(matches: Sequence[Match]) -> list[str]:
    """A sentence where structures are compared because of their numbers although their names differ."""
    doubtful = [f"{one.prediction} with {one.reference}" for one in matches if not one.is_sure]
    doubtful = [text for text in doubtful if not text.startswith(" with ")]
    if not doubtful:
        return []
    return [f"Compared by number, since the names differ: {', '.join(doubtful)}"]


def _predicted(prediction: Scorable) -> dict[int, str]:
    """How a prediction names its structures itself; {} where it does not."""
    if isinstance(prediction, PredictionLike):
        return dict(prediction.names)
    return names_beside(Path(prediction)) if isinstance(prediction, (str, os.PathLike)) else {}


def _expected(reference: Scorable) -> dict[str, int]:
    """Structure name to stored value of a reference that numbers its structures itself; {} for all others."""
    if isinstance(reference, PredictionLike):
        return {name: value for value, name in reference.names.items()}
    if not isinstance(reference, (str, os.PathLike)):
        return {}
    from napari_uda.data.segmentation import found_structures, needs_image  # slow to import

    path = Path(reference)
    if needs_image(path):
        return {}
    return stored_values_above(path.parent) or found_structures([path], renumber=False)


def _onto(
    pairs: Mapping[int, int],
    labels: Labels,
    other: Mapping[int, str],
    own: Mapping[int, str],
    present: Collection[int],
) -> tuple[Labels, dict[int, str]]:
    """Labels of one side in the numbers of the other one; what has no partner keeps its number or gets a free one.

    Args:
        pairs: number of this side to number of the other one.
        labels: of this side.
        other: names of this side.
        own: names of the side whose numbers are kept.
        present: numbers that the kept side has voxels of.
    """
    taken = {*own, *present, *pairs.values()}
    names = dict(own)
    table = np.arange(_LARGEST + 1, dtype=np.uint8)
    for value in sorted({*other, *_present(labels)}):
        if value in pairs:
            new = pairs[value]
        elif value in taken and value in other:  # the other side means another structure by it
            new = next((free for free in range(1, _LARGEST + 1) if free not in taken), value)
        else:
            new = value
        taken.add(new)
        table[value] = new
        if value in other:
            names.setdefault(new, other[value])
    same = bool((table == np.arange(_LARGEST + 1)).all())
    return labels if same else table[labels], names


def _present(array: np.ndarray) -> list[int]:
    labels = label_map(array, "label map")
    counts = np.bincount(labels.ravel(), minlength=_LARGEST + 1)
    return [value for value in np.flatnonzero(counts).tolist() if value]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().lower())


def _cannot_choose(reference: str, wanted: str, names: Sequence[str]) -> str:
    return (
        f"{reference!r} of the reference cannot be compared with {wanted!r}: the prediction has no such structure, or"
        f" it is compared already; {what_to_choose(wanted, names)}"
    )
