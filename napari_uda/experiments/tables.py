"""Tables as Markdown, CSV and LaTeX, in the layout of the papers.

Published numbers stand in columns of their own with their source, and nothing is computed from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_uda.core.csv_text import csv_text
from napari_uda.core.latex import escape_latex
from napari_uda.experiments.results import AVERAGE, DataResults, Number, RowResults
from napari_uda.experiments.spec import POSITION_PRIOR, Published, Spec
from napari_uda.experiments.statistics import Comparison, Test

PLUS_MINUS = "±"


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
    against = found.against
    if against:
        header.append(("compared", ["with", "gain (Dice, points)", "p"]))
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
        if against:
            line += _against(found, row, against.get(row.name, ""))
        if found.published:
            line += _published(found.published.get(row.name))
        body.append(line)
        notes += [f"{row.name} failed for seed {seed}: {why}" for seed, why in row.failed.items()]
        if row.results and row.waiting:
            seeds = ", ".join(map(str, row.waiting))
            notes.append(f"{row.name} is not finished yet for seed {seeds}.")
        if found.data.runs_of and not (row.results or row.failed or row.waiting):
            notes.append(
                f"{row.name} learnt from labels of these volumes and is not scored on them."
            )
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
        how = "" if found.data.runs_of else ", but for target_supervised"
        unseen = (
            f"{found.volumes} volumes scored, {found.seen} of them among the target's training volumes "
            f"(without their labels{how})"
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
    if found.against:
        tests = found.comparisons["dice"]
        n = " or ".join(map(str, sorted({each.paired.n for each in tests}))) or "0"
        parts.append(
            "Gain: average Dice above that of the row compared with; p: Wilcoxon's signed-rank test on Dice "
            f"over n = {n} pairs of (volume, structure), two-sided, with Holm's correction over the "
            f"{len(tests)} pairs of rows."
        )
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
    if row.failed:
        return "failed"
    return "not run" if row.waiting else "-"


def _against(found: DataResults, row: RowResults, other: str) -> list[str]:
    """Whom a row has to beat, by how many points of average Dice it does, and the p-value."""
    tests = {(each.first, each.second): each for each in found.comparisons["dice"]}
    test = tests.get((other, row.name))
    if test is None:
        return [other, "-" if other else "", "-" if other else ""]
    gain = f"{100 * gain_over(found, row, other):+.1f}"
    return [other, gain, _p_value(test.paired, test.paired_holm)]


def gain_over(found: DataResults, row: RowResults, other: str) -> float:
    """Average Dice above another row's, as a fraction; NaN where one has none."""
    own, theirs = (
        each.number("dice", AVERAGE, found.structures).mean for each in (row, found.row(other))
    )
    return own - theirs


def _published(entry: Published | None) -> list[str]:
    if entry is None:
        return ["", "", ""]
    averages = (_average(entry.dice), _average(entry.distance))
    source = f"{entry.source} ({entry.unit})" if entry.unit else entry.source
    return [*("-" if math.isnan(value) else f"{value:g}" for value in averages), source]


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
    parts += [table.markdown() for found in results for table in _tables(spec, found)]
    return "\n".join(parts)


def latex(spec: Spec, results: Sequence[DataResults]) -> str:
    r"""All tables as LaTeX, for \input."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    parts += [table.latex() for found in results for table in _tables(spec, found)]
    return "\n".join(parts)


def _tables(spec: Spec, found: DataResults) -> list[Table]:
    if spec.tested_pairs() and not spec.compare:  # each p stands beside its row
        return [scores_table(spec, found)]
    matrices = [
        matrix_table(spec, found, column)
        for column in found.columns
        if len([row for row in found.rows if row.results]) > 1
    ]
    return [scores_table(spec, found), *matrices]


COST_COLUMNS = {
    "seconds_per_step": "seconds per step",
    "peak_mib": "peak memory (MiB)",
    "parameters": "parameters (millions)",
    "networks": "networks at prediction",
    "prediction_parameters": "their parameters (millions)",
}


def cost_table(spec: Spec, results: Sequence[DataResults]) -> Table:
    """What the runs of each row cost; apart from the scores, since it is never twice the same."""
    body = []
    for line in cost_rows(results):
        cells = [str(line["row"])]
        for column in COST_COLUMNS:
            value = line[column]
            if not isinstance(value, float):
                cells.append(str(value))
            elif math.isnan(value):
                cells.append("-")
            elif column.endswith("parameters"):
                cells.append(f"{value / 1e6:.2f}")
            else:
                cells.append(f"{value:.0f}" if column == "peak_mib" else f"{value:.3f}")
        body.append(cells)
    caption = (
        "Mean over the finished runs of all data sets; the peak is the largest. Seconds: of the processor, all "
        "threads of the training together, or of the clock on a GPU. Memory: of the whole process while it "
        "trains, with its libraries and slices, or on a GPU what torch has reserved there. Parameters: of "
        "all networks that a run trains or holds, and of those that segmenting a target slice calls."
    )
    return Table(f"{spec.name}: cost", caption, [("", ["row", *COST_COLUMNS.values()])], body)


def cost_rows(results: Sequence[DataResults]) -> list[dict[str, object]]:
    """What the runs of each row cost, in the order of the rows; rows that were not measured are left out."""
    names = dict.fromkeys(row.name for found in results for row in found.rows)
    lines = []
    for name in names:
        costs = [
            result.cost
            for found in results
            for row in found.rows
            if row.name == name
            for result in row.results.values()
            if result.cost
        ]
        if not costs:
            continue
        line: dict[str, object] = {"row": name}
        for column in COST_COLUMNS:
            values = [cost[column] for cost in costs if column in cost]
            if column == "networks":
                line[column] = " + ".join(values[0]) if values else ""
            else:
                whole = max if column == "peak_mib" else np.mean
                line[column] = float(whole(values)) if values else math.nan
        lines.append(line)
    return lines


def cost_csv(results: Sequence[DataResults]) -> str:
    """The table of cost as CSV, parameters as numbers."""
    return csv_text(
        ("row", *COST_COLUMNS),
        [[line[name] for name in ("row", *COST_COLUMNS)] for line in cost_rows(results)],
    )


def scores_csv(results: Sequence[DataResults]) -> str:
    """One line per data set and row; Dice and shares in per cent, an undefined number is empty."""
    return _csv(score_rows(results))


def score_rows(results: Sequence[DataResults]) -> list[dict[str, object]]:
    """The same as values by column; an undefined number is NaN."""
    lines = []
    for found in results:
        against = found.against
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
            if row.name in against:
                line["against"] = against[row.name]
                line["gain_dice_points"] = 100 * gain_over(found, row, against[row.name])
            entry = found.published.get(row.name)
            if entry is not None:
                for kind, numbers in (("dice", entry.dice), ("distance", entry.distance)):
                    line |= {f"published_{kind}_{name}": value for name, value in numbers.items()}
                line["published_source"] = entry.source
                line["published_unit"] = entry.unit
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
