"""Settings that outlive a session: in napari's preferences, or in a file of Qt's where napari has none for plugins."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from qtpy.QtCore import QSettings

logger = logging.getLogger(__name__)

Convention = Literal["radiological", "neurological"]
_PLUGIN = "napari_uda"
_RECENT_FILES, _READER_ANSWER = "open/recent", "open/reader_answer"
_MOST_RECENT_FILES = 10


def letters_wanted() -> bool:
    """Whether sides of the patient are written on the canvas."""
    return _get("letters", "true") not in (False, "false")


def remember_letters(wanted: bool) -> None:
    """Keep it."""
    _set("letters", wanted)


def convention() -> Convention:
    """Which side of the patient is on the left of the screen."""
    return "neurological" if _get("convention", "") == "neurological" else "radiological"


def remember_convention(chosen: Convention) -> None:
    """Keep it."""
    _set("convention", chosen)


def recent_files() -> list[Path]:
    """Files and folders that were opened, the last one first; also those that are gone: their disk may come back."""
    stored = settings().value(_RECENT_FILES) or []
    return [Path(one) for one in ([stored] if isinstance(stored, str) else stored)]


def remember_file(path: Path) -> None:
    """Put a file or folder at the head of the recent ones."""
    path = path.absolute()
    kept = [other for other in recent_files() if other != path]
    stored = [str(one) for one in [path, *kept][:_MOST_RECENT_FILES]]
    settings().setValue(_RECENT_FILES, stored)


def last_folder() -> str:
    """Where a dialog begins: where something was opened last; "" before that."""
    return next((str(path.parent) for path in recent_files()), "")


def reader_answer() -> str:
    """What the user said to reading medical volumes with this package: "yes", "no", or "" before the question."""
    return str(settings().value(_READER_ANSWER) or "")


def remember_reader_answer(answer: Literal["yes", "no"]) -> None:
    """Keep it."""
    settings().setValue(_READER_ANSWER, answer)


def napari_readers() -> dict[str, str] | None:
    """The table of napari of which reader opens which names; None where it keeps none."""
    try:
        from napari.settings import get_settings

        return dict(get_settings().plugins.extension2reader)
    except (ImportError, AttributeError):
        logger.debug("napari keeps no table of readers")
        return None


def prefer_reader(patterns: Iterable[str]) -> None:
    """Let napari read files and folders whose path fits one of the patterns with this package."""
    known = napari_readers()
    if known is not None:
        from napari.settings import get_settings

        wanted = known | dict.fromkeys(patterns, _PLUGIN)
        if wanted != known:
            get_settings().plugins.extension2reader = wanted


def _get(name: str, default: str) -> Any:
    stored = napari_settings()
    if stored is not None:
        return getattr(stored, name)
    return settings().value(f"view/{name}", default)


def _set(name: str, value: object) -> None:
    stored = napari_settings()
    if stored is not None:
        setattr(stored, name, value)
    else:
        settings().setValue(f"view/{name}", str(value).lower())


def napari_settings() -> Any:
    """The category `view` of the manifest's `configurations`; None before napari 0.9."""
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings(_PLUGIN).view
    except (ImportError, KeyError, AttributeError):  # also when the plugin is not registered
        logger.debug("napari keeps no settings of this plugin")
        return None


def settings() -> QSettings:
    """Where what napari does not keep is kept."""
    return QSettings(_PLUGIN, _PLUGIN)
