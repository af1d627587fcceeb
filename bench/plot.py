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
LINES = (("cpu_us", "processor time", "#1f6feb", ""), ("wall_us", "time between answers", "#8250df", "5 4"))


def svg(growth: dict[str, list[dict[str, float]]]) -> str:
    """Two panels: by accounts, by past calls. x logarithmic, y in microseconds from 0."""
    top = _round_up(max(row[name] for rows in growth.values() for row in rows for name, *_ in LINES))
    panels = [
        _panel(growth["accounts"], "accounts", "accounts in the ledger", 0, top),
        _panel(growth["past_calls"], "past_calls", "past calls in the ledger", WIDTH, top),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="11" role="img"><title>Ledger cost of one call as the node grows</title>'
        f'<rect width="{2 * WIDTH}" height="{HEIGHT}" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(rows: list[dict[str, float]], key: str, label: str, at: int, top: float) -> str:
    low, high = math.log10(rows[0][key]), math.log10(rows[-1][key])

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
    for row in rows:
        parts.append(
            f'<text x="{x(row[key])}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="#555">{row[key]:,}</text>'
        )
    for number, (name, text, colour, dash) in enumerate(LINES):
        points = " ".join(f"{x(row[key])},{y(row[name])}" for row in rows)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{x(row[key])}" cy="{y(row[name])}" r="3" fill="{colour}"/>' for row in rows]
        legend = at + LEFT + number * 160
        parts.append(
            f'<line x1="{legend}" x2="{legend + 22}" y1="{HEIGHT - 8}" y2="{HEIGHT - 8}" stroke="{colour}"'
            f' stroke-width="2" stroke-dasharray="{dash}"/><text x="{legend + 28}" y="{HEIGHT - 4}">{text}</text>'
        )
    return "".join(parts)


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
