"""The comparison of two runs as one HTML file that needs nothing else.

Questions, answers and names come from data and models: everything is escaped, and the page's own
policy forbids scripts and any request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from sage.apps.evaluation.comparison import CERTAIN, MetricComparison, RunComparison, table_rows
from sage.apps.evaluation.junit import clean
from sage.apps.evaluation.plots import effects_plot, histogram
from sage.apps.evaluation.summary import shown

EXAMPLES = 10
"""Questions shown per metric and direction."""
_LONG = 400

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;
color:#1c2430;background:#fff}
table{border-collapse:collapse;width:100%;font-size:14px;display:block;overflow-x:auto}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d9dee5;vertical-align:top}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
tr.sure td{font-weight:600}
svg{width:100%;max-width:760px;height:auto}
svg text{font-size:12px;fill:currentColor}
svg .axis{stroke:#8a94a3}
svg line.sure{stroke:#0b6bcb;stroke-width:3}svg circle.sure{fill:#0b6bcb}
svg line.unsure{stroke:#8a94a3;stroke-width:2}svg circle.unsure{fill:#8a94a3}
svg .up{fill:#1a7f4b}svg .down{fill:#c2410c}svg .same{fill:#8a94a3}
.warning{border-left:4px solid #c2410c;padding:.3rem .8rem;background:#fff4ee}
details{margin:.6rem 0}summary{cursor:pointer}
@media (prefers-color-scheme:dark){body{color:#e6eaf0;background:#14181f}
th,td{border-color:#333c48}.warning{background:#33211a}}
"""


def write_report(path: Path, found: RunComparison) -> None:
    """Write the report; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_html(found), encoding="utf-8")


def to_html(found: RunComparison) -> str:
    """The report."""
    title = clean(f"{found.name_b} against {found.name_a}")
    parts = [
        f"<h1>{escape(title)}</h1>",
        _head(found),
        *(f'<p class="warning">{_cut(each)}</p>' for each in found.warnings),
        _table(found),
        _legend(found),
    ]
    if found.skipped:
        parts.append(f"<p>Not in both runs: {_cut(', '.join(found.skipped))}.</p>")
    if found.metrics:
        parts += ["<h2>Differences</h2>", effects_plot(found.metrics)]
    for each in found.metrics:
        parts += _metric(found, each)
    return page(title, parts)


def page(title: str, parts: Sequence[str]) -> str:
    """A page that needs nothing else and allows nothing: no scripts, no requests.

    Args:
        title: Plain text.
        parts: HTML of the body; whoever made it has escaped what is in it.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _head(found: RunComparison) -> str:
    return (
        f"<p>A: <b>{_cut(found.name_a)}</b>. B: <b>{_cut(found.name_b)}</b>. {found.shared} "
        f"common questions ({found.only_a} only in A, {found.only_b} only in B).</p>"
    )


def _legend(found: RunComparison) -> str:
    return (
        f"<p>p: two-sided paired permutation test, corrected by Holm for {len(found.metrics)} "
        f"metrics; bold below {CERTAIN}. Intervals: paired bootstrap. Effect: Cohen's d of the "
        "differences. Scores that one run lacks are left out of both.</p>"
    )


def _table(found: RunComparison) -> str:
    rows = table_rows(found)
    if not rows:
        return "<p>No metric has scores in both runs.</p>"
    head = "".join(f"<th>{escape(key)}</th>" for key in rows[0])
    body = "".join(
        f'<tr class="{"sure" if each.is_certain else "unsure"}">'
        + "".join(f'<td class="n">{_cut(value)}</td>' for value in row.values())
        + "</tr>"
        for each, row in zip(found.metrics, rows, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _metric(found: RunComparison, metric: MetricComparison) -> list[str]:
    changed = sorted(
        (each for each in metric.values if each[1] != each[2]), key=lambda each: each[2] - each[1]
    )
    parts = [f"<h2>{_cut(metric.metric)}</h2>"]
    if not changed:
        return [*parts, "<p>No question changed.</p>"]
    parts.append(histogram(metric))
    lower = [each for each in changed if each[2] < each[1]][:EXAMPLES]
    higher = [each for each in reversed(changed) if each[2] > each[1]][:EXAMPLES]
    for label, chosen in (("lower", lower), ("higher", higher)):
        if chosen:
            parts.append(
                f"<details><summary>Questions where B is {label} the most</summary>"
                f"{_examples(found, chosen)}</details>"
            )
    return parts


def _examples(found: RunComparison, chosen: Sequence[tuple[str, float, float]]) -> str:
    rows = []
    for identity, a, b in chosen:
        row_a, row_b = found.rows_a[identity], found.rows_b[identity]
        cells = (
            _question(row_a),
            f'<td class="n">{shown(a)}</td>',
            f"<td>{_said(row_a)}</td>",
            f'<td class="n">{shown(b)}</td>',
            f"<td>{_said(row_b)}</td>",
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "<tr><th>question</th><th>A</th><th>A said</th><th>B</th><th>B said</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _question(row: Mapping[str, Any]) -> str:
    expected = " | ".join(map(str, row.get("references") or ()))
    about = _cut(row["id"]) + (f"; expected: {_cut(expected)}" if expected else "")
    return f"<td>{_cut(row.get('question'))}<br><small>{about}</small></td>"


def _said(row: Mapping[str, Any]) -> str:
    """The answer; of runs that only retrieve, the first passages."""
    if row.get("answer"):
        return _cut(row["answer"])
    names = [str(passage[0]) for passage in (row.get("passages") or ())[:5]]
    return _cut(", ".join(names))


def _cut(text: object) -> str:
    shown_text = clean("" if text is None else str(text))
    return escape(shown_text if len(shown_text) <= _LONG else shown_text[:_LONG] + "…")
