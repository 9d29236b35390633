"""What training says of its data before the first step: what is odd, and how much there is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from napari_uda.core.errors import InputError
from napari_uda.core.words import number_of
from napari_uda.data.split import patients_of

if TYPE_CHECKING:
    from napari_uda.data.batches import TrainingData
    from napari_uda.data.findings import DomainReport

Findings = Literal["warn", "refuse", "log"]
"""What becomes of what is odd: a warning, a refusal (`--strict`), or a line in `log.txt` alone."""

logger = logging.getLogger(__name__)


def tell(reports: Mapping[str, DomainReport], *, findings: Findings, aloud: bool = True) -> None:
    """Say what is odd in the data, once; what would end training anyway is left to that.

    Args:
        reports: of the check, by domain.
        findings: what becomes of it.
        aloud: whether this process says it; one of several that train together does.

    Raises:
        InputError: if there is something and `findings` is refuse.
    """
    found = [
        (f"{side}: {problem.sentence}", problem.said)
        for side, report in reports.items()
        for problem in report.problems
        if not problem.fatal
    ]
    level = logging.INFO if findings == "log" else logging.WARNING
    for sentence, is_said in found:
        if aloud and not is_said:
            logger.log(level, "%s", sentence)
    if findings == "refuse" and found:
        refuse([sentence for sentence, _ in found])


def refuse(sentences: Sequence[str]) -> None:
    """Refuse data that is odd.

    Raises:
        InputError: always, with the first of the sentences.
    """
    count = len(sentences)
    said = "a warning" if count == 1 else f"{count} warnings"
    more = "" if count == 1 else f", and {count - 1} more"
    raise InputError(
        f"strict takes {said} about the data for an error ({sentences[0]}{more}); mend the data, or leave "
        "strict out"
    )


def data_found(data: TrainingData, patient_pattern: str) -> Iterator[str]:
    """How many patients and slices there are on each side, a sentence for each.

    Args:
        data: what was read.
        patient_pattern: finds the patient in the name of a labelled case; "" takes every case for one.
    """
    facts = data.facts
    if data.source is not None and facts.source is not None:
        held_out = facts.source.validation
        side = "source" if facts.source_contents else "target, with labels"
        yield (
            f"{side}: {_patients(facts.source.train, patient_pattern)} with {len(data.source)} slices"
            + (f"; {_patients(held_out, patient_pattern)} held out" if held_out else "")
        )
    if data.target is not None and facts.target is not None:
        yield f"target: {_patients(facts.target.train, '')} with {len(data.target)} slices"
    if data.corrected is not None:
        cases = tuple(facts.corrected_contents)
        yield (
            f"corrected: {_patients(cases, '')} with {len(data.corrected)} slices, with labels; left out of "
            "every score"
        )


def _patients(cases: Sequence[str], pattern: str) -> str:
    """The number of patients, and that of volumes if it is another one."""
    count = len(set(patients_of(cases, pattern)))
    text = number_of(count, "patient")
    return text if count == len(cases) else f"{text} in {len(cases)} volumes"
