"""Protocols: named, complete sets of rules that turn two label maps into the numbers of a table.

Two tables can be compared only when every rule is the same: which surface, pooled or mean of means, which
unit, 3-D or slice by slice, what a missing organ costs, which standard deviation. A protocol holds all of
them as data and says them in words; the words travel with the scores in `scores.json`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.core.suggestions import what_to_choose
from napari_uda.evaluation.surface import Connectivity, HD95Rule

State = Literal["both", "missed", "invented", "absent"]

METRICS = (
    "dice",
    "assd_mm",
    "masd_mm",
    "hd95_mm",
    "nsd",
    "assd_voxel",
    "masd_voxel",
    "hd95_voxel",
)
"""The columns of scores.csv that are scores, in order."""

_EMPTY_WORDS = {
    "diagonal": (
        "a missed or invented structure gets the diagonal of the volume as its distance, which is more"
        " than any distance inside it, so a total miss never improves a mean"
    ),
    "nan": (
        "a missed or invented structure has no distance and is left out of the mean of the distances,"
        " which a total miss can improve: read it together with n and n_missing"
    ),
    "one_voxel": (
        "a missed or invented structure gets a distance of 1 voxel (millimetre columns: the diagonal of"
        " the volume), as the authors' code does; THIS REWARDS A TOTAL MISS and is only for comparison"
        " with published numbers"
    ),
}
_OWN_VOXELS = " A voxel is one of the files that are given; the paper's is one of its preprocessed slices (256 x 256)."
_NEIGHBOURS = {1: "a face", 2: "a face or an edge", 3: "a face, an edge or a corner"}


class Protocol(Config):
    """The rules of one evaluation."""

    name: str
    """Name of the protocol, as given to `--protocol`."""
    purpose: str
    """Whose numbers these are, in one sentence."""
    headline: tuple[str, ...] = ("dice", "assd_mm", "hd95_mm", "nsd")
    """Columns to show first: those that a paper with this protocol prints."""
    scope: Literal["volume", "slice"] = "volume"
    """What is scored: `volume` (each volume in 3-D) or `slice` (every 2-D slice by itself, then the
    mean over slices)."""
    connectivity: Connectivity = 1
    """Which neighbours make a border voxel: those that share a face (1), an edge (2) or a corner
    (3)."""
    assd_rule: Literal["pooled", "directed"] = "pooled"
    """What the ASSD columns hold: `pooled` (ASSD) or `directed` (the mean distance from prediction
    to reference only)."""
    hd95_rule: HD95Rule = "pooled"
    """How HD95 is taken: `pooled` (percentile of the joined distances) or `max` (the larger of the
    two directed percentiles)."""
    empty: Literal["diagonal", "nan", "one_voxel"] = "diagonal"
    """Distance of a structure that only the prediction or only the reference has: `diagonal` (of the
    volume), `nan` (none, it is left out of the mean) or `one_voxel`."""
    dice_smoothing: float = Field(0.0, ge=0)
    """Number added to numerator and denominator of Dice; 0 is the definition, and leaves a
    structure unscored that neither has."""
    nsd_tolerance_mm: float = Field(2.0, ge=0)
    """Tolerance of NSD in millimetres for structures without their own."""
    nsd_tolerances_mm: dict[str, float] = Field(default_factory=dict)
    """Tolerance of NSD in millimetres by structure name."""
    ddof: Literal[0, 1] = 1
    """What the standard deviation divides by: n - 1 (1, of a sample) or n (0, of a population)."""

    def tolerance_mm(self, name: str) -> float:
        """Tolerance of NSD for the structure called `name`, in millimetres."""
        return self.nsd_tolerances_mm.get(name, self.nsd_tolerance_mm)

    def empty_distance(self, column: str, diagonal: float) -> float:
        """Distance entered for a missed or invented structure.

        Args:
            column: a distance column of scores.csv; its ending gives the unit.
            diagonal: of the volume, in the unit of the column.

        Returns:
            The distance, NaN where the protocol leaves it undefined.
        """
        if self.empty == "nan":
            return float("nan")
        if self.empty == "one_voxel" and column.endswith("_voxel"):
            return 1.0
        return diagonal

    @property
    def rewards_missing(self) -> bool:
        """Whether a total miss can improve a mean; true only for rules kept to compare with papers.

        Distances that are small or left out do it; so does Dice 1 for every slice without the
        structure, which an empty prediction collects wherever it invented something before.
        """
        return self.empty != "diagonal" or (self.scope == "slice" and self.dice_smoothing > 0)

    @property
    def empty_policy(self) -> str:
        """The policy for structures absent on one side or both, in words."""
        absent = "scores Dice 1 (smoothing)" if self.dice_smoothing else "is left out of the mean"
        one_sided = "Dice and NSD are 0 when the structure is missed or invented"
        if self.dice_smoothing:
            one_sided = (
                "Dice is nearly 0 (smoothing) and NSD 0 when the structure is missed or invented"
            )
        if self.scope == "slice":
            one_sided += "; applied to every slice"
        return f"{_EMPTY_WORDS[self.empty]}; {one_sided}; a structure absent in both {absent}."

    def definitions(self) -> dict[str, str]:
        """What every score column holds under this protocol, in words."""
        where = "of the volume, in 3-D"
        if self.scope == "slice":
            where = "of every 2-D slice, averaged over the slices where it is defined"
        smoothing = f", {self.dice_smoothing:g} added to numerator and denominator"
        words = {
            "dice": f"2 |A and B| / (|A| + |B|){smoothing if self.dice_smoothing else ''}",
            "assd": "mean over the border voxels of both masks, pooled"
            if self.assd_rule == "pooled"
            else "mean from the prediction's border to the reference's, one direction only (not an ASSD)",
            "masd": "mean of the two directed mean border distances",
            "hd95": "95th percentile of the joined border distances"
            if self.hd95_rule == "pooled"
            else "larger of the two directed 95th percentiles",
            "nsd": f"share of the border voxels of both masks within {self._tolerances()}",
        }
        units = {"mm": ", in millimetres", "voxel": ", in voxels (every voxel side counts as 1)"}
        result = {}
        for column in METRICS:
            kind, _, unit = column.partition("_")
            result[column] = f"{words[kind]}, {where}{units.get(unit, '')}"
        return result

    def describe(self) -> str:
        """The whole protocol in words."""
        scope = "each volume in 3-D" if self.scope == "volume" else "each 2-D slice on its own"
        unit = "cases" if self.scope == "volume" else "the slices of all cases"
        definitions = self.definitions()
        shown = "; ".join(f"{column}: {definitions[column]}" for column in self.headline)
        return (
            f"{self.name}: {self.purpose} It scores {scope}. {shown}. Surface: voxels of the mask with a"
            f" neighbour outside it that shares {_NEIGHBOURS[self.connectivity]}, the edge of the array"
            f" counting as outside. Empty structures: {self.empty_policy} Mean and standard deviation are over {unit}, ddof {self.ddof}."
            f"{_OWN_VOXELS if any(c.endswith('_voxel') for c in self.headline) else ''}"
        )

    def _tolerances(self) -> str:
        own = "".join(f", {name} {mm:g} mm" for name, mm in self.nsd_tolerances_mm.items())
        return f"{self.nsd_tolerance_mm:g} mm{own}"


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="recommended",
            purpose="Millimetres, the textbook definitions, and a missing organ always costs.",
        ),
        Protocol(
            name="sifa",
            purpose=(
                "The tables of SIFA and of most cardiac UDA papers before mid-2024: their ASD is the"
                " MASD of the whole volume in voxels (medpy assd up to 0.4.0); their code stops at a"
                " missing organ, here it costs the diagonal."
            ),
            headline=("dice", "masd_voxel"),
            ddof=0,
        ),
        Protocol(
            name="se_asa",
            purpose=(
                "The released code of MPSCL and SE-ASA: as sifa, but a missing organ is entered as"
                " 1 voxel."
            ),
            headline=("dice", "masd_voxel"),
            empty="one_voxel",
            ddof=0,
        ),
        Protocol(
            name="sfda",
            purpose=(
                "The released code of the source-free AdaEnt and AdaMI (prostate, heart): MASD in voxels,"
                " sample standard deviation; a missing organ has no distance (their mean becomes NaN,"
                " here it is left out and n shows it)."
            ),
            headline=("dice", "masd_voxel"),
            empty="nan",
            dice_smoothing=1e-8,
        ),
        Protocol(
            name="attent_slice",
            purpose=(
                "The released code of AttENT: Dice per slice, slices without the structure scoring 1,"
                " and as ASSD the directed distance per slice in pixels."
            ),
            headline=("dice", "assd_voxel"),
            scope="slice",
            assd_rule="directed",
            empty="nan",
            dice_smoothing=1e-5,
            ddof=0,
        ),
    )
}
"""Every named protocol; `Protocol(...)` or `model_copy(update=...)` makes others."""


def get_protocol(protocol: str | Protocol) -> Protocol:
    """The protocol of that name (`-` and `_` are equal), or the given one itself.

    Raises:
        InputError: if there is none of that name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    known = PROTOCOLS.get(protocol.replace("-", "_"))
    if known is None:
        raise InputError(f"unknown protocol {protocol!r}; {what_to_choose(protocol, PROTOCOLS)}")
    return known
