"""Every decision that the repository cites has an entry in docs/decisions.md, and every entry is whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions.md"
FOLDERS = ("napari_uda", "tests", "docs", "benchmarks", "tools", "examples")
ENDINGS = {".py", ".yaml", ".yml", ".md", ".toml", ".ipynb"}
CODE = re.compile(r"\b[A-Z]{2}-D\d+\b")
ENTRY = re.compile(r"^### ([A-Z]{2}-D\d+): .* \{ #([a-z]{2}-d\d+) \}$", re.MULTILINE)
PARTS = ("Paper", "Authors' code", "napari_uda", "Other choice")


def texts() -> Iterator[tuple[str, str]]:
    """What can cite a decision: name and text of each file, the list of decisions included."""
    files = [*ROOT.glob("*.md"), *(f for name in FOLDERS for f in (ROOT / name).rglob("*"))]
    for file in files:
        if file.suffix in ENDINGS and file != Path(__file__):
            yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


def uncovered(cited_in: Iterable[tuple[str, str]], decisions: str) -> list[str]:
    """Codes that are cited and have no entry, with the file that cites them first."""
    entries = {code for code, _ in ENTRY.findall(decisions)}
    places: dict[str, str] = {}
    for name, text in cited_in:
        for code in CODE.findall(text):
            places.setdefault(code, name)
    return [f"{code} in {place}" for code, place in sorted(places.items()) if code not in entries]


def test_every_cited_decision_has_an_entry() -> None:
    assert uncovered(texts(), DECISIONS.read_text(encoding="utf-8")) == []


def test_code_and_recipes_are_read() -> None:
    cited = {code for name, text in texts() for code in CODE.findall(text) if "docs" not in name}
    assert {"SE-D1", "SE-D9", "AT-D5", "AT-D15", "SF-D1", "SF-D14"} <= cited


def test_a_planted_citation_is_found() -> None:
    decisions = DECISIONS.read_text(encoding="utf-8")
    planted = [("napari_uda/methods/planted.py", '"""As published (SE-D1), but see SE-D99."""')]
    assert uncovered(planted, decisions) == ["SE-D99 in napari_uda/methods/planted.py"]


@pytest.mark.parametrize(
    ("letters", "count"),
    {
        "SE": 16,
        "AT": 15,
        "SF": 17,
        "CR": 6,
        "EB": 2,
        "CG": 1,
        "MP": 3,
        "MT": 7,
        "SY": 3,
        "CY": 4,
        "SI": 6,
        "PN": 4,
    }.items(),
)
def test_the_lists_are_complete(letters: str, count: int) -> None:
    entries = ENTRY.findall(DECISIONS.read_text(encoding="utf-8"))
    wanted = [f"{letters}-D{number}" for number in range(1, count + 1)]
    assert [code for code, _ in entries if code.startswith(letters)] == wanted


def test_every_entry_is_whole() -> None:
    text = DECISIONS.read_text(encoding="utf-8")
    parts = re.split(ENTRY, text)[1:]
    for code, anchor, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        assert anchor == code.lower()
        if "This does not concern napari_uda" in body:
            continue
        assert [part for part in PARTS if f"- **{part}:**" not in body] == [], code
