"""Keys of a dock: they work wherever the viewer has the focus, and stand on the widgets they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from napari.components import ViewerModel
from qtpy.QtWidgets import QAbstractButton, QWidget


def bind_keys(
    viewer: ViewerModel,
    owner: QWidget,
    actions: Mapping[str, tuple[QAbstractButton, Callable[[], object]]],
) -> None:
    """Bind keys until `owner` is destroyed; a key that the user bound is left alone.

    Args:
        viewer: whose keys.
        owner: the dock.
        actions: key to its button, whose text ends with the key in brackets, and to what it does. A
            button that is disabled makes the key do nothing. A key that cannot be had is taken off
            the button's text.
    """
    bound = []
    for key, (button, action) in actions.items():
        try:
            viewer.bind_key(key, _when_enabled(button, action))
        except ValueError:
            button.setText(button.text().removesuffix(f" ({key})"))
        else:
            bound.append(key)

    def release() -> None:
        for key in bound:
            viewer.bind_key(key, None)

    owner.destroyed.connect(release)


def _when_enabled(
    button: QAbstractButton, action: Callable[[], object]
) -> Callable[[ViewerModel], None]:
    def press(_: ViewerModel) -> None:
        if button.isEnabled():
            action()

    return press
