"""The event-stream reader, against any way of cutting a stream into chunks."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.relay import sse
from node_proxy.relay.sse import Event, EventTooLong, Parser

LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)


def read(chunks: list[bytes], limit: int = 10_000) -> list[Event]:
    parser = Parser(limit)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(ends)]


@given(
    st.lists(st.tuples(LINES, st.lists(LINES, min_size=1, max_size=3)), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(min_value=0), max_size=30),
)
def test_events_are_the_same_however_the_stream_is_cut(
    events: list[tuple[str, list[str]]], line_end: str, places: list[int]
) -> None:
    stream = b"".join(
        (f"event: {name}{line_end}" + "".join(f"data: {line}{line_end}" for line in lines) + line_end).encode()
        for name, lines in events
    )
    expected = [Event(name.encode(), "\n".join(lines).encode()) for name, lines in events]
    assert read(cut(stream, places)) == expected
    assert read([stream[i : i + 1] for i in range(len(stream))]) == expected


def test_an_event_is_given_back_with_its_blank_line_and_not_later() -> None:
    parser = Parser(1000)
    assert [*parser.feed(b"data: one\n")] == []
    assert [*parser.feed(b"\ndata: tw")] == [Event(b"", b"one")]
    assert [*parser.feed(b"o\n\n")] == [Event(b"", b"two")]


def test_a_carriage_return_ends_an_event_without_waiting_for_more() -> None:
    assert read([b"data: a\r\r"]) == [Event(b"", b"a")]
    assert read([b"data: a\r", b"\n\r", b"\ndata: b\r\n\r\n"]) == [Event(b"", b"a"), Event(b"", b"b")]


def test_comments_ids_and_unknown_fields_are_left_out() -> None:
    assert read([b": ping\n\nid: 1\nretry: 5\nfoo\ndata:x\n\n: bye\n\n"]) == [Event(b"", b"x")]


def test_a_byte_order_mark_is_skipped() -> None:
    assert read([b"\xef", b"\xbb\xbfdata: x\n\n"]) == [Event(b"", b"x")]


def test_the_leading_space_of_a_value_is_dropped_once() -> None:
    assert read([b"data:  x\n\ndata:x\n\ndata\n\n"]) == [Event(b"", b" x"), Event(b"", b"x"), Event(b"", b"")]


def test_an_unfinished_event_at_the_end_never_happened() -> None:
    assert read([b"data: x\n\ndata: y\n"]) == [Event(b"", b"x")]


def test_an_event_that_is_too_long_is_refused_before_it_is_complete() -> None:
    parser = Parser(100)
    parser.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLong):
        parser.feed(b"x" * 90)


def test_a_long_run_of_short_events_is_not_too_long() -> None:
    assert len(read([b"data: x\n\n" * 1000], limit=50)) == 1000


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), max_size=5))
def test_what_is_written_is_read_back(value: dict[str, str]) -> None:
    (event,) = read([sse.event("response.created", value)])
    assert event.name == b"response.created"
    assert orjson.loads(event.data) == value


def test_a_comment_can_not_smuggle_an_event_in() -> None:
    assert read([sse.comment("a\n\ndata: b\r\n\r\n")]) == []
