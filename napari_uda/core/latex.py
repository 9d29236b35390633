"""Text for LaTeX."""

from __future__ import annotations

_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "–": "--", "×": r"$\times$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Text with LaTeX's own signs, and some that its fonts lack, as commands."""
    return "".join(_SIGNS.get(letter, letter) for letter in text)
