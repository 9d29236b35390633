"""A trained run as one file to hand on: what predicts, and its card; no names or places of its patients.

The file is a plain zip archive. Its weights are stored as they are, so that a file of it is never larger than
the archive; whatever else lies in an archive from elsewhere is refused.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from napari_uda.core.errors import InputError, refusal
from napari_uda.core.files import (
    atomic_file,
    check_new_folder,
    shown,
    temporary_folder,
    whole_folder,
)
from napari_uda.core.small_files import MOST_BYTES, dump_yaml, open_plain, read_yaml
from napari_uda.data.facts import DataFacts
from napari_uda.data.split import Split
from napari_uda.experiments.model_card import CARD_FILE, ModelCard, read_card, weights_sha256
from napari_uda.run.checkpoint import BEST, WEIGHTS
from napari_uda.run.run import Run, with_paths

ENDING = ".zip"
_SMALL = ("config.yaml", "data.json", "environment.json", CARD_FILE)
_WEIGHTS = tuple(f"checkpoints/{name}" for name in (WEIGHTS, BEST))
_ON_THE_WAY = "get the file once more from where it came from"


def pack(run: Path, out: Path, *, purpose: str = "", licence: str = "") -> ModelCard:
    """Write a run as one file that predicts, adapts, translates and can be started from.

    Left out: training state, logs, previews, predictions, the names of the cases and (but for corrected ones,
    which must not be scored) their checksums, and where data lay: of every path in the settings its last part stays.

    Args:
        run: trained run folder.
        out: the file, which ends in `.zip`.
        purpose: what it is for; empty takes what its card says.
        licence: of the weights; empty takes what its card says.

    Returns:
        The card that the file holds.

    Raises:
        InputError: if the folder is no trained run, or the file cannot be written.
    """
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
            for small in _SMALL:
                archive.write(aside / small, small)
            archive.write(weights, name, zipfile.ZIP_STORED)
    return card


def unpack(file: Path, out: Path) -> ModelCard:
    """Make a run folder of a packed run, whole or not at all.

    Args:
        file: what `pack` wrote.
        out: a new folder.

    Returns:
        Its card.

    Raises:
        InputError: if the file is no packed run or damaged, or the folder is not empty or cannot be written.
    """
    check_new_folder(out)
    with _opened(file) as archive:
        members = _members(file, archive)
        with whole_folder(out) as folder:
            (folder / "checkpoints").mkdir()
            for member in members:
                with (
                    archive.open(member) as packed,
                    (folder / member.filename).open("wb") as stream,
                ):
                    shutil.copyfileobj(packed, stream)
            return _checked(file, folder)


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


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with open_plain(file) as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except FileNotFoundError as error:
        raise InputError(f"{shown(file)} does not exist; give a file that pack wrote") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{shown(file)} is no packed run or damaged; {_ON_THE_WAY}") from error
    except OSError as error:
        raise InputError(refusal(error)) from error


def _members(file: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """What is to be written.

    Raises:
        InputError: if anything is missing, there twice, or nothing that `pack` writes.
    """
    found = archive.infolist()
    names = sorted(member.filename for member in found)
    if names not in [sorted((*_SMALL, weights)) for weights in _WEIGHTS]:
        raise InputError(
            f"{shown(file)} holds other files than a packed run; give one that pack wrote"
        )
    for member in found:
        stored = member.compress_type == zipfile.ZIP_STORED
        too_large = member.file_size > MOST_BYTES and not stored
        if too_large or member.flag_bits & 1 or (member.filename in _WEIGHTS and not stored):
            raise InputError(
                f"{shown(file)}: {member.filename} is not packed as pack does; {_ON_THE_WAY}"
            )
    return found


def _checked(file: Path, folder: Path) -> ModelCard:
    """The card, once the run can be opened and its weights are those that were packed."""
    try:
        stored = read_card(folder)
        found = weights_sha256(Run.open(folder).weights_file())
        written = ModelCard.model_validate(read_yaml(folder / CARD_FILE)).weights_sha256
    except ValueError as error:
        raise InputError(f"{shown(file)} is damaged ({error}); {_ON_THE_WAY}") from error
    if found != written:
        raise InputError(
            f"{shown(file)} is damaged: its weights do not fit the checksum of its card; {_ON_THE_WAY}"
        )
    return stored.model_copy(update={"weights_sha256": found})
