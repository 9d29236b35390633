"""Text of tables that a spreadsheet program would compute, and numbers that nothing may change."""

from __future__ import annotations

import csv
import io
import math

import pytest

from napari_uda.core.csv_text import csv_text, plain_text, read_csv, text_cell

FORMULAS = ("=1+1", "+5", "-case", "@sum", "\tx", "\rx", "-", "=")
PLAIN = ("case_1", "", "'quoted'", "'", "''", "a=b", " =1", "ü", "1")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert text_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", PLAIN)
def test_any_other_text_stays(text: str) -> None:
    assert text_cell(text) == text


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN, "'=1", "''=1", "'-", "'+a'"])
def test_every_text_comes_back(text: str) -> None:
    assert plain_text(text_cell(text)) == text
    assert not text_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_numbers_are_written_exactly_and_undefined_ones_left_empty() -> None:
    row = ["=case", -3, -0.1, 1e-17, math.nan, math.inf, True]
    text = csv_text(["case", *"abcdef"], [row])
    assert text == "case,a,b,c,d,e,f\n'=case,-3,-0.1,1e-17,,,True\n"


def test_a_table_is_read_as_it_was_given() -> None:
    rows = [["=a, b", 'say "x"', -1.5], ["\rc", "-", 2.0]]
    text = csv_text(["@case", "name", "position_mm"], rows)
    read = read_csv(text)
    assert [list(line) for line in read] == [["@case", "name", "position_mm"]] * 2
    assert [[*line.values()][:2] for line in read] == [row[:2] for row in rows]
    assert [float(line["position_mm"]) for line in read] == [-1.5, 2.0]


def test_other_programs_read_it_with_the_apostrophe() -> None:
    lines = list(csv.reader(io.StringIO(csv_text(["case"], [["=1+1"]]), newline="")))
    assert lines == [["case"], ["'=1+1"]]


def test_lines_of_other_lengths_and_no_lines_are_read() -> None:
    assert read_csv("") == []
    assert read_csv("a,b\n\n1\n1,2,3\n") == [{"a": "1"}, {"a": "1", "b": "2"}]
