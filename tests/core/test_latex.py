from __future__ import annotations

from napari_uda.core.latex import escape_latex


def test_signs_of_latex_are_made_harmless() -> None:
    assert escape_latex("a_b & 5% \\ {x}") == r"a\_b \& 5\% \textbackslash{} \{x\}"
    assert escape_latex("p < 0.05 ± 1") == r"p \textless{} 0.05 $\pm$ 1"
