"""ModelCard: what a run is for, what it was trained on, how it scored, and under which licence it may be used."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from napari_uda.core.config import Config, plain_problem
from napari_uda.core.errors import InputError
from napari_uda.core.small_files import dump_yaml, file_sha256, read_json, read_yaml
from napari_uda.core.words import number_of
from napari_uda.evaluation.outdated import MOST_BYTES, outdated_cases
from napari_uda.run.checkpoint import check_weights, newest
from napari_uda.run.packed import CARD_FILE
from napari_uda.run.run import Run, write_text

NO_LICENCE = "not stated"


class ModelCard(Config):
    """What somebody who is handed a model asks first."""

    name: str
    """Name of the run."""
    purpose: str
    """What it is for, in a sentence."""
    licence: str = NO_LICENCE
    """Under which licence the weights may be used, as their owner states it."""
    method: str
    """Method that trained it."""
    source: str = ""
    """Modality of the labelled images."""
    target: str = ""
    """Modality of the images it was adapted to; empty when it saw none."""
    source_cases: int = Field(default=0, ge=0)
    """Labelled cases that it learnt from."""
    target_cases: int = Field(default=0, ge=0)
    """Cases of the target that it learnt from."""
    target_supervision: str = "none"
    """Which labels of the target it was given."""
    no_change: str = ""
    """Why it has the weights that it started from, if adaptation was given up."""
    structures: dict[str, int] = Field(default_factory=dict)
    """Label value of each structure."""
    steps: int = Field(default=0, ge=0)
    """Training steps done."""
    dice: dict[str, float] = Field(default_factory=dict)
    """Mean Dice by structure in the run's own scores.json, and over the structures as `mean`."""
    scored_cases: int = Field(default=0, ge=0)
    """Cases that the scores are of; 0 when it was not scored."""
    protocol: str = ""
    """Definitions of the scores."""
    outdated: int = Field(default=0, ge=0)
    """Cases whose predictions in the run were made anew after they were scored."""
    created: str = ""
    """When the run was made, ISO 8601."""
    made_by: str = ""
    """Program and version."""
    weights_sha256: str = ""
    """Checksum of the weights file, as `sha256sum` gives it; empty until it was computed."""

    def lines(self) -> list[tuple[str, str]]:
        """Title and text of everything that is known, in the order in which it is asked."""
        return [(title, text) for title, text in self._lines() if text]

    def _lines(self) -> list[tuple[str, str]]:
        learnt_from = [
            f"{_counted(self.source_cases, self.source)} with labels"
            if self.source or self.source_cases
            else "",
            f"adapted to {_counted(self.target_cases, self.target)}" if self.target else "",
        ]
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.dice.items())
        told = "" if self.target_supervision == "none" else self.target_supervision
        return [
            ("For", self.purpose),
            ("Trained on", ", ".join(filter(None, learnt_from))),
            ("Labels of the target", told),
            ("Structures", ", ".join(self.structures)),
            ("Method", f"{self.method}, {self.steps} steps"),
            ("No change", self.no_change),
            ("Dice", f"{scores} ({self.scored_cases} cases, {self.protocol})" if scores else ""),
            ("Scored before", _predicted_anew(self.outdated) if self.outdated else ""),
            ("Licence", self.licence),
            ("Made", " ".join(filter(None, [self.created[:10], "by", self.made_by]))),
            ("Weights", f"sha256 {self.weights_sha256}" if self.weights_sha256 else ""),
        ]


def read_card(path: Path, *, checksum: bool = False) -> ModelCard:
    """The card of a trained run: what its owner wrote into its card.yaml, and what its files tell.

    Args:
        path: run folder.
        checksum: compute that of the weights, which reads them all.

    Raises:
        InputError: if the folder is no trained run or its card cannot be read.
    """
    run = Run.open(path)
    weights = run.weights_file()
    check_weights(weights)
    stored = _stored(run.path / CARD_FILE)
    found = _found(run) | {key: value for key, value in stored.items() if key != "weights_sha256"}
    if checksum:
        found["weights_sha256"] = file_sha256(weights)
    try:
        return ModelCard.model_validate(found)
    except ValidationError as error:
        raise InputError(
            f"{run.path / CARD_FILE}: {plain_problem(error)}; correct or remove it"
        ) from error


def write_card(path: Path, *, purpose: str = "", licence: str = "") -> None:
    """Keep in a run what its owner says of it; an empty text leaves what was said before.

    Raises:
        InputError: if the folder is no run or cannot be written.
    """
    run = Run.open(path, to_write=True)
    said = {"purpose": purpose, "licence": licence}
    stored = _stored(run.path / CARD_FILE) | {key: text for key, text in said.items() if text}
    write_text(run.path / CARD_FILE, dump_yaml(stored), follow=False)


def _stored(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    values = read_yaml(file)
    if not isinstance(values, dict):
        raise InputError(f"{file} holds no names and values; correct or remove it")
    return {str(key): value for key, value in values.items()}


def _found(run: Run) -> dict[str, Any]:
    """What the run's own files tell."""
    facts, config = run.facts, run.config
    pair = newest(run.checkpoints)
    structures = ", ".join(facts.labels)
    seen = facts.target_modality or facts.source_modality or "images like those it learnt from"
    return {
        "name": run.name,
        "purpose": f"Segments {structures} in {seen}",
        "method": config.method.name,
        "source": facts.source_modality or ("the source" if facts.source else ""),
        "target": facts.target_modality or ("the target" if facts.target else ""),
        "source_cases": len(facts.source.train) if facts.source else 0,
        "target_cases": len(facts.target.train) if facts.target else 0,
        "target_supervision": facts.target_supervision,
        "no_change": facts.outcome.no_change if facts.outcome else "",
        "structures": dict(facts.labels),
        "steps": pair[0] if pair else config.steps,
        "created": run.created,
        "made_by": run.made_by,
        **_scores(run.path / "scores.json"),
        "outdated": len(outdated_cases(run.scores_file, run.predictions)),
    }


def _scores(file: Path) -> dict[str, Any]:
    """Mean Dice of the run's scores.json; nothing where there is none, or a damaged one."""
    dice, cases = {}, 0
    try:
        found = read_json(file, most_bytes=MOST_BYTES)
        for row in found["summary"]:
            mean = row["dice"]["mean"]
            if mean is not None and math.isfinite(mean):
                dice[str(row["name"])] = round(float(mean), 4)
                cases = max(cases, int(row["n_cases"]))
        protocol = str(found["protocol"])
    except (InputError, KeyError, TypeError, ValueError):
        return {}
    return {"dice": dice, "scored_cases": cases, "protocol": protocol} if dice else {}


def _predicted_anew(cases: int) -> str:
    """That scores are older than what they are of."""
    what = "1 case was" if cases == 1 else f"{cases} cases were"
    return f"{what} predicted anew since; napari-uda evaluate scores again"


def _counted(cases: int, modality: str) -> str:
    if not (cases and modality):
        return modality or "cases"
    if modality.startswith("the "):  # of unknown modality
        return f"{number_of(cases, 'case')} of {modality}"
    return number_of(cases, f"{modality} case")
