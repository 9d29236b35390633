"""Keys of the docks: actions in napari's own list of shortcuts, where a user finds and changes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app_model.types import KeyCode
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.interactions import KEY_SYMBOLS
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtWidgets import QAbstractButton, QWidget

from napari_uda.gui.kit.letters import plain
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.place import waiting


@dataclass(frozen=True)
class Key:
    """A key, until the user chooses another one."""

    key: str
    what: str
    docks: tuple[str, ...]


KEYS = {
    "case_previous": Key("PageUp", "Previous case", ("Data",)),
    "case_next": Key("PageDown", "Next case", ("Data",)),
    "previous_structure": Key(",", "Previous structure", ("Segment", "Score")),
    "next_structure": Key(".", "Next structure", ("Segment", "Score")),
    "next_uncertain": Key("U", "Next uncertain slice", ("Segment",)),
    "outlines": Key("H", "Outlines", ("Segment",)),  # as in hollow
    "blink": Key("K", "Blink", ("Translate",)),
    "worst": Key("W", "Next worst slice", ("Score",)),
    "disagreement": Key("D", "Next error", ("Score",)),
    "window_drag": Key("G", "Drag in the image", ("View",)),
    "presets": Key("Q", "Next window preset", ("View",)),
    "neurological": Key("N", "Neurological", ("View",)),
    "plane_axial": Key("J", "Next cut", ("View",)),
}
"""By the name of the widget that stands for it, which is that of napari's action, too.

napari's viewer and its layers leave these keys free.
"""
_PLUGIN = "napari_uda"


@dataclass(frozen=True, eq=False)
class _Bound:
    """What a key does in one dock of one viewer."""

    name: str
    viewer: ViewerModel
    owner: QWidget
    pressed: QWidget
    action: Callable[[], object]
    tooltip: str | None
    """What the keys are added to; None where they stand in the text of a button."""

    @property
    def what(self) -> str:
        return KEYS[self.name].what


_bound: list[_Bound] = []  # of the docks that are open
_keys: dict[str, list[str]] = {}  # of every action that was ever bound, as the user wants them


def list_keys() -> None:
    """Put the keys of all docks into napari's list of shortcuts, also of those that are not built yet.

    What the user has chosen there counts, also when it is no key at all.
    """
    for name, key in KEYS.items():
        if name not in _keys:
            _register(name, key)


def bind_keys(
    viewer: ViewerModel, owner: QWidget, *actions: tuple[QWidget, Callable[[], object]]
) -> None:
    """Give widgets their keys until `owner` is destroyed; a key that somebody else has is left alone.

    Args:
        viewer: whose keys.
        owner: the dock or a part of it.
        actions: the widget that stands for a key, by its name, and what the key does. One that is disabled
            makes the key do nothing. A button that says it in words has its keys in brackets behind them,
            any other widget in its tooltip.
    """
    list_keys()
    model = getattr(viewer, "__wrapped__", viewer)  # napari hands out proxies
    made = []
    for pressed, action in actions:
        name = pressed.objectName()
        in_words = isinstance(pressed, QAbstractButton) and plain(pressed.text()) == KEYS[name].what
        tooltip = None if in_words else pressed.toolTip()
        bound = _Bound(name, model, owner, pressed, action, tooltip)
        made.append(bound)
        _bound.append(bound)
        _show(bound)

    def release() -> None:
        for bound in made:
            _bound.remove(bound)

    owner.destroyed.connect(release)


def keys_of(dock: QWidget) -> list[tuple[str, str]]:
    """Keys of a dock and its parts, and what each does, in the order in which they were bound."""
    own = [one for one in _bound if one.owner is dock or dock.isAncestorOf(one.owner)]
    return [(" or ".join(_free(one)), one.what) for one in own if _free(one)]


def _register(name: str, key: Key) -> None:
    if not _keys:
        action_manager.events.shortcut_changed.connect(_on_changed)
    _keys[name] = []
    action = f"{_PLUGIN}:{name}"

    def press(viewer: ViewerModel) -> None:
        _press(name, viewer)

    press.__name__ = f"{_PLUGIN}_{name}"  # napari tells actions apart by it as well
    action_manager.register_action(action, press, f"{key.what} ({_PLUGIN})", ViewerModel)
    chosen = get_settings().shortcuts.shortcuts.get(action)
    if chosen is None:
        own = coerce_keybinding(key.key)
        chosen = [] if own in ViewerModel.class_keymap else [own]
    for one in chosen:
        _name(str(one))
        action_manager.bind_shortcut(action, one)
    _keys[name] = [str(one) for one in chosen]


def _name(shortcut: str) -> None:
    """Give a key its sign in napari's list, which warns of PageUp and others that have none there."""
    key = shortcut.rpartition("+")[2]
    if len(key) > 1:
        KEY_SYMBOLS.setdefault(key, KeyCode.from_string(key).os_symbol())


def _on_changed(event: Any) -> None:
    """Another key, or none, which napari tells in turns: first none, then each."""
    plugin, _, name = event.name.partition(":")
    if plugin != _PLUGIN or name not in _keys:
        return
    text = str(event.shortcut)
    if not text:
        _keys[name] = []
    elif text not in _keys[name]:
        _keys[name].append(text)
    for bound in _bound:
        if bound.name == name:
            _show(bound)


def _free(bound: _Bound) -> list[str]:
    """The keys that nothing else has in the viewer: what was bound to the viewer itself comes first."""
    taken = bound.viewer.keymap
    return [key for key in _keys[bound.name] if coerce_keybinding(key) not in taken]


def _show(bound: _Bound) -> None:
    keys = ", ".join(_free(bound))
    if bound.tooltip is None and isinstance(bound.pressed, QAbstractButton):
        bound.pressed.setText(f"{bound.what} ({keys})" if keys else bound.what)
    else:
        bound.pressed.setToolTip((bound.tooltip or "") + (f"\nKey: {keys}" if keys else ""))


def _press(name: str, viewer: ViewerModel) -> None:
    """Of several docks that know the key, the one in front answers; a tab that was never looked at is opened."""
    window = getattr(viewer, "window", None)
    if window is not None and not _asked(name, viewer):
        tabs = waiting(viewer)
        title = next((one for one in KEYS[name].docks if one in tabs), None)
        if title is not None:
            window.add_plugin_dock_widget(_PLUGIN, title)[0].raise_()
    asked = _asked(name, viewer)
    seen = [one for one in asked if not one.pressed.visibleRegion().isEmpty()]
    for one in (*seen, *asked):
        if one.pressed.isEnabled():
            guarded(one.action)()
            return


def _asked(name: str, viewer: ViewerModel) -> list[_Bound]:
    return [one for one in _bound if one.name == name and one.viewer is viewer]
