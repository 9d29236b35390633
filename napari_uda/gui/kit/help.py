"""The page behind the ? of a dock: what the dock does, its keys as they are now, and where the manual is."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QTextBrowser, QToolButton, QWidget

from napari_uda.gui.kit.keys import keys_of
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.letters import digits_of
from napari_uda.gui.kit.panel import Guarded
from napari_uda.gui.kit.widgets import button, named, tool_button

_SIZE = 460, 420


def help_button(dock: QWidget, title: str, lines: Sequence[str]) -> QToolButton:
    """The ? of a dock.

    Args:
        dock: whose keys are listed.
        title: its name, also that of its page in the manual.
        lines: what it does, a sentence or two each.
    """
    return tool_button(
        "?",
        f"What {title} does, and its keys",
        lambda: HelpPage(dock, title, lines).show(),
        "help",
    )


class HelpPage(Guarded, QDialog):
    """A window of its own; the dock stays in use."""

    def __init__(self, dock: QWidget, title: str, lines: Sequence[str]) -> None:
        super().__init__(dock)
        self.setObjectName("help_page")
        self.setWindowTitle(f"Help: {title}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.text = named(QTextBrowser(), "help_text", f"Help: {title}")
        self.text.setOpenExternalLinks(True)
        self.text.setHtml(page(title, lines, [*keys_of(dock), *digits_of(dock)]))
        column((self.text, 1), button("Close", "", self._on_close, "close_help"), of=self)
        self.resize(*_SIZE)

    def _on_close(self) -> None:
        self.close()


def page(title: str, lines: Sequence[str], keys: Sequence[tuple[str, str]]) -> str:
    """The help as HTML.

    Args:
        title: the dock's name.
        lines: what it does.
        keys: each with what it does.
    """
    parts = [f"<h3>{escape(title)}</h3>", *(f"<p>{escape(line)}</p>" for line in lines)]
    if keys:
        rows = "".join(
            f"<tr><td><b>{escape(key)}</b>&nbsp;&nbsp;</td><td>{escape(what)}</td></tr>"
            for key, what in keys
        )
        change = (
            "File &gt; Preferences &gt; Shortcuts changes the keys that stand without Alt. Alt with the "
            "underlined letter presses a button or leads to its field; Tab goes from one to the next."
        )
        parts += ["<h4>Keys</h4>", f"<table>{rows}</table>", f"<p>{change}</p>"]
    name = f"docs/docks/{title.lower()}.md"
    file = Path(__file__).parents[3] / name  # not in a wheel
    manual = f'<a href="{file.as_uri()}">{name}</a>' if file.is_file() else name
    parts.append(f"<p>More about this dock: {manual} of the sources of napari_uda.</p>")
    return "".join(parts)
