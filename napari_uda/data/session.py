"""Session: what stood on the screen, as a small readable file that names volumes by path and checksum."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from napari_uda.core.config import Config, plain_problem
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import atomic_file, is_folder, shown
from napari_uda.core.small_files import dump_yaml, read_yaml
from napari_uda.core.words import short_list
from napari_uda.data.nifti import Placement

VERSION = 1
_MOST_LAYERS = 1000
_PART_BYTES = 1 << 20
_MOST_NAMED = 4

Number = Annotated[float, Field(allow_inf_nan=False)]
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}([0-9A-Fa-f]{2})?$")]
Value = Annotated[int, Field(ge=0, le=2**32 - 1)]


class FitState(Config):
    """Whether the model of a result fitted its image."""

    verdict: Literal["fits", "doubtful", "does not fit", "not judged"]
    """In words."""
    reasons: tuple[str, ...] = ()
    """One sentence each."""
    note: str = ""
    """What could not be compared."""


class LayerState(Config):
    """One volume on the screen, and how it looks."""

    path: str = Field(min_length=1)
    """Its file, or the folder of its DICOM series; starts from the folder of the session."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the file's bytes; see `checksum`."""
    bytes: int = Field(ge=0)
    """Size of the file, or of all files of the series."""
    series: str = ""
    """Which of several DICOM volumes."""
    placement: Placement = "auto"
    """Which of sform and qform is trusted where the file has both."""
    kind: Literal["image", "labels"]
    """As what it is shown."""
    role: str = ""
    """image, reference, prediction, entropy, ..."""
    case: str = ""
    """The patient or volume it belongs to."""
    model: dict[str, str | None] = {}
    """What a result was made by."""
    run: str = ""
    """How that is called in the lists, which tells results before and after an adaptation apart."""
    fit: FitState | None = None
    """Whether it fitted the image."""
    corrected: str = ""
    """The corrected case that the model has learnt from, if a result is of one: it is not scored."""
    target_supervision: str = ""
    """What the model was told of its target."""
    name: str = ""
    """Name of the layer."""
    visible: bool = True
    """Whether it was seen."""
    opacity: float = Field(1.0, ge=0, le=1)
    """How much of what lies behind it is covered."""
    contrast_limits: tuple[Number, Number] | None = None
    """The intensities that are black and white."""
    gamma: float = Field(1.0, gt=0)
    """Of the grey values."""
    colormap: str = ""
    """Of an image, by napari's name."""
    contour: int = Field(0, ge=0)
    """Width of the outlines of structures in pixels; 0 fills them."""
    names: dict[Value, str] = {}
    """Label value to structure name."""
    colours: dict[Value, Colour] = {}
    """Label value to colour."""
    hidden: tuple[Value, ...] = ()
    """Label values that were not to be seen."""


class MeasurementState(Config):
    """A ruler or a region that was drawn."""

    kind: Literal["line", "path", "rectangle", "ellipse", "polygon"]
    """Its shape; of an ellipse the corners are those of the box round it."""
    corners_mm: tuple[tuple[Number, Number, Number], ...] = Field(min_length=2, max_length=10_000)
    """In the viewer's millimetres (z, y, x)."""


class ViewState(Config):
    """Where one looked."""

    ndisplay: Literal[2, 3] = 2
    """2 shows a slice, 3 the volume."""
    order: tuple[int, ...] = (0, 1, 2)
    """Axes of the viewer (z, y, x); the last two are drawn."""
    point_mm: tuple[Number, ...] = (0, 0, 0)
    """The cross, in the viewer's millimetres."""
    center: tuple[Number, Number, Number] = (0, 0, 0)
    """What the camera points at."""
    zoom: float = Field(1.0, gt=0)
    """Pixels of the canvas for each millimetre."""
    angles: tuple[Number, Number, Number] = (0, 0, 90)
    """Of the camera, in 3-D."""

    @model_validator(mode="after")
    def _check_axes(self) -> Self:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"order must name each axis once, not {list(self.order)}")
        return self


class Session(Config):
    """What stood on the screen."""

    napari_uda_session: int = VERSION
    """Version of this file."""
    program: str = ""
    """What wrote it."""
    saved: str = ""
    """When, ISO 8601."""
    layers: tuple[LayerState, ...] = Field((), max_length=_MOST_LAYERS)
    """From the back to the front."""
    measurements: tuple[MeasurementState, ...] = Field((), max_length=10_000)
    """Rulers and regions on the images."""
    view: ViewState = ViewState()
    """Where one looked."""
    docks: tuple[str, ...] = Field((), max_length=20)
    """Docks of napari_uda that were open."""
    front: str = ""
    """The dock that was seen."""
    cases: str = ""
    """The folder whose cases were listed; starts from the folder of the session."""
    predictions: str = ""
    """The folder of predictions that was listed with them."""
    case: str = ""
    """The one that was chosen."""
    choices: dict[str, dict[str, bool | int | str | list[str]]] = {}
    """Of each dock, what was chosen in it, by the names of its widgets."""
    side_by_side: bool = False
    """Whether structures, entropy and reliability stood beside each other."""
    left_out: tuple[str, ...] = Field((), max_length=_MOST_LAYERS)
    """Layers that were in memory only and not saved."""


@dataclass(frozen=True)
class Checked:
    """A session and which of its files are as they were.

    Attributes:
        session: as it was saved.
        layers: those whose files are there and unchanged, each with its path.
        missing: names of the files that are not there.
        changed: names of the files that are others now.
    """

    session: Session
    layers: tuple[tuple[LayerState, Path], ...]
    missing: tuple[str, ...]
    changed: tuple[str, ...]

    def sentence(self) -> str:
        """What could not be restored, or ""."""
        parts = [
            f"{short_list(names, _MOST_NAMED)} {'is' if len(names) == 1 else 'are'} {how}"
            for names, how in ((self.missing, "missing"), (self.changed, "not as it was saved"))
            if names
        ]
        if not parts:
            return ""
        rest = "the rest is shown" if self.layers else "nothing is left to show"
        return f"{'; '.join(parts)}; {rest}. Put the files back, or open them and save the session again."


def write_session(file: str | os.PathLike[str], session: Session) -> None:
    """Write a session, whole or not at all.

    Args:
        file: ends in `.yaml` or `.yml`.
        session: what is kept; what is as usual is not written.

    Raises:
        InputError: another ending, or a folder that cannot be written.
    """
    path = Path(file)
    if not is_session(path):
        raise InputError(f"{shown(path)}: a session is written as YAML; end its name in .yaml")
    content = session.model_dump(mode="json", exclude_defaults=True)
    text = dump_yaml({"napari_uda_session": VERSION, **content})
    with atomic_file(path) as stream:
        stream.write(text.encode())


def read_session(file: str | os.PathLike[str]) -> Session:
    """Read a session; no volume is opened.

    Raises:
        InputError: it is none, has entries that are unknown, or is of a newer version.
    """
    path = Path(file)
    content = read_yaml(path)
    if not isinstance(content, dict) or "napari_uda_session" not in content:
        raise InputError(f"{shown(path)}: is no session; give a file that Save session… wrote")
    version = content["napari_uda_session"]
    if version != VERSION:
        raise InputError(
            f"{shown(path)}: is a session of version {version}, and this napari_uda reads version {VERSION}; "
            "update napari_uda"
        )
    try:
        return Session.model_validate(content)
    except ValidationError as error:
        raise InputError(
            f"{shown(path)}: {plain_problem(error)}; correct it, or save the session again"
        ) from error


def is_session(path: str | os.PathLike[str]) -> bool:
    """Whether a file is named as sessions are."""
    return Path(path).suffix.lower() in (".yaml", ".yml")


def check_files(
    session: Session,
    folder: str | os.PathLike[str],
    report: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Checked:
    """Find the files of a session and compare them with their checksums, sizes first.

    Args:
        session: the session.
        folder: that of its file.
        report: progress in layers.
        stop: when set, the check is given up.

    Raises:
        Cancelled: when `stop` was set.
    """
    there: list[tuple[LayerState, Path]] = []
    missing: list[str] = []
    changed: list[str] = []
    for done, layer in enumerate(session.layers):
        if report is not None:
            report(done, len(session.layers))
        path = resolved(layer.path, folder)
        try:
            same = size_of(path) == layer.bytes and checksum(path, stop) == layer.sha256
        except (OSError, ValueError):  # a path with a zero byte, too
            missing.append(layer.path)
            continue
        if same:
            there.append((layer, path))
        else:
            changed.append(layer.path)
    return Checked(session, tuple(there), _once(missing), _once(changed))


def resolved(path: str, folder: str | os.PathLike[str]) -> Path:
    """Where a path of a session in `folder` leads."""
    return Path(os.path.normpath(Path(os.path.realpath(folder), path)))


def relative_path(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """A file as a session in `folder` names it; absolute only on another drive."""
    start, target = os.path.realpath(folder), os.path.realpath(path)
    try:
        return Path(os.path.relpath(target, start)).as_posix()
    except ValueError:  # another drive of Windows
        return Path(target).as_posix()


def checksum(path: str | os.PathLike[str], stop: threading.Event | None = None) -> str:
    """SHA-256 of a file; of a folder, of the names and checksums of the files in it.

    Args:
        path: the file, or the folder of a DICOM series.
        stop: when set, it is given up.

    Raises:
        OSError: it cannot be read.
        Cancelled: when `stop` was set.
    """
    digest = hashlib.sha256()
    if is_folder(path):
        for file in _files_of(Path(path)):
            digest.update(f"{file.name}\0{checksum(file, stop)}\n".encode())
        return digest.hexdigest()
    with Path(path).open("rb") as stream:
        while part := stream.read(_PART_BYTES):
            if stop is not None and stop.is_set():
                raise Cancelled
            digest.update(part)
    return digest.hexdigest()


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of a file, or of all files in a folder.

    Raises:
        OSError: it is not there.
    """
    if is_folder(path):
        return sum(file.stat().st_size for file in _files_of(Path(path)))
    return Path(path).stat().st_size


def _files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.name[0] != ".")


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
