"""The place of the docks: one bar of tabs in the order of work, and a width that leaves the canvas its share."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import (
    QApplication,
    QDockWidget,
    QLabel,
    QMainWindow,
    QSizePolicy,
    QTabBar,
    QTabWidget,
    QWidget,
)

from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.letters import look_again
from napari_uda.gui.kit.panel import Guarded, Panel, delay
from napari_uda.gui.kit.widgets import label

DOCKS = ("Data", "Train", "Segment", "Translate", "Score", "View")
"""The tabs, from top to bottom."""
CANVAS_SHARE = 0.55
"""Of the window's width; a dock that opens takes no more than is left beside napari's own."""
_LEAST_WIDTH, _SMALLEST, _ANY = 200, 50, 1
# of a dock; with less, napari's own controls give way as far as their words fit
_ENOUGH_WIDTH, _ENOUGH_SHARE = 300, 0.2  # of the window, where that is more
_CONTROLS, _CONTROLS_WIDTH = "layer controls", 290
_ASKED = "napari_uda_dock_width"
_FRAME = 10  # between the canvas and the room it is in
_RIGHT = Qt.DockWidgetArea.RightDockWidgetArea
_AT_THE_SIDE = QTabBar.Shape.RoundedEast, QTabBar.Shape.RoundedWest
_TAB_STYLE = "QTabBar::tab { padding: 4px 1px; margin: 0; }"
NAME_END = " (napari_uda)"
"""What napari puts behind the title of a dock."""
_LATER_END = f" later{NAME_END}"


def share_place(widget: QWidget) -> None:
    """Let a dock join the others of napari_uda when it is first shown; where it goes later is the user's.

    From then on its tab has a short name, and a menu that would hide it brings it to the front instead: what
    closes it are the buttons of its title.
    """
    _Place(widget)


def bring_to_front(widget: QWidget) -> None:
    """Show the dock that holds a widget, in front of the tabs beside it."""
    dock = _dock_of(widget)
    if dock is not None:
        dock.show()
        dock.raise_()


def bring_tab_to_front(viewer: Viewer, title: str) -> None:
    """Show a dock, or its tab, in front of the others."""
    tabs = viewer.window.dock_widgets
    found = tabs.get(f"{title}{NAME_END}") or tabs.get(f"{title}{_LATER_END}")
    if found is not None:
        bring_to_front(found)


class _Place(Guarded, QObject):
    """Joins at the first show of a widget, before anything is drawn, and then watches over its dock.

    napari's menus turn around whether a dock is visible, so they would hide what the user asks for. They do
    it without closing it first, as the buttons of the title do.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._dock: QDockWidget | None = None
        self._is_closed = False
        self._squeezed: QTimer | None = None
        # napari stacks a new dock below the others first, and Qt would make a low window higher for good
        widget.setMinimumHeight(_ANY)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kinds = QEvent.Type
        if watched is not self._widget and watched is not self._dock:
            if event.type() == kinds.Resize and self._squeezed is not None:
                if QApplication.mouseButtons() & Qt.MouseButton.LeftButton:
                    self._asked = 0  # the user draws the line between them
                self._squeezed.start()
        elif watched is self._widget:
            if event.type() == kinds.Show:
                self._widget.removeEventFilter(self)
                self._on_first_show()
                self._widget.setMinimumHeight(getattr(self._widget, "least_height", 0))
        elif event.type() == kinds.LayoutRequest and self._dock is not None:
            self._let_shrink(self._dock)
        elif event.type() == kinds.Close:
            self._is_closed = True
        elif event.type() == kinds.Hide and not self._is_closed and self._is_hidden():
            QTimer.singleShot(0, self._on_wanted)
        elif event.type() == kinds.ShowToParent and self._dock is not None:
            self._is_closed = False
            self._dock.raise_()  # else a tab that was hidden comes back behind the others
        return False

    @property
    def _asked(self) -> int:
        """Pixels that the docks of the window were given last, which their content may not have allowed yet."""
        return int(self._widget.window().property(_ASKED) or 0)

    @_asked.setter
    def _asked(self, pixels: int) -> None:
        self._widget.window().setProperty(_ASKED, pixels)

    def _is_hidden(self) -> bool:
        """Whether the dock itself was hidden, and not the window around it."""
        return self._dock is not None and self._dock.isHidden()

    def _on_first_show(self) -> None:
        dock = _dock_of(self._widget)
        window = None if dock is None else dock.parentWidget()
        if dock is None or not isinstance(window, QMainWindow):
            return
        self._dock = dock
        full = dock.windowTitle()
        title = full.removesuffix(_LATER_END).removesuffix(NAME_END)
        dock.setWindowTitle(title)
        for words in dock.titleBarWidget().findChildren(QLabel):
            words.setText(words.text().replace(full, title))
        dock.installEventFilter(self)
        dock.visibilityChanged.connect(self._on_seen)
        for waiting in window.findChildren(_Later):
            if waiting.title == title and waiting is not self._widget:
                QTimer.singleShot(0, waiting.leave)
        if dock.isFloating():
            return
        # six names do not fit below a narrow dock
        window.setTabPosition(_RIGHT, QTabWidget.TabPosition.East)
        area = window.dockWidgetArea(dock)
        others = [
            other
            for other in window.findChildren(QDockWidget)
            if other is not dock
            and other.objectName().endswith(NAME_END)
            and other.isVisible()
            and not other.isFloating()
            and window.dockWidgetArea(other) == area
        ]
        if others and dock.objectName().endswith(NAME_END):
            window.tabifyDockWidget(others[-1], dock)
            for later in sorted(others, key=_rank):
                if _rank(later) > _rank(dock):  # to the end, one after the other
                    window.tabifyDockWidget(dock, later)
            dock.raise_()
        window.centralWidget().installEventFilter(self)
        self._squeezed = delay(self, 0, self._on_squeezed)
        QTimer.singleShot(0, self._on_placed)

    def _on_squeezed(self) -> None:
        """The window or napari's own docks changed: keep the share, unless the user chose the width."""
        dock = _dock_of(self._widget)
        if dock is not None and dock.width() <= self._asked:
            self._on_placed()

    def _on_placed(self) -> None:
        """Leave the canvas its share of the window; the user may give the dock more."""
        dock = _dock_of(self._widget)
        window = None if dock is None else dock.parentWidget()
        if dock is None or not isinstance(window, QMainWindow) or dock.isFloating():
            return
        if self._widget.visibleRegion().isEmpty():  # behind a tab, with the width of long ago
            return
        tabs = _tabs_beside(window) if window.tabifiedDockWidgets(dock) else 0
        sides = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
        missing = round(CANVAS_SHARE * window.width()) + _FRAME - window.centralWidget().width()
        area, wanted = window.dockWidgetArea(dock), dock.width()
        enough = max(_ENOUGH_WIDTH, round(_ENOUGH_SHARE * window.width()))
        if area not in sides or not missing or (missing < 0 and wanted >= enough):
            self._asked = wanted
            return
        docks, widths = [dock], [min(wanted - missing, max(wanted, enough))]
        controls = window.findChild(QDockWidget, _CONTROLS)
        if controls is not None and _takes_width(controls, window, area):
            given = min(_ENOUGH_WIDTH - widths[0], controls.width() - _CONTROLS_WIDTH)
            if given > 0:
                _let_narrow(controls)
                docks.append(controls)
                widths = [widths[0] + given, controls.width() - given]
        self._asked = widths[0] = max(_LEAST_WIDTH, widths[0])
        widths[0] += tabs
        window.resizeDocks(docks, widths, Qt.Orientation.Horizontal)

    def _let_shrink(self, dock: QDockWidget) -> None:
        """Forget what the content needed before.

        napari gives its docks a least size, and what Qt adds to it for the content then stays for good.
        """
        content, before = self._widget.minimumSizeHint(), dock.minimumSize()
        frame = dock.titleBarWidget().height() + 2
        if before.width() > max(content.width(), _SMALLEST):
            dock.setMinimumWidth(_SMALLEST)
            if self._asked < dock.width() == before.width():
                QTimer.singleShot(0, self._on_placed)
        if before.height() > max(content.height() + frame, _SMALLEST):
            dock.setMinimumHeight(_SMALLEST)

    def _on_seen(self) -> None:
        """Another tab is in front: its letters are others, and so may be its width."""
        look_again(self._widget)
        if self._squeezed is not None:
            self._squeezed.start()

    def _on_wanted(self) -> None:
        if self._dock is not None and _dock_of(self._widget) is self._dock:  # not taken out
            bring_to_front(self._widget)


def wait_for(viewer: Viewer, title: str) -> None:
    """Add the tab of a dock, which is only built when it is first looked at; the dock takes the place of the tab."""
    tabs = viewer.window.dock_widgets
    if f"{title}{NAME_END}" in tabs:  # it is built
        viewer.window.add_plugin_dock_widget("napari_uda", title)[0].show()
    elif f"{title}{_LATER_END}" in tabs:
        bring_to_front(tabs[f"{title}{_LATER_END}"])
    else:
        _Later(viewer, title)


def waiting(viewer: Viewer) -> list[str]:
    """Titles of the tabs whose docks are not built yet."""
    found = (one for one in viewer.window.dock_widgets.values() if isinstance(one, _Later))
    return [one.title for one in found if (dock := _dock_of(one)) and not dock.isHidden()]


def in_front(viewer: Viewer) -> str:
    """Title of the dock that is seen, or whose tab is; "" where none is."""
    tabs = viewer.window.dock_widgets
    seen = (tabs.get(f"{title}{end}") for title in DOCKS for end in (NAME_END, _LATER_END))
    first = next((one for one in seen if one and not one.visibleRegion().isEmpty()), None)
    dock = None if first is None else _dock_of(first)
    return "" if dock is None else dock.windowTitle()


def built(viewer: Viewer) -> set[str]:
    """Titles of the docks that are more than a tab."""
    return {title for title in DOCKS if f"{title}{NAME_END}" in viewer.window.dock_widgets}


class _Later(Panel):
    """Holds the tab until it is painted."""

    def __init__(self, viewer: Viewer, title: str) -> None:
        super().__init__()
        self._viewer, self.title = viewer, title
        column(label(f"{title} opens…"), ..., of=self)
        share_place(self)
        self._seen = delay(self, 0, self._on_seen)
        viewer.window.add_dock_widget(self, name=f"{title}{_LATER_END}", area="right").show()

    def paintEvent(self, event: QPaintEvent) -> None:
        """It is in front."""
        super().paintEvent(event)
        self._seen.start()

    def _on_seen(self) -> None:
        if not self.visibleRegion().isEmpty():
            self._viewer.window.add_plugin_dock_widget("napari_uda", self.title)

    def leave(self) -> None:
        """Make room for the dock."""
        if _dock_of(self) is not None:
            self._viewer.window.remove_dock_widget(self)
            self.deleteLater()


def _rank(dock: QDockWidget) -> int:
    """Place among the tabs."""
    return DOCKS.index(dock.windowTitle()) if dock.windowTitle() in DOCKS else -1


def _tabs_beside(window: QMainWindow) -> int:
    """Pixels of the tabs of docks where they stand at the side, made as slim as their words; Qt counts them in."""
    bars = [bar for bar in window.findChildren(QTabBar) if bar.parent() is window]
    beside = [bar for bar in bars if bar.isVisible() and bar.shape() in _AT_THE_SIDE]
    for bar in beside:
        if bar.styleSheet() != _TAB_STYLE:
            bar.setStyleSheet(_TAB_STYLE)
    return max((bar.sizeHint().width() for bar in beside), default=0)


def _takes_width(controls: QDockWidget, window: QMainWindow, area: Any) -> bool:
    """Whether napari's controls stand at the other side of the window than an area."""
    seen = controls.isVisible() and not controls.isFloating()
    return seen and window.dockWidgetArea(controls) not in (
        area,
        Qt.DockWidgetArea.BottomDockWidgetArea,
    )


def _let_narrow(controls: QDockWidget) -> None:
    """Let napari's controls be as narrow as their words: their combo boxes ask for their longest entry."""
    content = controls.widget()
    policy = content.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
    content.setSizePolicy(policy)
    content.setMinimumWidth(_CONTROLS_WIDTH)
    controls.setMinimumWidth(_CONTROLS_WIDTH)


def _dock_of(widget: QWidget) -> QDockWidget | None:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent
