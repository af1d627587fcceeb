"""The growth curves of build/bench.json as docs/img/growth.svg. `python -m bench.plot`."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IN, OUT = ROOT / "build" / "bench.json", ROOT / "docs" / "img" / "growth.svg"

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 36, 44
Line = tuple[str, str, str, str, str]
"""Of a panel: rows, their figure, what it is called, colour, dashes."""
ACCOUNTS: tuple[Line, ...] = (
    ("accounts_10_in_use", "cpu_us", "10 in use", "#1f6feb", ""),
    ("accounts_1000_in_use", "cpu_us", "1,000 in use", "#1a7f37", ""),
    ("accounts_all_in_use", "cpu_us", "all in use", "#bc4c00", "5 4"),
)
PAST_CALLS: tuple[Line, ...] = (
    ("past_calls", "cpu_us", "processor time", "#1f6feb", ""),
    ("past_calls", "wall_us", "time between answers", "#8250df", "5 4"),
)


def svg(growth: dict[str, list[dict[str, float]]]) -> str:
    """Two panels: by accounts, by past calls. x logarithmic, y in microseconds from 0."""
    top = _round_up(max(row[figure] for rows, figure, *_ in (*ACCOUNTS, *PAST_CALLS) for row in growth[rows]))
    panels = [
        _panel(growth, ACCOUNTS, "accounts", "accounts in the ledger", 0, top),
        _panel(growth, PAST_CALLS, "past_calls", "past calls in the ledger", WIDTH, top),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="11" role="img"><title>Ledger cost of one call as the node grows</title>'
        f'<rect width="{2 * WIDTH}" height="{HEIGHT}" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(
    growth: dict[str, list[dict[str, float]]], lines: tuple[Line, ...], key: str, label: str, at: int, top: float
) -> str:
    ticks = [row[key] for row in growth[lines[0][0]]]
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])

    def x(value: float) -> float:
        return round(at + LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)

    parts = [f'<text x="{at + LEFT}" y="18" font-size="13">Ledger, µs per call, by {escape(label)}</text>']
    for step in range(5):
        value = top * step / 4
        parts.append(
            f'<line x1="{at + LEFT}" x2="{at + WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}" stroke="#ddd"/>'
            f'<text x="{at + LEFT - 6}" y="{y(value) + 4}" text-anchor="end" fill="#555">{value:g}</text>'
        )
    for tick in ticks:
        parts.append(
            f'<text x="{x(tick)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="#555">{_short(tick)}</text>'
        )
    legend = at + LEFT
    for name, figure, text, colour, dash in lines:
        rows = growth[name]
        points = " ".join(f"{x(row[key])},{y(row[figure])}" for row in rows)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{x(row[key])}" cy="{y(row[figure])}" r="3" fill="{colour}"/>' for row in rows]
        parts.append(
            f'<line x1="{legend}" x2="{legend + 22}" y1="{HEIGHT - 8}" y2="{HEIGHT - 8}" stroke="{colour}"'
            f' stroke-width="2" stroke-dasharray="{dash}"/><text x="{legend + 28}" y="{HEIGHT - 4}">{text}</text>'
        )
        legend += 50 + 6 * len(text)
    return "".join(parts)


def _short(value: float) -> str:
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _round_up(value: float) -> float:
    step: float = 10 ** math.floor(math.log10(value))
    return math.ceil(value / step) * step


def main() -> None:
    """Reads, draws, writes."""
    figures: dict[str, Any] = json.loads(IN.read_text())
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(svg(figures["growth"]))
    print(OUT.relative_to(ROOT))


if __name__ == "__main__":
    main()
