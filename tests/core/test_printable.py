import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("page view", "page view"),
        ("Zürich · 東京", "Zürich · 東京"),
        ("", ""),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_cannot_be_printed_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_the_result_is_printable(text: str) -> None:
    assert printable(text).isprintable()
