"""Tables as Markdown, CSV and LaTeX, in the layout of the papers.

Published numbers stand in columns of their own with their source, and nothing is computed from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_uda.core.csv_text import csv_text
from napari_uda.experiments.results import AVERAGE, DataResults, Number, RowResults
from napari_uda.experiments.spec import POSITION_PRIOR, Published, Spec
from napari_uda.experiments.statistics import Comparison, Test

PLUS_MINUS = "±"
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", PLUS_MINUS: r"$\pm$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: heading.
        caption: what the numbers are.
        header: groups of columns, each with the names of its columns; a group without a name is one
            of single columns.
        body: lines of cells.
        notes: sentences below it.
    """

    title: str
    caption: str
    header: list[tuple[str, list[str]]]
    body: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table as Markdown."""
        names = [f"{group} {name}".strip() for group, columns in self.header for name in columns]
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in (names, *self.body)]
        lines = [f"| {' | '.join(line)} |" for line in escaped]
        lines.insert(1, f"|{'---|' * len(names)}")
        notes = [f"- {note}" for note in self.notes]
        parts = [f"## {self.title}", self.caption, "\n".join(lines)]
        return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"

    def latex(self) -> str:
        """The table as LaTeX; needs the package booktabs."""
        names = [name for _, columns in self.header for name in columns]
        groups = [
            rf"\multicolumn{{{len(columns)}}}{{c}}{{{escape_latex(group)}}}"
            for group, columns in self.header
        ]
        body = [" & ".join(map(escape_latex, line)) + r" \\" for line in (names, *self.body)]
        notes = " ".join(self.notes)
        caption = escape_latex(f"{self.title}. {self.caption} {notes}".strip())
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{caption}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
                r"\toprule",
                *([" & ".join(groups) + r" \\"] if any(group for group, _ in self.header) else []),
                body[0],
                r"\midrule",
                *body[1:],
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def escape_latex(text: str) -> str:
    """Text with LaTeX's own signs made harmless."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def column_title(column: str) -> str:
    """A column of scores.csv as it stands above a table: `assd_mm` is "ASSD (mm)"."""
    kind, _, unit = column.partition("_")
    return f"{'Dice' if kind == 'dice' else kind.upper()} ({unit or '%'})"


def scores_table(spec: Spec, found: DataResults) -> Table:
    """Overlap and distance per structure and on average, mean and standard deviation over seeds."""
    shown = [*found.structures, AVERAGE]
    names = [*found.structures, "average"]
    header: list[tuple[str, list[str]]] = [("", ["row"])]
    header += [(column_title(column), names) for column in found.columns]
    header.append(("", ["missed", "seeds"]))
    if found.recovered:
        header.append(("", ["gap recovered (%)"]))
    if found.published:
        header.append(("published", ["Dice", "distance", "in"]))
    body, notes = [], []
    for row in found.rows:
        line = [row.name]
        for column in found.columns:
            numbers = [row.number(column, name, found.structures) for name in shown]
            line += [_number(number, column) for number in numbers]
        line += [str(row.missed(found.structures)) if row.results else "-", _seeds(row)]
        if found.recovered:
            share = found.recovered.get(row.name, math.nan)
            line.append("-" if math.isnan(share) else f"{share:.0f}")
        if found.published:
            line += _published(found.published.get(row.name))
        body.append(line)
        notes += [f"{row.name} failed for seed {seed}: {why}" for seed, why in row.failed.items()]
        if row.waiting:
            seeds = ", ".join(map(str, row.waiting))
            notes.append(f"{row.name} is not finished yet for seed {seeds}.")
    notes += [
        f"{row} used labels of the target in training ({what})."
        for row, what in found.supervision.items()
    ]
    bounds = {row.name for row in found.rows if row.results} & {spec.lower, spec.upper}
    if len(bounds) == 2 and not found.recovered:
        notes.append(f"{spec.upper} is not above {spec.lower}: there is no gap to recover.")
    return Table(f"{spec.name}: {found.data.name}", _caption(spec, found), header, body, notes)


def _caption(spec: Spec, found: DataResults) -> str:
    rules = found.protocol
    definitions = rules.definitions()
    means = "; ".join(f"{column_title(c)}: {definitions[c]}" for c in found.columns)
    unseen = f"{found.volumes} volumes scored, none of them trained on"
    if found.seen:
        unseen = (
            f"{found.volumes} volumes scored, {found.seen} of them among the target's training volumes "
            "(without their labels, but for target_supervised)"
        )
    parts = [
        f"{unseen}; split {found.split}.",
        f"Protocol {rules.name}. {means}. {rules.empty_policy[0].upper()}{rules.empty_policy[1:]}",
        f"Mean {PLUS_MINUS} sample standard deviation over seeds (one seed: no deviation); "
        "missed: total misses over volumes, structures and seeds.",
        f"Selection rule: {found.selection or 'last weights'}, target labels play no part in it.",
    ]
    if found.recovered:
        parts.append(f"Gap: average Dice between {spec.lower} and {spec.upper}.")
    if found.published:
        parts.append(
            "Published numbers are from the named papers, on their data, splits and metrics, not ours."
        )
    if found.ranks > 1:
        parts.append(f"{found.ranks} processes per run, each with the batch size of the settings.")
    return " ".join(parts)


def _number(number: Number, column: str) -> str:
    if math.isnan(number.mean):
        return "-"
    factor, digits = (100, 1) if column == "dice" else (1, 2)
    mean = f"{factor * number.mean:.{digits}f}"
    if math.isnan(number.sd):
        return mean
    return f"{mean} {PLUS_MINUS} {factor * number.sd:.{digits}f}"


def _seeds(row: RowResults) -> str:
    if row.name == POSITION_PRIOR:
        return "-"
    if row.results:
        return ", ".join(map(str, sorted(row.results)))
    return "failed" if row.failed else "-"


def _published(entry: Published | None) -> list[str]:
    if entry is None:
        return ["", "", ""]
    averages = (_average(entry.dice), _average(entry.distance))
    return [*("-" if math.isnan(value) else f"{value:g}" for value in averages), entry.source]


def _average(numbers: dict[str, float]) -> float:
    """The paper's own average, else the mean of its structures."""
    if not numbers:
        return math.nan
    return numbers.get(AVERAGE, float(np.mean(list(numbers.values()))))


def matrix_table(spec: Spec, found: DataResults, column: str) -> Table:
    """p-values of pairs of rows: above the diagonal paired over volumes, below over seeds.

    The layout of Table II of the AttENT paper, with both tests in one matrix.
    """
    rows = [row for row in found.rows if row.results]
    tests = found.comparisons[column]
    at = {row.name: index for index, row in enumerate(rows)}
    cells = [["" for _ in rows] for _ in rows]
    for each in tests:
        first, second = sorted((at[each.first], at[each.second]))
        cells[first][second] = _p_value(each.paired, each.paired_holm)
        cells[second][first] = _p_value(each.seeds, each.seeds.p)
    body = []
    for index, row in enumerate(rows):
        number = row.number(column, AVERAGE, found.structures)
        body.append([f"({index + 1}) {row.name}", _number(number, column), *cells[index]])
    counts = sorted({each.paired.n for each in tests}) or [0]
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    caption = (
        f"Two-sided p-values. Above the diagonal: Wilcoxon's signed-rank test over n = {n} pairs of "
        f"(volume, structure), seeds averaged first, with Holm's correction over the {len(tests)} pairs of "
        "rows; structures of one volume are not independent, so these p-values are on the small side. "
        "Below: Welch's t-test over the averages of the seeds, uncorrected. Blank: not tested."
    )
    header: list[tuple[str, list[str]]] = [
        ("", ["row", column_title(column)]),
        ("", [f"({index + 1})" for index in range(len(rows))]),
    ]
    title = f"{spec.name}: {found.data.name}, p-values of {column_title(column)}"
    return Table(title, caption, header, body)


def _p_value(test: Test, p: float | None) -> str:
    if p is None:
        return test.note.partition(":")[0]
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def markdown(spec: Spec, results: Sequence[DataResults]) -> str:
    """All tables of a benchmark as one Markdown page."""
    parts = [f"# {spec.name}\n"]
    for found in results:
        parts += [table.markdown() for table in _tables(spec, found)]
    return "\n".join(parts)


def latex(spec: Spec, results: Sequence[DataResults]) -> str:
    r"""All tables as LaTeX, for \input."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for found in results:
        parts += [table.latex() for table in _tables(spec, found)]
    return "\n".join(parts)


def _tables(spec: Spec, found: DataResults) -> list[Table]:
    matrices = [
        matrix_table(spec, found, column)
        for column in found.columns
        if len([row for row in found.rows if row.results]) > 1
    ]
    return [scores_table(spec, found), *matrices]


def scores_csv(results: Sequence[DataResults]) -> str:
    """One line per data set and row; Dice and shares in per cent, an undefined number is empty."""
    return _csv(score_rows(results))


def score_rows(results: Sequence[DataResults]) -> list[dict[str, object]]:
    """The same as values by column; an undefined number is NaN."""
    lines = []
    for found in results:
        for row in found.rows:
            line: dict[str, object] = {
                "data": found.data.name,
                "row": row.name,
                "protocol": found.protocol.name,
                "split": found.split,
                "n_volumes": found.volumes,
                "seeds": " ".join(map(str, sorted(row.results))),
                "failed_seeds": " ".join(map(str, sorted(row.failed))),
                "n_missing": row.missed(found.structures) if row.results else "",
            }
            for column in found.columns:
                factor = 100 if column == "dice" else 1
                name = "dice_percent" if column == "dice" else column
                for structure in (*found.structures, AVERAGE):
                    number = row.number(column, structure, found.structures)
                    line[f"{name}_{structure}"] = factor * number.mean
                    line[f"{name}_{structure}_sd"] = factor * number.sd
            line["gap_recovered_percent"] = found.recovered.get(row.name, math.nan)
            entry = found.published.get(row.name)
            if entry is not None:
                for kind, numbers in (("dice", entry.dice), ("distance", entry.distance)):
                    line |= {f"published_{kind}_{name}": value for name, value in numbers.items()}
                line["published_source"] = entry.source
            lines.append(line)
    return lines


def pvalues_csv(results: Sequence[DataResults]) -> str:
    """One line per data set, column, pair of rows and test."""
    lines = []
    for found in results:
        for column, comparisons in found.comparisons.items():
            for each in comparisons:
                lines += [
                    _test_line(found.data.name, column, each, paired) for paired in (True, False)
                ]
    return _csv(lines)


def _test_line(data: str, column: str, each: Comparison, paired: bool) -> dict[str, object]:
    test = each.paired if paired else each.seeds
    return {
        "data": data,
        "column": column,
        "test": "wilcoxon" if paired else "welch",
        "first": each.first,
        "second": each.second,
        "n": test.n,
        "statistic": math.nan if test.statistic is None else test.statistic,
        "p": math.nan if test.p is None else test.p,
        "p_holm": math.nan if each.paired_holm is None or not paired else each.paired_holm,
        "note": test.note,
    }


def _csv(lines: Sequence[dict[str, object]]) -> str:
    columns = list(dict.fromkeys(name for line in lines for name in line))
    return csv_text(columns, [[line.get(name, "") for name in columns] for line in lines])
