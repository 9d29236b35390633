"""Which method: asks what data there is, and offers only methods that can train on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal

from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import SearchableBox, check_box, label

if TYPE_CHECKING:
    from napari_uda.methods.base import MethodConfig

_WIDEST_LIST_PX = 520
_MOST_SEEN = 24
_MARK = "recommended · "
_MEASURED = "Mean Dice {:.0f} % on the phantom of the heart, CT to MR."
_LABELS_TIP = "Only for {}; no other method reads them"


@dataclass(frozen=True)
class MethodEntry:
    """What the picker says of a method; the fields are those of `methods.base.Method`, and a measurement.

    Attributes:
        dice: mean Dice in per cent of the shipped measurement; None where it was not measured.
        variant: what the method is called with `settings`, with which it needs other data; "" for itself.
        settings: those of the variant, by name.
    """

    name: str
    family: str
    paper: str
    summary: str
    needs: frozenset[str]
    needs_init: bool
    dice: float | None = None
    learns_from_corrected: bool = False
    variant: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name, and that of the variant."""
        return f"{self.name} with {self.variant}" if self.variant else self.name

    def needing_with(self, settings: MethodConfig) -> MethodEntry:
        """The same with what it needs with these settings of it."""
        from napari_uda.methods.registry import METHODS

        kind = METHODS[self.name]
        needs = frozenset[str](kind.needs_with(settings))
        return replace(self, needs=needs, needs_init=kind.needs_start_with(settings))


def read_methods() -> list[MethodEntry]:
    """Every method there is, those that learn first, each with its variants behind it.

    Those of other packages too. Loads torch: for a worker thread.
    """
    from napari_uda.experiments.recommendation import measured
    from napari_uda.methods.registry import METHODS

    dice = measured()
    found = []
    for name, kind in sorted(METHODS.items(), key=lambda item: not item[1].learns):
        entry = MethodEntry(
            *(name, kind.family, kind.paper, kind.summary, frozenset(kind.needs), kind.needs_init),
            dice.get(name),
            kind.learns_from_corrected,
        )
        found.append(entry)
        for variant, settings in kind.variants.items():
            changed = replace(entry, dice=None, variant=variant, settings=settings)
            found.append(changed.needing_with(kind.config_class.model_validate(settings)))
    return found


class MethodPicker(Panel):
    """Four answers and the methods they leave, by family; emits `method_chosen(str)`, "" for none.

    Attributes:
        source: whether there are labelled source images.
        target: whether there are target images.
        target_labels: whether the target images have labels, for the upper bound.
        one_scan: whether one target scan is all there is, besides a trained run.
        methods: the methods, found by any part of their name or summary; the data of a family is None.
        about: idea and paper of the chosen one.
        none: said when there is no method to choose.
    """

    method_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._methods: Sequence[MethodEntry] = ()
        self._chosen = ""
        self._wanted = ""  # by the user, who may have said nothing
        self.source = check_box(
            "Source with labels",
            "Volumes of the kind that the labels belong to",
            self._on_answered,
            "have_source",
            checked=True,
        )
        self.target = check_box(
            "Target images",
            "Volumes of the kind that is to be segmented, without labels",
            self._on_answered,
            "have_target",
            checked=True,
        )
        self.target_labels = check_box(
            "Target labels too",
            _LABELS_TIP.format("the upper bound"),
            self._on_answered,
            "have_target_labels",
        )
        self.one_scan = check_box(
            "One scan only",
            "One target volume and a trained run: methods that need no source data.\n"
            "'Adapt to this volume' in the Segment dock does the same in one click.",
            self._on_answered,
            "have_one_scan",
        )
        self.methods = SearchableBox(
            "Methods that can train on these data; type a part of a name or of an idea to find one",
            self._on_picked,
            "methods",
        )
        self.methods.setMaxVisibleItems(_MOST_SEEN)
        self.methods.view().setTextElideMode(Qt.TextElideMode.ElideRight)
        self.about = label(name="about_method")
        self.none = label("No method can train on this; tick what you have.")
        answers = column(self.source, self.target, self.target_labels, self.one_scan)
        column(answers, self.none, self.methods, self.about, of=self, margin=0)
        self._offer()

    @property
    def method(self) -> MethodEntry | None:
        """The chosen method."""
        return next((one for one in self._methods if one.title == self._chosen), None)

    def set_methods(self, methods: Sequence[MethodEntry]) -> None:
        """Offer these; the first choice is the recommended one, else the first that adapts."""
        self._methods = methods
        readers = [one.name for one in methods if "target_labels" in one.needs]
        self.target_labels.setToolTip(_LABELS_TIP.format(" and ".join(readers)))
        self._offer()

    def choose(self, title: str) -> None:
        """Choose a method by its name or the title of its variant, ticking what it needs.

        Raises:
            KeyError: if there is no such method.
        """
        entry = next((one for one in self._methods if one.title == title), None)
        if entry is None:
            raise KeyError(title)
        if not entry.needs <= self.available():
            self.one_scan.setChecked(False)
            self.source.setChecked(self.source.isChecked() or "source" in entry.needs)
            self.target.setChecked(True)
            wants_labels = "target_labels" in entry.needs
            self.target_labels.setChecked(self.target_labels.isChecked() or wants_labels)
        self.methods.setCurrentIndex(self.methods.findData(title))

    def available(self) -> frozenset[str]:
        """The answers in the words of a method's `needs`."""
        if self.one_scan.isChecked():
            return frozenset({"target"})
        found = {"source"} if self.source.isChecked() else set()
        if self.target.isChecked():
            found |= {"target"} | ({"target_labels"} if self.target_labels.isChecked() else set())
        return frozenset(found)

    def _on_answered(self) -> None:
        alone = self.one_scan.isChecked()
        for box in (self.source, self.target):
            box.setEnabled(not alone)
        self.target_labels.setEnabled(not alone and self.target.isChecked())
        self._offer()

    def _offer(self) -> None:
        """List what can train on the data; a choice of the user that can is kept, else the recommended one is taken."""
        fitting = [one for one in self._methods if one.needs <= self.available()]
        adapting = [one for one in fitting if one.family != "bounds"]
        best = _best(adapting) or _best(fitting)
        kept = next((one for one in fitting if one.title == self._wanted), None)
        first = kept or best or next(iter([*adapting, *fitting]), None)
        self.methods.blockSignals(True)
        self.methods.clear()
        for family in dict.fromkeys(one.family for one in [*adapting, *fitting]):
            self.methods.add_title(family)
            for one in fitting:
                if one.family == family:
                    mark = _MARK if one is best else ""
                    self.methods.add(f"{one.title}: {mark}{one.summary}", one.title, _about(one))
        self.methods.setCurrentIndex(self.methods.findData(first.title) if first else -1)
        self.methods.blockSignals(False)
        view = self.methods.view()
        view.setMinimumWidth(min(view.sizeHintForColumn(0), _WIDEST_LIST_PX))
        self.methods.setVisible(bool(fitting))
        self.none.setVisible(not fitting and bool(self._methods))
        self._on_chosen()

    def _on_picked(self) -> None:
        """The user's choice, which stays when the answers change."""
        self._wanted = self.methods.currentData() or self._wanted
        self._on_chosen()

    def _on_chosen(self) -> None:
        """Tell of another choice; a family, which can be typed, is none."""
        title = self.methods.currentData() or ""
        if self.methods.count() and not title:
            self.methods.setCurrentIndex(self.methods.findData(self._chosen))
            return
        changed, self._chosen = title != self._chosen, title
        method = self.method
        self.about.setText("" if method is None else _about(method))
        self.about.setVisible(method is not None)
        self.methods.show_chosen()
        if changed:
            self.method_chosen.emit(title)


def _best(methods: Iterable[MethodEntry]) -> MethodEntry | None:
    """The one that was measured as best; None where none was measured."""
    known = [one for one in methods if one.dice is not None]
    return max(known, key=lambda one: one.dice or 0.0, default=None)


def _about(one: MethodEntry) -> str:
    start = " It starts from a trained run." if one.needs_init else ""
    dice = "" if one.dice is None else f" {_MEASURED.format(one.dice)}"
    return f"{one.summary[:1].upper()}{one.summary[1:]}. {one.paper}.{start}{dice}"
