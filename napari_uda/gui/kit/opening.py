"""Open a user's files: read them in a thread, let choose between series, and show what was opened.

`open_paths` is the one way in for the docks, for drops, and for whoever shows a case. `show_units` is its second half, for
those who have read volumes themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.core.progress import told
from napari_uda.core.words import number_of
from napari_uda.data.nifti import TwoPlacements
from napari_uda.data.volume import Placement
from napari_uda.data.window import Window
from napari_uda.gui.kit.files import LayerData, shown_data
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.jobs import Job, Report, Turns, background, reporting
from napari_uda.gui.kit.layer_order import add_layer
from napari_uda.gui.kit.layers import find, outline_references, preload
from napari_uda.gui.kit.panel import Guarded
from napari_uda.gui.kit.placement_question import ask_placement
from napari_uda.gui.kit.series_choice import choose_offers
from napari_uda.run.offers import NoImageError, Offer, Offers, find_offers, read_offer
from napari_uda.run.roles import Shown

_ORDER = {"image": 0, "prediction": 1, "reference": 2, "entropy": 3, "reliability": 4}
CHECKING = ("entropy", "reliability")
"""Roles of layers for checking, which are not the first thing to see."""
_SAME_MM = 1e-3
_SAMPLE = 8
_MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class ReadVolume:
    """A volume ready to become a layer: all that takes time was done in the thread."""

    content: LayerData
    least_and_most: tuple[float, float] | None
    """Of an image: its values, for the ends of napari's contrast slider."""

    def layer(self) -> Layer:
        """The layer; the window keeps, whatever slice is shown."""
        made = Layer.create(*self.content)
        if isinstance(made, Image) and self.least_and_most is not None:
            low, high = made.contrast_limits
            least, most = self.least_and_most
            made.contrast_limits_range = (min(low, least), max(high, most))
        return made


def prepare(volume: Shown) -> ReadVolume:
    """A volume that was read, ready to be shown; for a worker thread."""
    array = volume.volume.array
    is_image = volume.role == "image" and array.size
    return ReadVolume(
        shown_data(volume), (float(array.min()), float(array.max())) if is_image else None
    )


def open_paths(
    owner: QWidget,
    viewer: ViewerModel,
    paths: Iterable[Path],
) -> Opening:
    """Open files and folders as `run.offers` understands them; returns at once.

    They are read in a thread. The user is asked where only they know: which of several series, which of two
    placements, where the image of contours lies. The view then goes to what was opened, and layers of other
    patients are hidden.

    Args:
        owner: the widget that asks; when it is destroyed nothing is opened any more.
        viewer: where the layers are added.
        paths: files and folders.

    Returns:
        What goes on, with signals for progress, words and the end, and `cancel`.
    """
    opening = Opening(owner, viewer, list(paths))
    QTimer.singleShot(0, opening.start)  # whoever called has time to listen
    return opening


class Opening(Guarded, QObject):
    """Files on their way into the viewer.

    Signals, all in the main thread: `progressed(done, total)`, with 0 and 0 for "nobody knows"; `opened(layers)` when
    all are there; `data_folder_found(path, case)` when what was opened is one, whose first case is shown;
    `failed(sentence)`, of which napari's notice tells; and at last `ended(sentence)`: what is shown now, or why
    nothing is.
    """

    progressed = Signal(int, int)
    opened = Signal(list)
    data_folder_found = Signal(object, str)
    failed = Signal(str)
    ended = Signal(str)

    def __init__(
        self,
        owner: QWidget,
        viewer: ViewerModel,
        paths: Sequence[Path],
    ) -> None:
        super().__init__(owner)
        self._owner, self._viewer = owner, viewer
        self._paths = paths
        self._job: Job | None = None
        self._turns = Turns(self)
        self._stopped = False
        self._shows = Shows()
        self._problems: list[str] = []  # of what is not opened beside the rest
        self._data_folder: Path | None = None
        self.is_running = True
        """Until `ended`."""

    @property
    def title(self) -> str:
        """What is opened: `Open ct.nii.gz`."""
        more = f" and {len(self._paths) - 1} more" if len(self._paths) > 1 else ""
        return f"Open {shown(self._paths[0])}{more}"

    def start(self) -> None:
        """Begin; `open_paths` does."""
        if self._stopped:
            self._finish("Cancelled; nothing was opened.")
        else:
            # contours are mostly drawn on an image that is open already
            folders = (tag(layer).get("folder") for layer in self._viewer.layers)
            self._look(list(dict.fromkeys(filter(None, folders))))

    def cancel(self) -> None:
        """Stop; what was not shown yet is not opened."""
        self._stopped = True
        if self._job is not None:
            self._job.cancel()

    # -- what is there ----------------------------------------------------------------------------

    def _look(self, image_folders: Sequence[Path]) -> None:
        paths = self._paths
        self._job = background(
            self._owner,
            self.title,
            lambda report, stop: _find(paths, image_folders, report, stop),
            self._on_found,
            failed=self._on_failed,
            cancelled=self._on_cancelled,
            ended=self._on_gone,
            progressed=self.progressed.emit,
        )

    def _on_found(self, found: Offers | NoImageError) -> None:
        self._job = None
        if isinstance(found, NoImageError):
            self._ask_for_image(found)
            return
        offers = list(found.offers)
        self._problems = list(found.problems)
        if found.is_choice:
            offers = choose_offers(offers, self._owner)
            if not offers:
                self._on_cancelled()
                return
        if found.data_folder is not None:
            self._data_folder = found.data_folder
            self.data_folder_found.emit(found.data_folder, offers[0].name)
        self._read(offers, "auto")

    def _ask_for_image(self, problem: NoImageError) -> None:
        folder = QFileDialog.getExistingDirectory(
            self._owner, f"Folder of the images that {shown(problem.file)} was drawn on"
        )
        if folder:
            self._look([Path(folder)])
        else:
            self._on_failed(str(problem))

    # -- reading ----------------------------------------------------------------------------------

    def _read(self, offers: Sequence[Offer], placement: Placement) -> None:
        self._job = background(
            self._owner,
            self.title,
            lambda report, stop: _read_all(offers, placement, report, stop),
            partial(self._on_read, offers),
            failed=self._on_failed,
            cancelled=self._on_cancelled,
            ended=self._on_gone,
            progressed=self.progressed.emit,
        )

    def _on_read(
        self,
        offers: Sequence[Offer],
        found: tuple[list[list[ReadVolume]], list[str]] | TwoPlacements,
    ) -> None:
        self._job = None
        if isinstance(found, TwoPlacements):
            chosen = ask_placement(found, self._owner)
            if chosen is None:
                self._on_failed(str(found))
            else:
                self._read(offers, chosen)
            return
        units, problems = found
        self._problems += problems
        self._turns.take(self._show(units))

    def _show(self, found: list[list[ReadVolume]]) -> Iterator[None]:
        try:
            yield from show_units(self._viewer, found, self._shows, lambda: self._stopped)
        except Exception:
            self._finish("Not everything could be shown.")
            raise
        if self._stopped and not self._shows.layers:
            self._on_cancelled()
            return
        self.opened.emit(self._shows.layers)
        cancelled = "Cancelled; the rest was not opened." if self._stopped else ""
        first = "" if self._data_folder is None else _first_of(self._data_folder)
        problems = f"Not opened: {'; '.join(self._problems)}." if self._problems else ""
        self._finish(" ".join(filter(None, (cancelled, self._shows.sentence(), first, problems))))

    # -- the end ----------------------------------------------------------------------------------

    def _on_failed(self, problem: str) -> None:
        self.failed.emit(problem)
        self._finish(problem)

    def _on_cancelled(self) -> None:
        self._finish("Cancelled; nothing was opened.")

    def _on_gone(self) -> None:
        if self._job is not None and not self._job.is_running:
            self._finish("")  # napari is closing, and withheld the result

    def _finish(self, sentence: str) -> None:
        if self.is_running:
            self._job, self.is_running = None, False
            self.ended.emit(sentence)
            self.deleteLater()


def _first_of(folder: Path) -> str:
    return f"It is the first case of {shown(folder)}; the tab Cases of the Data dock lists all."


def _find(
    paths: Sequence[Path], folders: Sequence[Path], report: Report, stop: threading.Event
) -> Offers | NoImageError:
    """In the thread."""
    with told(reporting(report, stop)):
        try:
            return find_offers(paths, folders)
        except NoImageError as problem:
            return problem  # a question, to be asked in the main thread


def _read_all(
    offers: Sequence[Offer], placement: Placement, report: Report, stop: threading.Event
) -> tuple[list[list[ReadVolume]], list[str]] | TwoPlacements:
    """In the thread: what could be read, and what is wrong with the rest."""
    units: list[list[ReadVolume]] = []
    problems: list[InputError] = []
    with told(reporting(report, stop)):
        preload()
        for offer in offers:
            try:
                units.append([prepare(one) for one in read_offer(offer, placement)])
            except TwoPlacements as problem:
                return problem
            except InputError as problem:
                problems.append(problem)
    if problems and not units:
        raise problems[0]
    return units, [str(problem) for problem in problems]


# -- what is seen -----------------------------------------------------------------------------------


@dataclass(eq=False)
class Shows:
    """What became of volumes that were opened."""

    layers: list[Layer] = field(default_factory=list)
    """Theirs, images first; an image that is open already is not opened twice."""
    hidden: list[Layer] = field(default_factory=list)
    """Those of other patients or places that were seen before."""

    def sentence(self) -> str:
        """What was opened, and what is hidden now."""
        if not self.layers:
            return ""
        first = self.layers[0]
        sizes = " x ".join(str(size) for size in first.data.shape)
        steps = " x ".join(f"{step:.3g}" for step in first.scale)
        text = f"{first.name}: {sizes} voxels of {steps} mm"
        if isinstance(first, Image):
            low, high = (float(limit) for limit in first.contrast_limits)
            text += f", {Window.between(low, high)}"
        more = len(self.layers) - 1
        text += f", and {number_of(more, 'more layer')}." if more else "."
        names = sorted({str(tag(layer).get("case") or layer.name) for layer in self.hidden})
        if names:
            named = ", ".join(names[:_MOST_NAMED]) + (
                " and others" if len(names) > _MOST_NAMED else ""
            )
            are = "is" if len(names) == 1 else "are"
            text += f" {named} {are} hidden: another patient or place; the eye of a layer shows it."
        return text


def show_units(
    viewer: ViewerModel,
    units: Sequence[Sequence[ReadVolume]],
    shows: Shows,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Add what was read, one layer at a time, and go there: the first unit is seen.

    Args:
        viewer: where the layers are added.
        units: volumes that belong together, such as those of a case.
        shows: is told what becomes of them.
        is_stopped: whether no further unit is wanted.
    """
    earlier = list(viewer.layers)
    for unit in units:
        if is_stopped():
            break
        layers = sorted((one.layer() for one in unit), key=opening_order)
        layers = [_open_already(earlier, layer) or layer for layer in layers]
        first = shows.layers[0] if shows.layers else layers[0]
        seen = belongs(layers[0], first) or _lies_on(first, layers[0])
        for layer in layers:
            layer.visible = seen and tag(layer).get("role") not in CHECKING
            if layer not in viewer.layers:
                add_layer(viewer, layer)
            shows.layers.append(layer)
            yield
    shows.layers = [layer for layer in shows.layers if layer in viewer.layers]  # some may be gone
    for case in {tag(one).get("case") for one in shows.layers}:
        if case and find(viewer, role="prediction", case=case) is not None:
            outline_references(viewer, case)
    if shows.layers:
        go_to(viewer, [layer for layer in earlier if layer not in shows.layers], shows)


def go_to(viewer: ViewerModel, earlier: Sequence[Layer], shows: Shows) -> None:
    """Hide the layers of other patients, and go to what was opened.

    Structures alone leave the slice where it is, as long as an image is seen.
    """
    first = min(shows.layers, key=opening_order)
    for layer in earlier:
        if layer.visible and not belongs(layer, first):
            layer.visible = False
            shows.hidden.append(layer)
    sees_image = any(isinstance(layer, Image) and layer.visible for layer in viewer.layers)
    if isinstance(first, Image) or not sees_image:
        look_at(viewer, first)


def _open_already(earlier: Sequence[Layer], new: Layer) -> Layer | None:
    """The layer that shows the same image; structures may have been edited, so that they are never the same."""
    own = tag(new)
    if own.get("role") != "image":
        return None
    sample = (slice(None, None, _SAMPLE),) * 3
    for layer in earlier:
        other = tag(layer)
        same = all(other.get(key) == own.get(key) for key in ("role", "case", "folder", "shape"))
        same = same and np.array_equal(other["affine"], own["affine"])
        if same and np.array_equal(layer.data[sample], new.data[sample]):
            return layer
    return None


def look_at(viewer: ViewerModel, layer: Layer) -> None:
    """Show the middle of a 3-D layer, as large as the canvas allows, and select it."""
    middle = layer.data_to_world([size // 2 for size in layer.data.shape])
    axes = range(viewer.dims.ndim - layer.ndim, viewer.dims.ndim)
    viewer.dims.set_point(list(axes), [float(at) for at in middle])
    viewer.reset_view(layers=[layer])
    viewer.layers.selection.active = layer


def belongs(earlier: Layer, new: Layer) -> bool:
    """Whether a layer is of the same patient in the same place as one that is opened, as far as they tell.

    They do when they have one frame of reference (DICOM), or are one case of one folder, or when structures are
    opened that lie on the same grid. Layers that are not of this package stay as they are.
    """
    one, other = tag(earlier), tag(new)
    if "affine" not in one:
        return True
    if one.get("frame") and other.get("frame"):
        return bool(one["frame"] == other["frame"])
    folders = {own["folder"] for own in (one, other) if own.get("folder")}
    if one.get("case") == other.get("case") and len(folders) < 2:
        return True
    same_grid = one.get("shape") == other.get("shape") and np.allclose(
        one["affine"], other["affine"], rtol=0, atol=_SAME_MM
    )
    return bool(same_grid and other.get("role") != "image")


def _lies_on(first: Layer, new: Layer) -> bool:
    """Whether structures are of the case that is seen, though they come from another folder, and on its grid."""
    return tag(first).get("case") == tag(new).get("case") and belongs(first, new)


def opening_order(layer: Layer) -> int:
    """Which of several layers is added before others: the image first."""
    return _ORDER.get(tag(layer).get("role", ""), 0)
