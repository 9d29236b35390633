"""A trained run as one file to hand on: what predicts, and its card; no names or places of its patients."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.core.files import (
    as_path,
    atomic_file,
    check_new_folder,
    shown,
    temporary_folder,
    whole_folder,
)
from napari_uda.core.small_files import dump_yaml, read_yaml
from napari_uda.data.facts import DataFacts
from napari_uda.data.split import Split
from napari_uda.experiments.model_card import ModelCard, read_card
from napari_uda.run.checkpoint import BEST, WEIGHTS
from napari_uda.run.packed import CARD_FILE, ENDING, ON_THE_WAY, SMALL_FILES, extract
from napari_uda.run.run import Run, with_paths


def pack(
    run: Run | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    purpose: str = "",
    licence: str = "",
) -> ModelCard:
    """Write a run as one file that predicts, adapts, translates and can be started from.

    Left out: training state, logs, previews, predictions, the names of the cases and (but for corrected ones,
    which must not be scored) their checksums, and where data lay: of every path in the settings its last part stays.

    Args:
        run: a trained run, or its folder.
        out: the file, which ends in `.zip`.
        purpose: what it is for; empty takes what its card says.
        licence: of the weights; empty takes what its card says.

    Returns:
        The card that the file holds.

    Raises:
        InputError: if the folder is no trained run, or the file cannot be written.
    """
    run = run.packed or run.path if isinstance(run, Run) else as_path(run, "give a run folder")
    out = Path(out)
    if out.suffix != ENDING:
        raise InputError(f"{shown(out)}: a packed run is a file that ends in {ENDING}; name it so")
    opened = Run.open(run)
    weights = opened.weights_file()
    card = read_card(run, checksum=True)
    said = {"purpose": purpose, "licence": licence}
    card = card.model_copy(update={key: text for key, text in said.items() if text})
    name = f"checkpoints/{BEST if weights.name == BEST else WEIGHTS}"
    with atomic_file(out) as stream, temporary_folder(out.absolute().parent) as aside:
        opened.write_copy(
            aside, with_paths(opened.config, lambda p: Path(p.name)), _nameless(opened.facts)
        )
        (aside / CARD_FILE).write_text(dump_yaml(card.model_dump()), encoding="utf-8")
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for small in SMALL_FILES:
                archive.write(aside / small, small)
            archive.write(weights, name, zipfile.ZIP_STORED)
    return card


def unpack(file: str | os.PathLike[str], out: str | os.PathLike[str]) -> ModelCard:
    """Make a run folder of a packed run, whole or not at all.

    Args:
        file: what `pack` wrote.
        out: a new folder.

    Returns:
        Its card.

    Raises:
        InputError: if the file is no packed run or damaged, or the folder is not empty or cannot be written.
    """
    file, out = Path(file), Path(out)
    check_new_folder(out)
    with whole_folder(out) as folder:
        extract(file, folder)
        try:
            written = ModelCard.model_validate(read_yaml(folder / CARD_FILE))
            stored = read_card(folder)
        except ValueError as error:
            raise InputError(f"{shown(file)} is damaged ({error}); {ON_THE_WAY}") from error
        return stored.model_copy(update={"weights_sha256": written.weights_sha256})


def _nameless(facts: DataFacts) -> DataFacts:
    """The facts without names of cases: their number stays."""
    return facts.model_copy(
        update={
            "source": _numbered(facts.source),
            "target": _numbered(facts.target),
            "source_contents": {},
            "target_contents": {},
            "corrected_contents": _unnamed(facts.corrected_contents),
            "corrected_before": _unnamed(facts.corrected_before, len(facts.corrected_contents)),
            "fingerprint": "",
            "files": {},
        }
    )


def _unnamed(contents: Mapping[str, str], before: int = 0) -> dict[str, str]:
    """Checksums of corrected cases stay: by them those cases are left out of scores."""
    return {
        f"corrected case {number}": checksum
        for number, checksum in enumerate(contents.values(), start=before + 1)
    }


def _numbered(split: Split | None) -> Split | None:
    if split is None:
        return None
    numbers = iter(range(1, 1 + len(split.train) + len(split.validation)))
    train = tuple(f"case {next(numbers)}" for _ in split.train)
    return Split(train=train, validation=tuple(f"case {next(numbers)}" for _ in split.validation))
