"""Draws what a terminal showed as an SVG: `FORCE_COLOR=1 python scripts/demo.py | python docs/img/render.py FILE`.

Reads text with ANSI colours. Fonts are the reader's: every run of text is placed at its column.
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

COLUMN, LINE, MARGIN, BAR = 8.4, 19, 22, 34
BACKGROUND, TEXT = "#0f1419", "#d5dae0"
COLOURS = {
    "2": "#7d8794",
    "31": "#f2777a",
    "32": "#8cc570",
    "33": "#e5c07b",
    "34": "#6fb3f2",
    "35": "#d49be8",
    "36": "#62c6c9",
}
_PIECE = re.compile(r"\S+(?: \S+)*")
_ESCAPE = re.compile(r"\033\[([\d;]*)m|\033\[2K")


def runs(line: str) -> list[tuple[int, str, list[str]]]:
    """(column, text, styles) of each run of text with one style and no wide gap."""
    found, column, styles, at = [], 0, list[str](), 0
    for match in [*_ESCAPE.finditer(line), None]:
        text = line[at : match.start() if match else None]
        found += [(column + piece.start(), piece[0], styles) for piece in _PIECE.finditer(text)]
        column += len(text)
        if match:
            at = match.end()
            styles = [style for style in (match[1] or "").split(";") if style not in ("", "0")]
    return found


def svg(text: str, title: str) -> str:
    """The picture."""
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.strip("\n").splitlines()]
    width = round(max(len(_ESCAPE.sub("", line)) for line in lines) * COLUMN + 2 * MARGIN)
    height = BAR + len(lines) * LINE + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="9" fill="{BACKGROUND}"/>',
        *(f'<circle cx="{MARGIN + 18 * n}" cy="18" r="5.5" fill="#3a434e"/>' for n in range(3)),
        f"<g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" "
        f'font-size="14" fill="{TEXT}">',
    ]
    for number, line in enumerate(lines):
        y = BAR + (number + 0.9) * LINE
        for column, run, styles in runs(line):
            fill = next((f' fill="{COLOURS[style]}"' for style in styles if style in COLOURS), "")
            weight = ' font-weight="600"' if "1" in styles else ""
            x, length = MARGIN + column * COLUMN, len(run) * COLUMN
            fit = f'textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"'
            parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {fit}{fill}{weight}>{escape(run)}</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(svg(sys.stdin.read(), "What `make demo` prints"), "utf-8")
