"""Settings that outlive a session: in napari's preferences, or in a file of Qt's where napari has none for plugins."""

from __future__ import annotations

import logging
from typing import Any, Literal

from qtpy.QtCore import QSettings

logger = logging.getLogger(__name__)

Convention = Literal["radiological", "neurological"]
_PLUGIN = "napari_uda"


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
