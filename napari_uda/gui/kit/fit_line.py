"""FitLine: whether a model fits an image, as one coloured line in words, with its reasons."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QPalette

from napari_uda.core.colours import readable
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import label
from napari_uda.inference.fit import Fit, Verdict

_LOOKS: dict[Verdict, tuple[str, str, str]] = {
    "fits": ("✔", "#2E9E5B", "The model fits this image"),
    "doubtful": ("▲", "#C77700", "Doubtful whether the model fits this image"),
    "does not fit": ("✖", "#D64541", "The model does not fit this image"),
    "not judged": ("–", "#808080", "Not judged whether the model fits this image"),
}
"""Sign, colour and words of a verdict; never the colour alone."""
_CONTRAST = 4.5  # of text on its background


class FitLine(Panel):
    """Shows a verdict and its first reason; a link opens the others.

    Attributes:
        text: the line.
    """

    def __init__(self, name: str = "fit") -> None:
        super().__init__()
        self._fit: Fit | None = None
        self._words = ""
        self._opened = False
        self.text = label(name=name)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.LinksAccessibleByMouse
            | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
        )
        self.text.linkActivated.connect(self._on_link)
        column(self.text, of=self, margin=0)
        self.show_fit(None)

    def show_fit(self, fit: Fit | None, words: str = "") -> None:
        """Show a verdict, or nothing.

        Args:
            fit: the verdict.
            words: what is judged, instead of this model and this image.
        """
        if fit != self._fit:
            self._opened = False
        self._fit, self._words = fit, words
        self.setVisible(fit is not None)
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        """Choose the colour anew for another theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._draw()

    def _on_link(self) -> None:
        self._opened = not self._opened
        self._draw()

    def _draw(self) -> None:
        fit = self._fit
        if fit is None:
            self.text.setText("")
            return
        sign, colour, words = _LOOKS[fit.verdict]
        background = self.palette().color(QPalette.ColorRole.Window).name()
        shown = readable(colour, background, _CONTRAST)
        lines = [f"<b style='color:{shown}'>{sign} {escape(self._words or words)}</b>"]
        said = [*fit.reasons, *([fit.note] if fit.note else [])]
        if said:
            lines[0] += f": {escape(said[0])}"
        more = len(said) - 1
        if more > 0 and self._opened:
            lines += [f"• {escape(reason)}" for reason in said[1:]]
        if more > 0:
            link = "show less" if self._opened else f"{more} more"
            lines[0 if not self._opened else -1] += f" <a href='#' style='color:{shown}'>{link}</a>"
        text = "<br>".join(lines)
        if text != self.text.text():
            self.text.setText(text)
        self.text.setToolTip(
            "\n".join(["Looked at from the image and the structures found:", *said])
        )
