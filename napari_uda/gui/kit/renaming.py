"""A structure gets another name: in all layers that call it the same, and in the files that the names are read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from napari.layers import Labels, Layer
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QInputDialog, QWidget

from napari_uda.core.structure_colours import full_name, plain_name, structure_colour
from napari_uda.data.rename_structure import check_name, rename_structure
from napari_uda.gui.kit.colormaps import structure_colormap
from napari_uda.gui.kit.geometry import METADATA, file_of, tag
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layers import own_colours, structure_names, structure_table


def ask_name(parent: QWidget, old: str, value: int) -> str:
    """The new name of a structure, asked for in a dialog; "" where it stays as it is."""
    about = f"Name of {full_name(old)} (label value {value})" if old else f"Name of label {value}"
    name, given = QInputDialog.getText(parent, "Rename structure", about, text=old)
    return name.strip() if given and name.strip() != old else ""


def rename_in_layers(
    owner: QObject, layers: Iterable[Labels], value: int, old: str, name: str
) -> None:
    """Rename a structure in layers at once, and in a thread where their names are stored.

    Args:
        owner: the widget that asks.
        layers: the one whose structure is renamed, then those that may have the same structure.
        value: its label in the first layer.
        old: what the others call it; letters' case, blanks and underscores do not count.
        name: the new one.

    Raises:
        InputError: a name that could not be told from the others; nothing is renamed then.
    """
    first, *others = dict.fromkeys(layers)
    values = {first: value}
    for layer in others:
        for one, known in structure_names(layer).items():
            if is_same(known, old):
                values[layer] = one
    changed = {layer: {**structure_names(layer), one: name} for layer, one in values.items()}
    for layer, names in changed.items():
        check_name(values[layer], names)
    written: set[Path] = set()  # an edited layer and its original are of one file
    for layer, names in changed.items():
        _show_names(layer, names)
        path = file_of(layer)
        if path is not None and path not in written:
            written.add(path)
            _write(owner, path, values[layer], names)


def show_new_name(layers: Iterable[Layer], folder: Path, value: int, name: str) -> None:
    """Let labels of a data folder that are open have the name that was written into its `dataset.json`."""
    for layer in layers:
        path = file_of(layer) if isinstance(layer, Labels) else None
        if path is not None and path.resolve().parent.parent == folder.resolve():
            _show_names(layer, {**structure_names(layer), value: name})


def is_same(name: str, other: str) -> bool:
    """Whether two names are one but for letters' case, blanks and underscores."""
    return bool(name) and plain_name(name) == plain_name(other)


def _show_names(layer: Labels, names: Mapping[int, str]) -> None:
    """In the tag, in the table that napari shows at the cursor, and in the colours, of which hidden ones stay so."""
    before = structure_names(layer)
    hidden = [value for value in names if _is_hidden(layer, value)]
    colours = {
        value: colour
        for value, colour in own_colours(layer).items()
        if colour != structure_colour(before.get(value, ""), value)  # a description keeps ours, too
    }
    own = {**tag(layer), "names": dict(names), "colours": colours}
    layer.metadata = {**layer.metadata, METADATA: own}
    layer.colormap = structure_colormap(names, hidden, colours)
    layer.features = structure_table(names)


def _is_hidden(layer: Labels, value: int) -> bool:
    colour = layer.get_color(value)
    return colour is None or bool(colour[3] == 0)


def _write(owner: QObject, file: Path, value: int, names: Mapping[int, str]) -> None:
    name = names[value]
    background(
        owner,
        f"Rename in {file.name}",
        lambda: rename_structure(file, value, names),
        lambda where: show_info(f"{name} is the name in {where.name} now."),
        failed=lambda problem: show_error(f"{name} is the name on the screen alone: {problem}"),
        quiet=True,
    )
