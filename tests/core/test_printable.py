import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.printable import printable


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_that_is_shown_can_steer(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown.encode().decode() == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("page view", "page view"),
        ("ünï 🎉", "ünï 🎉"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202e", r"\u202e"),
        ("\U000e0001", r"\U000e0001"),
        ("a\tb\r\n", r"a\tb\r\n"),
    ],
)
def test_what_is_printable_stays(text: str, shown: str) -> None:
    assert printable(text) == shown
