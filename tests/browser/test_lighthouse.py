"""Lighthouse on every kind of page. Speed is measured and written down, never asserted."""

from __future__ import annotations

import pytest

from bench.lighthouse.run import measure, missing

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_200)]

SHOWN = {
    "marketplace": "Assistant 1",
    "an assistant": "Call it",
    "wizard, step 1": "1. Describe",
    "my plans": "A hundred credits",
    "builder": "Assistant 1",
    "operator": "Settlement",
}
"""A heading that the page has only once it is all there."""


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
async def test_lighthouse_finds_every_page_accessible_and_light() -> None:
    found = {page["page"]: page for page in await measure(runs=1)}
    assert found.keys() == SHOWN.keys()
    for name, page in found.items():
        assert SHOWN[name] in page["headings"], page
        assert page["accessibility"] >= 95, page["faults"]
        assert page["kilobytes"] <= 250, page
