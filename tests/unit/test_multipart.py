"""Forms with files: whatever is in a file comes out of it, and whatever is no form is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.errors import InvalidValue, UnsupportedMediaType
from node_proxy.openai.multipart import MAX_PARTS, Part, parse

TYPE = "multipart/form-data; boundary=xyz"
_names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\%'), min_size=1, max_size=20)


def form(*parts: Part, boundary: str = "xyz") -> bytes:
    """As clients write it."""
    out = []
    for part in parts:
        given = "" if part.filename is None else f'; filename="{part.filename}"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"{given}\r\n'
        if part.filename is not None:
            head += "Content-Type: application/octet-stream\r\n"
        out.append(head.encode() + b"\r\n" + part.content + b"\r\n")
    return b"".join(out) + f"--{boundary}--\r\n".encode()


@given(st.lists(st.builds(Part, _names, st.none() | _names, st.binary(max_size=200)), min_size=1, max_size=5))
def test_what_was_put_into_a_form_comes_out_of_it(parts: list[Part]) -> None:
    if any(b"\r\n--xyz" in b"\r\n" + part.content for part in parts):
        return  # a client chooses another boundary then
    assert parse(TYPE, form(*parts)) == parts


@pytest.mark.parametrize("content", [b"", b"\r\n", b"--xyz-", b"\r\n--xy", b"a\r\n\r\nb", b"\x00\xff", b"--xyz--"])
def test_content_that_looks_like_a_boundary_stays_whole(content: bytes) -> None:
    if content.startswith(b"--xyz"):
        content = b" " + content
    assert parse(TYPE, form(Part("file", "a", content)))[0].content == content


@pytest.mark.parametrize(
    "type_",
    [
        'multipart/form-data; boundary="xyz"',
        "multipart/form-data;boundary=xyz",
        "Multipart/Form-Data; charset=utf-8; Boundary=xyz",
        "multipart/form-data; boundary=xyz; charset=utf-8",
    ],
)
def test_the_header_may_be_written_in_every_way(type_: str) -> None:
    assert parse(type_, form(Part("a", None, b"b"))) == [Part("a", None, b"b")]


def test_names_are_unescaped_as_browsers_and_clients_escape_them() -> None:
    body = form(Part("file", 'a%22b\\"c', b"x"))
    assert parse(TYPE, body)[0].filename == 'a"b"c'


def test_a_preamble_is_passed_over() -> None:
    assert parse(TYPE, b"hello\r\n" + form(Part("a", None, b"b"))) == [Part("a", None, b"b")]


@pytest.mark.parametrize("type_", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=xyz"])
def test_another_type_is_refused(type_: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        parse(type_, form(Part("a", None, b"b")))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--xyz--",
        form(Part("a", None, b"b"))[:-6],
        form(Part("a", None, b"b"), boundary="other"),
        b"--xyz\r\n\r\nno name\r\n--xyz--\r\n",
        b"--xyz\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--xyz--\r\n",
        b"--xyz\r\nno header\r\n--xyz--\r\n",
        form(*[Part("a", None, b"b")] * (MAX_PARTS + 1)),
    ],
)
def test_a_broken_form_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        parse(TYPE, body)


@given(st.binary(max_size=300), st.sampled_from([TYPE, 'multipart/form-data; boundary="--"']))
def test_nothing_breaks_it(body: bytes, type_: str) -> None:
    for text in (body, b"--xyz" + body.replace(b"\n", b"\r\n") + b"\r\n--xyz--"):
        with suppress(InvalidValue, UnsupportedMediaType):
            assert all(isinstance(part, Part) for part in parse(type_, text))


def test_a_field_that_is_no_text_is_told_by_name() -> None:
    (part,) = parse(TYPE, form(Part("purpose", None, b"\xff")))
    with pytest.raises(InvalidValue) as caught:
        _ = part.text
    assert caught.value.param == "purpose"
