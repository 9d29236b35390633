"""Does a model fit an image? One verdict, and a sentence for every reason, each a quantity that can be checked.

Compared are the image (`fit_image`) and the structures that were found in it (`fit_structures`) with what
training stored of its images and of the source's labels; a target label is never looked at.
`benchmarks/fit_verdict.py` measures how often the verdict is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_uda.inference.fit_image import image_findings
from napari_uda.inference.fit_structures import (
    find_structures,
    structure_findings,
    unreliable_findings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_uda.data.facts import DataFacts
    from napari_uda.data.volume import Volume
    from napari_uda.inference.fit_finding import Finding

Verdict = Literal["fits", "doubtful", "does not fit", "not judged"]


@dataclass(frozen=True)
class Fit:
    """Whether a model fits an image.

    Attributes:
        verdict: fits, doubtful (look at the result with care), does not fit, or not judged.
        reasons: one sentence for each quantity that is out of the ordinary, the gravest first.
        note: what could not be compared, or "".
    """

    verdict: Verdict = "not judged"
    reasons: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        said = f"{self.verdict}: {'; '.join(self.reasons)}" if self.reasons else self.verdict
        return f"{said} ({self.note})" if self.note else said


def judge_image(facts: DataFacts, volume: Volume) -> Fit:
    """Compare a volume alone with the training images of a run, before anything is segmented."""
    findings, note = image_findings(facts, volume)
    return _verdict(findings, note)


def judge(
    facts: DataFacts,
    volume: Volume,
    labels: NDArray[np.uint8],
    reliability: NDArray[np.uint8] | None = None,
) -> Fit:
    """Compare a volume and what was found in it with the training data of a run.

    Args:
        facts: what the run measured in training.
        volume: the image.
        labels: `(Z, Y, X)` label values that the run predicts, on the grid of the image.
        reliability: `(Z, Y, X)` 1 reliable, 2 unreliable, if a vote was asked for.
    """
    found = find_structures(facts, volume, labels)
    findings, note = image_findings(facts, volume)
    findings += structure_findings(facts, volume, found)
    if reliability is not None:
        findings += unreliable_findings(labels, reliability)
    return _verdict(findings, note)


def judge_several(fits: Mapping[str, Fit]) -> Fit:
    """The gravest verdict on several images, and the gravest reason of each that it is not fine with, by case."""
    ranks: tuple[Verdict, ...] = ("does not fit", "doubtful", "not judged", "fits")
    odd = [(case, fit) for case, fit in fits.items() if fit.reasons]
    odd.sort(key=lambda pair: ranks.index(pair[1].verdict))
    found = {fit.verdict for fit in fits.values()}
    verdict = next((one for one in ranks if one in found), Fit().verdict)
    note = next((fit.note for fit in fits.values() if fit.note), "")
    return Fit(verdict, tuple(f"{case}: {fit.reasons[0]}" for case, fit in odd), note)


def _verdict(findings: list[Finding], note: str) -> Fit:
    findings.sort(key=lambda finding: not finding.grave)
    verdict: Verdict = "fits"
    if findings:
        verdict = "does not fit" if findings[0].grave else "doubtful"
    return Fit(verdict, tuple(finding.sentence for finding in findings), note)
