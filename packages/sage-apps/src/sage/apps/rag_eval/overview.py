"""The report: all variants on one page, and a page per comparison beside it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from sage.apps.evaluation.comparison import CERTAIN
from sage.apps.evaluation.junit import clean
from sage.apps.evaluation.plots import means_plot
from sage.apps.evaluation.report import page, write_report
from sage.apps.rag_eval.matrix import Matrix, table_rows


def write_overview(path: Path, matrix: Matrix, title: str) -> list[Path]:
    """Write ``path``, and beside it a page per variant that is compared; returns all files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pages = {name: path.with_name(f"{path.stem}-{name}.html") for name in matrix.comparisons}
    for name, file in pages.items():
        write_report(file, matrix.comparisons[name])
    path.write_text(to_html(matrix, title, pages), encoding="utf-8")
    return [path, *pages.values()]


def to_html(matrix: Matrix, title: str, pages: Mapping[str, Path]) -> str:
    """The overview."""
    rows = table_rows(matrix)
    head = "".join(f"<th>{_text(key)}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f'<td class="n">{_text(cell)}</td>' for cell in row.values()) + "</tr>"
        for row in rows
    )
    legend = (
        f"<p>Baseline: <b>{_text(matrix.baseline)}</b>. * differs from it: two-sided paired "
        f"permutation test, p below {CERTAIN} after Holm's correction for all metrics and "
        "variants.</p>"
    )
    parts = [
        f"<h1>{_text(title)}</h1>",
        legend,
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
    ]
    if pages:
        links = "".join(
            f'<li><a href="{quote(file.name)}">{_text(name)} against '
            f"{_text(matrix.baseline)}</a></li>"
            for name, file in pages.items()
        )
        parts.append(f"<p>Question by question:</p><ul>{links}</ul>")
    for metric in list(rows[0])[1:]:
        totals = [
            (name, total) for name in matrix.outcomes if (total := matrix.total(name, metric))
        ]
        parts += [f"<h2>{_text(metric)}</h2>", means_plot(metric, totals)]
    return page(clean(title), parts)


def _text(value: object) -> str:
    return escape(clean(str(value)))
