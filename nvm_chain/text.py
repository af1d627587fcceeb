"""Text from strangers: shown without harm in messages, checked before it goes into metadata."""

from __future__ import annotations

import re
import unicodedata

from nvm_chain.errors import InvalidInput

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e")
_ISOLATES, _POP_ISOLATE = frozenset("\u2066\u2067\u2068"), "\u2069"
_JOINERS = frozenset("\u200c\u200d")
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_LOOKALIKE_SCRIPTS = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"})
_MAX_MARKS = 4
_MAX_COMPOSED = 3
"""Marks that NFC can put into the letter before them; a letter's normal form is at least a quarter of what it was."""
_WORD = re.compile(r"[^\W_]+(?:(?:[^\w\s]|_)\d[^\W_]*)*")
"""A run of letters and digits; a piece with a digit in front, as in GPT-4o, goes on with the word before it."""


def show(value: object, limit: int = 80) -> str:
    """`value` for an error message: one line of ASCII, quoted, cut after `limit` characters.

    Never for secrets: they have no place in a message.
    """
    if isinstance(value, str):
        quoted = ascii(value[: limit + 1])[1:-1]
        return f'"{quoted[:limit]}…"' if len(value) > limit or len(quoted) > limit else f'"{quoted}"'
    if isinstance(value, bytes | bytearray):
        return show("0x" + bytes(value[:limit]).hex(), limit)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1024:
        return f"a number of {value.bit_length()} bits"  # its decimal form could take minutes, or be refused
    if value is None or isinstance(value, bool | int | float):
        return show(str(value), limit)[1:-1]
    return f"a {type(value).__name__}"


def one_line(text: object, max_length: int, *, min_length: int = 0) -> str:
    """A title: NFC, single plain spaces, nothing invisible, no direction marks, no words of look-alike letters.

    min_length, max_length: code points. Returns the normal form; raises InvalidInput that names the character.
    """
    value = _text(text)
    value = "".join(" " if unicodedata.category(c) == "Zs" else c for c in value)
    value = _nfc(re.sub(" +", " ", value).strip(" "), max_length)
    if not min_length <= len(value) <= max_length:
        raise InvalidInput(f"has {len(value)} characters, expected {min_length} to {max_length}")
    for index, char in enumerate(value):
        category = unicodedata.category(char)
        if char in _BIDI:
            raise InvalidInput(f"has {_name(char)}, which changes the direction of text: remove it")
        if char in _JOINERS and _between_non_ascii(value, index):
            continue  # emoji and several scripts need them there
        if category in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") or char in _BLANK_LETTERS or _noncharacter(char):
            raise InvalidInput(f"has {_name(char)}, which does not show: remove it")
        if (category[0] == "L" or category in ("Nd", "Nl")) and char not in "ªº" and _poses_as_ascii(char):
            posed = unicodedata.normalize("NFKC", char)
            raise InvalidInput(f"has {_name(char)}, which poses as {posed!r}: use plain letters and digits")
    _check_marks(value)
    for word in _WORD.findall(value):
        scripts = sorted({script for c in word if (script := _script(c)) in _LOOKALIKE_SCRIPTS})
        if len(scripts) > 1:
            raise InvalidInput(
                f"the word {show(word)} mixes {' and '.join(scripts)} letters that look alike: use one script"
            )
    return value


def many_lines(text: object, max_length: int) -> str:
    """A description or notes: NFC, lines end with \\n, no control characters, no bidi overrides, isolates closed in
    their line, no invisible tags. Markdown is not interpreted. Returns the normal form; raises InvalidInput.
    """
    value = _nfc(_text(text).replace("\r\n", "\n").strip(), max_length)
    if len(value) > max_length:
        raise InvalidInput(f"has {len(value)} characters, at most {max_length}")
    if not value.isascii() or not value.isprintable():
        open_isolates = 0
        for char in value + "\n":
            if char == "\n":
                if open_isolates:
                    raise InvalidInput(
                        "has a line in which a bidirectional isolate is not closed: close it with U+2069"
                    )
            elif char in _OVERRIDES:
                raise InvalidInput(f"has {_name(char)}, which shows text in another order than it has: remove it")
            elif char in _ISOLATES:
                open_isolates += 1
            elif char == _POP_ISOLATE:
                open_isolates = max(0, open_isolates - 1)
            elif _unfit(char):
                raise InvalidInput(f"has {_name(char)}, which does not show: remove it")
        _check_marks(value)
    return value


def tag(text: object, max_length: int = 32) -> str:
    """A tag in its normal form: NFKC, case folded, words joined by `-`; letters, digits and `- . _ + #` only."""
    value = _text(text).strip()
    _check_raw(value, max_length)
    value = re.sub(r"[\s]+", "-", unicodedata.normalize("NFKC", value))
    value = unicodedata.normalize("NFKC", value.casefold())
    if bad := next((c for c in value if c not in "-._+#" and unicodedata.category(c)[0] not in "LMN"), None):
        raise InvalidInput(f"has {_name(bad)}; a tag has letters, digits and - . _ + #")
    if one_line(value, max_length, min_length=1) != value:
        raise InvalidInput("has no stable form")
    return value


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"must be text, not {type(text).__name__}")
    if lone := next((c for c in text if "\ud800" <= c <= "\udfff"), None):
        raise InvalidInput(f"has {_name(lone)}, half of a surrogate pair")
    return text


def _nfc(text: str, max_length: int) -> str:
    _check_raw(text, max_length)
    return unicodedata.normalize("NFC", text)


def _check_raw(text: str, max_length: int) -> None:
    """What must hold before `normalize`: it takes time by the square of a run of marks, and stops all threads."""
    if len(text) > (_MAX_COMPOSED + 1) * max_length:
        raise InvalidInput(f"has {len(text)} characters, at most {max_length}")
    _check_marks(text, _MAX_MARKS + _MAX_COMPOSED)


def _name(char: str) -> str:
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X}" + (f" {name}" if name else "")


def _between_non_ascii(text: str, index: int) -> bool:
    return 0 < index < len(text) - 1 and not text[index - 1].isascii() and not text[index + 1].isascii()


def _noncharacter(char: str) -> bool:
    return ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF


def _unfit(char: str) -> bool:
    """Characters with no business in prose: controls but tab, private use, noncharacters, invisible tags, BOM."""
    if char == "\t":
        return False
    code = ord(char)
    return (
        unicodedata.category(char) in ("Cc", "Cs", "Co", "Zl", "Zp")
        or _noncharacter(char)
        or 0xE0000 <= code <= 0xE0FFF
        or code in (0xFEFF, 0xFFF9, 0xFFFA, 0xFFFB)
        or 0x2060 <= code <= 0x2064
    )


def _poses_as_ascii(char: str) -> bool:
    if char.isascii():
        return False
    plain = unicodedata.normalize("NFKC", char)
    return plain.isascii() and plain.isalnum()


def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0]


def _check_marks(value: str, most: int = _MAX_MARKS) -> None:
    run = 0
    for char in "" if value.isascii() else value:
        # Some marks that `normalize` sorts are of another category: U+302E, U+1D165.
        run = run + 1 if unicodedata.category(char) in ("Mn", "Me") or unicodedata.combining(char) else 0
        if run > most:
            raise InvalidInput(f"has more than {_MAX_MARKS} combining marks on one letter")
