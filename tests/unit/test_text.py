from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.errors import InvalidInput
from nvm_chain.text import many_lines, one_line, show, tag

ANY = st.text(st.characters())


def title(text: object) -> str:
    return one_line(text, 120, min_length=1)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Math \u00a0 tutor ", "Math tutor"),
        ("Cafe\u0301", "Café"),
        ("数学の先生：初級", "数学の先生：初級"),
        ("Учитель математики", "Учитель математики"),
        ("مدرّس الرياضيات", "مدرّس الرياضيات"),
        ("β-carotene & Ω", "β-carotene & Ω"),
        ("👩\u200d🏫 teacher", "👩\u200d🏫 teacher"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("1ª lección", "1ª lección"),
        ("H₂O², 50 µm, ☃\ufe0f", "H₂O², 50 µm, ☃\ufe0f"),
        ("COVID-19, GPT-4-модель, Модель 7B", "COVID-19, GPT-4-модель, Модель 7B"),
        ("٣ دروس, ३ पाठ, 〇", "٣ دروس, ३ पाठ, 〇"),
        ("\u03b1\u0313\u0300\u0345" * 120, "\u1f82" * 120),
    ],
)
def test_honest_titles_pass_in_every_script(text: str, normal: str) -> None:
    assert title(text) == normal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 characters"),
        (" \u3000 ", "0 characters"),
        ("x" * 121, "121 characters"),
        ("a\nb", "U\\+000A"),
        ("a\x00b", "U\\+0000"),
        ("a\x7fb", "U\\+007F"),
        ("a\u2028b", "LINE SEPARATOR"),
        ("invoice\u202efdp.exe", "RIGHT-TO-LEFT OVERRIDE"),
        ("a\u2066b\u2069", "LEFT-TO-RIGHT ISOLATE"),
        ("a\u200fb", "RIGHT-TO-LEFT MARK"),
        ("a\u061cb", "ARABIC LETTER MARK"),
        ("Open\u200bAI", "ZERO WIDTH SPACE"),
        ("Open\u200dAI", "ZERO WIDTH JOINER"),
        ("Open\u00adAI", "SOFT HYPHEN"),
        ("Open\ufeffAI", "ZERO WIDTH NO-BREAK"),
        ("Open\U000e0041AI", "TAG LATIN"),
        ("a\u3164b", "HANGUL FILLER"),
        ("a\ue000b", "U\\+E000"),
        ("a\ufffeb", "U\\+FFFE"),
        ("a\ud800b", "surrogate"),
        ("\u041epenAI", "CYRILLIC and LATIN"),
        ("G\u03bf\u03bfgle", "GREEK and LATIN"),
        ("\u13a6penAI", "CHEROKEE and LATIN"),
        ("\U0001d40epenAI", "poses as 'O'"),
        ("\uff2fpenAI", "poses as 'O'"),
        ("\u2102hat", "poses as 'C'"),
        ("GPT-4\u043e", "CYRILLIC and LATIN"),
        ("GPT_4\u043e", "CYRILLIC and LATIN"),
        ("GPT4\u043e", "CYRILLIC and LATIN"),
        ("PayPa\u217c", "poses as 'l'"),
        ("OpenA\u2160", "poses as 'I'"),
        ("\uff11 tutor", "poses as '1'"),
        ("3.\U0001d7d3", "poses as '5'"),
        ("o" + "\u0335\u0336\u0337\u0338\u0321", "combining marks"),
        (42, "int"),
    ],
)
def test_titles_that_deceive_are_refused_with_the_character_s_name(text: object, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        title(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a\r\nb\n", "a\nb"),
        ("\tcode\n    more", "code\n    more"),
        ("x\ty", "x\ty"),
        ("שלום \u2066world\u2069!", "שלום \u2066world\u2069!"),
        ("ภาษา\u200bไทย", "ภาษา\u200bไทย"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_prose_keeps_its_lines_and_scripts(text: str, normal: str) -> None:
    assert many_lines(text, 100) == normal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\x1b[31mb", "U\\+001B"),
        ("a\rb", "U\\+000D"),
        ("a\u0085b", "U\\+0085"),
        ("\u202eabc", "RIGHT-TO-LEFT OVERRIDE"),
        ("\u2067abc\ndef\u2069", "isolate"),
        ("hidden \U000e0068\U000e0069", "TAG LATIN"),
        ("a\u2062b", "INVISIBLE TIMES"),
        ("a" + "\u0301\u0302\u0303\u0304\u0305\u0306", "combining marks"),
        ("x" * 101, "101 characters"),
        (None, "NoneType"),
    ],
)
def test_prose_that_deceives_is_refused(text: object, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        many_lines(text, 100)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Math", "math"),
        (" C++ ", "c++"),
        ("Deep  Learning", "deep-learning"),
        ("C#", "c#"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ＡＩ", "ai"),
        (".NET", ".net"),
        ("数学", "数学"),
    ],
)
def test_tags_have_one_form(text: str, normal: str) -> None:
    assert tag(text) == normal


@pytest.mark.parametrize("text", ["", "a,b", "a/b", "<b>", "x" * 33, "m\u0430th", "a\u202eb", "\u200b", 7])
def test_other_tags_are_refused(text: object) -> None:
    with pytest.raises(InvalidInput):
        tag(text)


@pytest.mark.parametrize("normalise", [title, tag, lambda t: many_lines(t, 5000)], ids=["title", "tag", "prose"])
@given(text=ANY)
def test_the_normal_form_is_stable_and_can_be_shown(normalise: Callable[[object], str], text: str) -> None:
    try:
        normal = normalise(text)
    except InvalidInput as error:
        message = str(error)
    else:
        message = ""
        assert normalise(normal) == normal
        assert unicodedata.is_normalized("NFC", normal)
        normal.encode()
        assert not set(normal) & set("\u202a\u202b\u202c\u202d\u202e\x00\x1b\r")
    assert message.isprintable()


@given(st.one_of(ANY, st.binary(), st.integers(), st.floats(), st.none(), st.lists(st.integers())))
def test_anything_can_be_shown_in_one_short_ascii_line(value: object) -> None:
    shown = show(value)
    assert shown.replace("…", "").isascii()
    assert shown.isprintable()
    assert len(shown) <= 83


MARKS = {  # each pair is in the wrong order: `normalize` would sort the run by insertion
    "above and right": "\u0315" * 25_000 + "\u0300" * 24_000,
    "no category of marks": "\u302e" * 25_000 + "\U0001d165" * 24_000,
    "far too long": "\u0315" * 200_000 + "\u0300" * 200_000,
}


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("normalise", [title, tag, lambda t: many_lines(t, 50_000)], ids=["title", "tag", "prose"])
def test_a_pile_of_marks_in_the_wrong_order_is_refused_at_once(normalise: Callable[[object], str], marks: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidInput):
        normalise("a" + marks)
    assert time.process_time() - began < 0.5


def test_prose_whose_letters_are_taken_apart_may_be_longer_than_its_normal_form() -> None:
    assert many_lines("\u03b1\u0313\u0300\u0345\n" * 100, 200) == ("\u1f82\n" * 100).strip()


def test_a_huge_number_is_not_written_out() -> None:
    assert show(10**100_000) == "a number of 332193 bits"
