"""The question, asked once, whether napari's own File > Open shall read medical volumes with this package."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_uda.core.files import is_folder, volume_suffix
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.layout import column, row
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import button, label

PATTERNS = (
    "*.nii.gz", "*.nii", "*.nii.zst", "*.mgz", "*.mgh", "*.nrrd", "*.nhdr", "*.mha", "*.mhd", "*.dcm",
    "*/[Dd][Ii][Cc][Oo][Mm]/", "*/[Dd][Ii][Cc][Oo][Mm]/*/", "*/[12].[0-9]*.[0-9]*.[0-9]*.[0-9]*/",
    "*/P[AT][0-9][0-9][0-9]*/", "*/ST[0-9][0-9][0-9]*/", "*/SE[0-9][0-9][0-9]*/",
)  # fmt: skip
"""Names of files and folders that napari claims as well, and cannot read as volumes; it looks at nothing but names.
Folders of DICOM are called so, have a UID for a name, or those that archives write on disks, such as `PA000001/ST000001/SE000001`.
`.hdr` is also a kind of photograph."""


class ReaderQuestion(Panel):
    """Two lines and two buttons that come with the first volume that was opened, and with none after the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.text = label(name="reader_question")
        self.yes = button(
            "Yes",
            "napari keeps it under Preferences > Plugins, where it can be taken back",
            self._on_yes,
            "reader_yes",
        )
        self.no = button(
            "No",
            "File > Open keeps asking for a reader; choose napari_uda",
            self._on_no,
            "reader_no",
        )
        self._folders: list[Path] = []
        column(self.text, row(self.yes, self.no, ...), of=self, margin=0, spacing=2)

    def offer(self, opened: Iterable[Path]) -> None:
        """Ask unless it was answered, or napari knows already; an earlier yes counts for DICOM folders, too."""
        answer = preferences.reader_answer()
        self._folders += [path for path in opened if is_folder(path)]
        suffixes = sorted({volume_suffix(path) for path in opened} - {""})
        known = preferences.napari_readers()
        if known is None or answer == "no":
            return
        if answer == "yes":
            self._prefer_folders()
            return
        if suffixes and all(f"*{suffix}" in known for suffix in suffixes):
            return
        kind = suffixes[0] if suffixes else "DICOM"
        self.text.setText(
            f"Open {kind} and other medical volumes with napari_uda from now on, also by File > Open?"
        )
        self.show()

    def _on_yes(self) -> None:
        preferences.remember_reader_answer("yes")
        preferences.prefer_reader(PATTERNS)
        self._prefer_folders()
        self.hide()

    def _on_no(self) -> None:
        preferences.remember_reader_answer("no")
        self.hide()

    def _prefer_folders(self) -> None:
        """Folders have no suffix: those that lie beside one that was opened are read alike."""
        preferences.prefer_reader(f"{folder.resolve().parent}/*/" for folder in self._folders)
        self._folders = []
