"""The report as a page: one HTML file that needs no other, or the same as PDF."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.core.files import atomic_file, shown
from napari_uda.evaluation.charts import draw_curves, draw_reliability
from napari_uda.evaluation.report_content import (
    Block,
    CaseFacts,
    Curves,
    Diagram,
    Fold,
    Heading,
    Legend,
    Paragraph,
    Pictures,
    Result,
    Table,
    report_blocks,
)

__all__ = ["CaseFacts", "Result", "report_page", "write_report_page"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } h3 { font-size: 1rem; }
p.opening { font-size: 1.1rem; max-width: 50rem; }
p.verdict { border-left: .35rem solid #888; padding: .25rem .7rem; max-width: 50rem; }
p.fits { border-color: #2E9E5B; } p.doubtful { border-color: #E69F00; } p.misfit { border-color: #D62839; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #8884; }
th.word, td.word { text-align: left; }
tr.mean td { font-weight: 600; }
div.wide { overflow-x: auto; }
figure { display: inline-block; margin: .4rem .8rem .4rem 0; vertical-align: top; max-width: 20rem; }
figure.large { max-width: 29rem; }
figcaption, p.small { font-size: .85rem; opacity: .85; }
img, svg { max-width: 100%; height: auto; border-radius: 4px; }
figure.large img { width: 29rem; }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; }
.key { margin-right: 1rem; } dt { font-weight: 600; } dd { margin: 0 0 .3rem 1rem; overflow-wrap: anywhere; }
summary { font-size: 1.15rem; font-weight: 600; margin: 2rem 0 .5rem; cursor: pointer; }
@media print {
  :root { color-scheme: light; }
  @page { size: A4; margin: 15mm; }
  body { font-size: 9.5pt; max-width: none; margin: 0; padding: 0; color: #000; background: #fff; }
  h2, h3 { break-after: avoid; } figure, tr, p.verdict, svg { break-inside: avoid; }
  thead { display: table-header-group; } th, td { padding: .1rem .3rem; }
  figure { margin: 2mm 2mm 2mm 0; } figure.large { max-width: 82mm; } figure.large img { width: 82mm; }
  details::details-content { content-visibility: visible; block-size: auto; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
_VERDICTS = {"fits": "fits", "doubtful": "doubtful", "does not fit": "misfit", "not judged": ""}


def write_report_page(
    path: str | Path, title: str, results: Sequence[Result], *, reader: str = ""
) -> Path:
    """Write the report as HTML, or as PDF where the name ends with `.pdf`; whole or not at all.

    Args:
        path: of the file, which needs no other.
        title: heading.
        results: at least one.
        reader: name of who reads or signs it.

    Raises:
        InputError: without results, under different protocols, for another ending, if the folder cannot be
            written, or for PDF without matplotlib.
    """
    check_report_path(Path(path))
    blocks = report_blocks(title, results, reader=reader)
    if Path(path).suffix.lower() == ".pdf":
        from napari_uda.evaluation.report_pdf import write_pdf  # matplotlib is slow to import

        return write_pdf(Path(path), title, blocks)
    with atomic_file(path) as stream:
        stream.write(_page(title, blocks).encode())
    return Path(path)


def check_report_path(path: Path) -> None:
    """Refuse a file that no report can be written to, before any work.

    Raises:
        InputError: for another ending than .html and .pdf, or for PDF without matplotlib.
    """
    suffix = path.suffix.lower()
    if suffix not in (".html", ".htm", ".pdf"):
        raise InputError(
            f"{shown(path)}: a report is a page or a PDF; give a name that ends with .html or .pdf"
        )
    if suffix == ".pdf":
        from napari_uda.evaluation.figures import check_matplotlib

        check_matplotlib("a PDF needs matplotlib; install napari_uda[tables], or write .html")


def report_page(title: str, results: Sequence[Result]) -> str:
    """The HTML page as text, see `write_report_page`."""
    return _page(title, report_blocks(title, results))


def _page(title: str, blocks: Sequence[Block]) -> str:
    body = "\n".join(_html(block) for block in blocks)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return _paragraph(block)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Curves):
        return draw_curves(block.curves, block.x_label, block.y_label, block.top)
    if isinstance(block, Diagram):
        return draw_reliability(block.bins, block.title)
    if isinstance(block, Pictures):
        return _pictures(block)
    if isinstance(block, Legend):
        keys = (
            f'<span class="key"><i style="background:{colour}"></i>{escape(name)}</span>'
            for name, colour in block.entries.items()
        )
        return f"<p>{''.join(keys)}</p>"
    if isinstance(block, Fold):
        inner = "\n".join(_html(one) for one in block.blocks)
        return f"<details><summary>{escape(block.title)}</summary>\n{inner}\n</details>"
    return _list(block.entries)


def _paragraph(block: Paragraph) -> str:
    text = escape(block.text)
    if block.kind in _VERDICTS:
        kind = _VERDICTS[block.kind]
        return f'<p class="verdict {kind}">{text}</p>'
    if block.kind == "small":
        return f'<p class="small">{text}</p>'
    return f'<p class="{block.kind}">{text}</p>' if block.kind != "plain" else f"<p>{text}</p>"


def _pictures(block: Pictures) -> str:
    start = f"{block.prefix}: " if block.prefix else ""
    large = ' class="large"' if block.large else ""
    return "".join(
        f'<figure{large}><img alt="{escape(picture.caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(picture.png()).decode()}"><figcaption>{escape(start)}'
        f"{escape(picture.caption)}</figcaption></figure>"
        for picture in block.pictures
    )


def _table(block: Table) -> str:
    def cells(row: Iterable[str], tag: str) -> str:
        kinds = (' class="word"' if place < block.words else "" for place in range(len(block.head)))
        return "".join(
            f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True)
        )

    lines = [
        ('<tr class="mean">' if index in block.strong else "<tr>") + cells(row, "td") + "</tr>"
        for index, row in enumerate(block.rows)
    ]
    return (
        f'<div class="wide"><table><thead><tr>{cells(block.head, "th")}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _list(entries: Mapping[str, str]) -> str:
    terms = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries.items()
    )
    return f"<dl>{terms}</dl>"
