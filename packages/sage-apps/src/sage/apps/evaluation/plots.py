"""Plots as inline SVG: no scripts, no fonts, nothing from elsewhere. All text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sage.apps.evaluation.comparison import MetricComparison
from sage.apps.evaluation.junit import clean
from sage.apps.evaluation.summary import shown
from sage.lib.evaluate.aggregate import Summary

WIDTH, ROW, LABEL = 720, 30, 170


def effects_plot(metrics: Sequence[MetricComparison]) -> str:
    """One line per metric: the difference in units of its own interval's reach.

    Metrics have different units, so each line has its own scale; zero is in the middle.
    """
    middle, reach = LABEL + 220, 200
    height = ROW * len(metrics) + 34
    parts = [
        _line(middle, 6, middle, height - 24, "axis"),
        _text(middle - reach, height - 6, "B lower", "start"),
        _text(middle, height - 6, "no difference", "middle"),
        _text(middle + reach, height - 6, "B higher", "end"),
    ]
    for number, each in enumerate(metrics):
        y = ROW * number + 20
        test = each.test
        scale = max(abs(test.low), abs(test.high), abs(test.difference)) or 1.0
        low, high, at = (
            middle + reach * value / scale for value in (test.low, test.high, test.difference)
        )
        kind = "sure" if each.is_certain else "unsure"
        parts += [
            _text(LABEL - 8, y + 4, each.metric, "end"),
            _line(low, y, high, y, kind),
            f'<circle class="{kind}" cx="{at:.1f}" cy="{y}" r="5"/>',
            _text(middle + reach + 14, y + 4, f"{test.difference:+.4g}", "start"),
        ]
    return _svg(height, "Differences with 95 % intervals", parts)


def means_plot(metric: str, rows: Sequence[tuple[str, Summary]]) -> str:
    """One line per run: its mean with the interval, all on one scale."""
    known = [
        (name, total.mean, total.mean if total.low is None else total.low, total.high or total.mean)
        for name, total in rows
        if total.mean is not None
    ]
    low = min((low for _, _, low, _ in known), default=0.0)
    high = max((high for _, _, _, high in known), default=1.0)
    reach, width = (high - low) or 1.0, WIDTH - LABEL - 90
    height = ROW * len(known) + 34

    def at(value: float) -> float:
        return LABEL + width * (value - low) / reach

    parts = [
        _line(LABEL, height - 24, LABEL + width, height - 24, "axis"),
        _text(LABEL, height - 6, shown(low), "start"),
        _text(LABEL + width, height - 6, shown(high), "end"),
    ]
    for number, (name, mean, least, most) in enumerate(known):
        y = ROW * number + 20
        parts += [
            _text(LABEL - 8, y + 4, name if len(name) <= 24 else name[:23] + "…", "end"),
            _line(at(least), y, at(most), y, "sure"),
            f'<circle class="sure" cx="{at(mean):.1f}" cy="{y}" r="5"/>',
            _text(LABEL + width + 14, y + 4, shown(mean), "start"),
        ]
    return _svg(height, f"{metric}: means with 95 % intervals", parts)


def histogram(metric: MetricComparison, bins: int = 21) -> str:
    """How many questions changed by how much."""
    differences = [b - a for _, a, b in metric.values]
    reach = max((abs(d) for d in differences), default=0.0) or 1.0
    counts = [0] * bins
    for d in differences:
        counts[min(bins - 1, int((d + reach) / (2 * reach) * bins))] += 1
    most = max(counts) or 1
    width, base, top = (WIDTH - 40) / bins, 130, 110
    parts = [_line(20, base, WIDTH - 20, base, "axis")]
    for number, count in enumerate(counts):
        # Most questions often do not change at all: a linear scale would hide the others.
        height = top * (count / most) ** 0.5
        center = (number + 0.5) / bins * 2 - 1
        kind = "same" if abs(center) < 1 / bins else "up" if center > 0 else "down"
        x = 20 + number * width
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{base - height:.1f}" width="{width - 2:.1f}" '
            f'height="{height:.1f}"><title>{count} questions</title></rect>'
        )
        if count:
            parts.append(_text(x + width / 2, base - height - 3, str(count), "middle"))
    parts += [
        _text(20, base + 18, f"-{shown(reach)}", "start"),
        _text(WIDTH / 2, base + 18, "0", "middle"),
        _text(WIDTH - 20, base + 18, f"+{shown(reach)}", "end"),
    ]
    return _svg(base + 26, f"{metric.metric}: changes per question (heights: square root)", parts)


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
        f"<title>{escape(clean(title))}</title>{''.join(parts)}</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(clean(text))}</text>'
