"""Pages of a list in memory: together they are the list, whichever way it is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.errors import InvalidValue
from node_proxy.openai.paging import cut, window


def things(count: int) -> list[dict[str, Any]]:
    return [{"id": f"x_{number}"} for number in range(count)]


@given(st.integers(0, 25), st.integers(1, 10), st.sampled_from(["asc", "desc"]))
def test_pages_together_are_the_list(count: int, limit: int, order: str) -> None:
    whole = things(count)[:: 1 if order == "asc" else -1]
    forwards: list[Any] = []
    query = {"limit": str(limit), "order": order}
    while True:
        page = cut(things(count), query | ({"after": forwards[-1]["id"]} if forwards else {}))
        forwards += page["data"]
        assert len(page["data"]) <= limit
        if not page["has_more"]:
            break
    assert forwards == whole
    backwards: list[Any] = []
    while whole and len(backwards) < count - 1:
        page = cut(things(count), query | {"before": (backwards or whole[-1:])[0]["id"]})
        backwards = page["data"] + backwards
        assert page["has_more"] == (len(backwards) < count - 1)
    assert backwards == whole[:-1]


def test_both_bounds_leave_what_is_between_them() -> None:
    page = cut(things(9), {"order": "asc", "after": "x_2", "before": "x_6", "limit": "2"})
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (["x_3", "x_4"], True)
    assert (page["first_id"], page["last_id"]) == ("x_3", "x_4")
    assert cut(things(9), {"order": "asc", "after": "x_6", "before": "x_2"})["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"limit": "1" * 500}, "limit"),
        ({"limit": "000000001" + "9" * 9}, "limit"),
        ({"limit": "000000001" + "9" * 5_000}, "limit"),
        ({"limit": ""}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "x_99"}, "after"),
        ({"before": "x_99"}, "before"),
    ],
)
def test_a_mistake_is_told_by_name(query: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        cut(things(3), query)
    assert caught.value.param == param
    assert len(str(caught.value)) < 200


def test_a_query_becomes_the_arguments_of_a_look_up() -> None:
    assert window({}) == {"limit": 20, "order": "desc", "after": "", "before": ""}
    assert window({"limit": "7", "order": "asc", "after": "a"}, most=10)["limit"] == 7
