"""Keys of the docks: actions in napari's own list of shortcuts, where a user finds and changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app_model.types import KeyCode
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.interactions import KEY_SYMBOLS
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtWidgets import QAbstractButton, QWidget

from napari_uda.gui.kit.panel import guarded

Bound = tuple[QWidget, Callable[[], object]] | tuple[QWidget, Callable[[], object], str]
NEXT_KEY, PREVIOUS_KEY = ".", ","
"""From structure to structure; the dock in front answers. Free in napari's viewer and all of its layers."""
_PLUGIN = "napari_uda"


@dataclass(frozen=True, eq=False)
class _Key:
    """What a key does in one dock of one viewer."""

    name: str
    what: str
    viewer: ViewerModel
    owner: QWidget
    pressed: QWidget
    action: Callable[[], object]
    tooltip: str | None
    """What the keys are added to; None where they stand in the text of a button."""


_bound: list[_Key] = []  # of the docks that are open
_keys: dict[str, list[str]] = {}  # of every action that was ever bound, as the user wants them


def bind_keys(viewer: ViewerModel, owner: QWidget, actions: Mapping[str, Bound]) -> None:
    """Give widgets keys until `owner` is destroyed; a key that somebody else has is left alone.

    An action is registered with napari when the first widget of its name asks, and stays in napari's list
    of shortcuts. What the user has chosen there counts, also when it is no key at all.

    Args:
        viewer: whose keys.
        owner: the dock or a part of it.
        actions: key to the widget that stands for it, to what it does, and to that in words. The name of
            the widget is that of the action. One that is disabled makes the key do nothing. Without words,
            they are the text of a button, which ends with its keys in brackets; otherwise the keys stand
            in the tooltip.
    """
    made = []
    for key, (pressed, action, *words) in actions.items():
        name = f"{_PLUGIN}:{pressed.objectName()}"
        text = pressed.text() if isinstance(pressed, QAbstractButton) else ""
        what = words[0] if words else text.removesuffix(f" ({key})")
        model = getattr(viewer, "__wrapped__", viewer)  # napari hands out proxies
        tooltip = pressed.toolTip() if words else None
        bound = _Key(name, what, model, owner, pressed, action, tooltip)
        made.append(bound)
        _bound.append(bound)
        if name not in _keys:
            _register(name, what, key)
        _show(bound)

    def release() -> None:
        for bound in made:
            _bound.remove(bound)

    owner.destroyed.connect(release)


def keys_of(dock: QWidget) -> list[tuple[str, str]]:
    """Keys of a dock and its parts, and what each does, in the order in which they were bound."""
    own = [one for one in _bound if one.owner is dock or dock.isAncestorOf(one.owner)]
    return [(" or ".join(_free(one)), one.what) for one in own if _free(one)]


def _register(name: str, what: str, key: str) -> None:
    if not _keys:
        action_manager.events.shortcut_changed.connect(_on_changed)
    _keys[name] = []

    def press(viewer: ViewerModel) -> None:
        _press(name, viewer)

    press.__name__ = name.replace(":", "_")  # napari tells actions apart by it as well
    action_manager.register_action(name, press, f"{what} ({_PLUGIN})", ViewerModel)
    chosen = get_settings().shortcuts.shortcuts.get(name)
    if chosen is None:
        taken = coerce_keybinding(key) in ViewerModel.class_keymap
        chosen = [] if taken else [coerce_keybinding(key)]
    for one in chosen:
        _name(str(one))
        action_manager.bind_shortcut(name, one)
    _keys[name] = [str(one) for one in chosen]


def _name(shortcut: str) -> None:
    """Give a key its sign in napari's list, which warns of PageUp and others that have none there."""
    key = shortcut.rpartition("+")[2]
    if len(key) > 1:
        KEY_SYMBOLS.setdefault(key, KeyCode.from_string(key).os_symbol())


def _on_changed(event: Any) -> None:
    """Another key, or none, which napari tells in turns: first none, then each."""
    if event.name not in _keys:
        return
    text = str(event.shortcut)
    if not text:
        _keys[event.name] = []
    elif text not in _keys[event.name]:
        _keys[event.name].append(text)
    for bound in _bound:
        if bound.name == event.name:
            _show(bound)


def _free(bound: _Key) -> list[str]:
    """The keys that nothing else has in the viewer: what was bound to the viewer itself comes first."""
    taken = bound.viewer.keymap
    return [key for key in _keys[bound.name] if coerce_keybinding(key) not in taken]


def _show(bound: _Key) -> None:
    keys = ", ".join(_free(bound))
    if bound.tooltip is None and isinstance(bound.pressed, QAbstractButton):
        bound.pressed.setText(f"{bound.what} ({keys})" if keys else bound.what)
    else:
        bound.pressed.setToolTip((bound.tooltip or "") + (f"\nKey: {keys}" if keys else ""))


def _press(name: str, viewer: ViewerModel) -> None:
    """Of several docks that know the key, the one in front answers."""
    asked = [one for one in _bound if one.name == name and one.viewer is viewer]
    seen = [one for one in asked if not one.pressed.visibleRegion().isEmpty()]
    for one in (*seen, *asked):
        if one.pressed.isEnabled():
            guarded(one.action)()
            return
