"""A plan's texts: one form of bytes, and nothing else is read."""

from __future__ import annotations

import pytest

from nvm_chain.errors import MetadataInvalid
from nvm_chain.plan_metadata import PlanMetadata

PLAN = PlanMetadata("Math tutor", "A hundred calls.\nNever expire.")


def test_a_block_reads_back_as_what_was_written() -> None:
    assert PlanMetadata.from_block(PLAN.to_block()) == PLAN
    assert PLAN.to_block() == PlanMetadata("Math tutor", "A hundred calls.\nNever expire.").to_block()


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        PLAN.to_block() + b"\n",
        PLAN.to_block().replace(b'"v":1', b'"v":2'),
        PLAN.to_block().replace(b'"type":"plan"', b'"type":"asset"'),
        PLAN.to_block().replace(b'"v":1', b'"v":1,"x":1'),
        PLAN.to_block().replace(b'"Math tutor"', b'" Math tutor "'),
        PLAN.to_block().replace(b'"Math tutor"', b"5"),
        b"x" * (32 * 1024 + 1),
    ],
)
def test_any_other_block_is_refused(block: bytes) -> None:
    with pytest.raises(MetadataInvalid):
        PlanMetadata.from_block(block)


@pytest.mark.parametrize(
    ("title", "description", "field"), [("", "", "title"), ("x" * 121, "", "title"), ("x", "y" * 5_001, "description")]
)
def test_texts_that_do_not_fit_are_refused_by_name(title: str, description: str, field: str) -> None:
    with pytest.raises(MetadataInvalid, match=field):
        PlanMetadata(title, description)
