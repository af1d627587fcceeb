"""The console's committed build is what its sources make."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB, STATIC = ROOT / "web", ROOT / "node_proxy" / "web" / "static"
FIRST_LOAD = 250 * 1024
"""Bytes, packed, of the heaviest page with all that it loads at once."""


def test_the_build_was_made_from_the_sources_that_are_here() -> None:
    named = ["package-lock.json", "vite.config.ts", "index.html", "embed.html", "public/card.png", "public/favicon.svg"]
    sources = [path.relative_to(WEB).as_posix() for path in (WEB / "src").rglob("*") if path.is_file()]
    digest = hashlib.sha256()
    for name in sorted(named + sources):
        digest.update(f"{name}\0".encode() + (WEB / name).read_bytes() + b"\0")
    assert (STATIC / "sources.sha256").read_text().strip() == digest.hexdigest(), "run `npm run build` in web/"


@pytest.mark.slow
@pytest.mark.skipif(not (WEB / "node_modules").is_dir(), reason="web/node_modules is missing: make setup")
def test_the_sources_make_this_build(tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None
    subprocess.run([node, "scripts/build.mjs", str(tmp_path)], cwd=WEB, check=True, capture_output=True, timeout=110)
    built = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    committed = {path.relative_to(STATIC).as_posix(): path.read_bytes() for path in STATIC.rglob("*") if path.is_file()}
    committed.pop("sources.sha256")
    assert sorted(built) == sorted(committed)
    assert [name for name in built if built[name] != committed[name]] == []


def test_no_page_is_heavy() -> None:
    assets = {path.name: path.read_text() for path in (STATIC / "assets").iterdir()}
    sizes = {name: len(gzip.compress(text.encode(), 9)) for name, text in assets.items()}

    def needs(name: str, seen: set[str]) -> set[str]:
        """What a script imports at once, with all that follows."""
        for found in re.findall(r'from"\./([^"]+)"|import"\./([^"]+)"', assets[name]):
            other = next(filter(None, found))
            if other not in seen:
                needs(other, seen | {name})
                seen |= {other} | needs(other, seen | {other})
        return seen | {name}

    (entry,) = set(re.findall(r'src="\./assets/([^"]+\.js)"', (STATIC / "index.html").read_text()))
    always = needs(entry, set()) | {name for name in assets if name.endswith(".css")}
    heaviest = max(sum(sizes[one] for one in always | needs(name, set())) for name in assets if name.endswith(".js"))
    assert heaviest < FIRST_LOAD, f"{heaviest / 1024:.0f} KiB"


def test_the_picture_for_links_is_small_and_as_large_as_it_says() -> None:
    png = (STATIC / "card.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n")
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (1200, 630)
    assert len(png) < 60 * 1024


def test_nothing_is_loaded_from_elsewhere() -> None:
    for page in STATIC.glob("*.html"):
        text = page.read_text()
        assert re.findall(r'(?:src|href)="(?!\./|\{\{)', text) == []
        assert "<style" not in text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"\son\w+=", text)
