"""Foreign text for a person's eyes: nothing is there unseen, in another order than it stands, or outside of its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_harness.printable import columns, folded, harmless, in_order, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [("plain text", "plain text"), ("a\x1b[2J\n", "a\\u{1b}[2J\\u{a}"), ("\u202eab\u2066", "\\u{202e}ab\\u{2066}"),
     ("a\u00a0b\u200bc", "a\\u{a0}b\\u{200b}c"), ("grüße 你好 🙂 שלום", "grüße 你好 🙂 שלום"),
     ("\u115f\u3164\uffa0\u2800", "\\u{115f}\\u{3164}\\u{ffa0}\\u{2800}"), ("☺\ufe0f", "☺\\u{fe0f}"),
     ("x\U000e0101", "x\\u{e0101}"), ("e\u0301", "e\u0301"), ("e" + "\u0301" * 6, "e" + "\u0301" * 4 + "\\u{301}" * 2),
     ("rm \u0301/", "rm \\u{301}/"), ("=\u0338", "=\\u{338}"), ("a\u20dd", "a\\u{20dd}"), ("\ud800", "\\u{d800}")],
)  # fmt: skip
def test_what_shows_nothing_or_draws_elsewhere_is_written_out(text, seen):
    assert visible(text) == seen
    assert visible(seen) == seen


@given(st.text())
def test_what_is_visible_has_no_character_that_is_none(text):
    seen = visible(text)
    assert seen.isprintable()
    assert harmless(seen) == seen


def test_letters_from_right_to_left_are_written_out_in_the_order_in_which_they_stand():
    assert in_order("rm שב 12 ٣") == "rm \\u{5e9}\\u{5d1} 12 \\u{663}"
    assert in_order("grüße 你好 🙂") == "grüße 你好 🙂"


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"])), st.integers(4, 90))
def test_folding_loses_nothing_and_keeps_to_its_columns(text, width):
    first, *rest = folded(text, width, "> ")
    assert first + "".join(piece.removeprefix("> ") for piece in rest) == text
    assert all(piece.startswith("> ") for piece in rest)
    assert all(columns(piece) <= width for piece in (first, *rest))


def test_a_tab_takes_the_columns_up_to_the_next_stop():
    assert list(folded("a\tb\tc", 12, "> ")) == ["a\tb", "> \tc"]
    assert list(folded("\t" * 3, 16, "| ")) == ["\t\t", "| \t"]


def test_wide_letters_take_two_columns_and_marks_none():
    assert (columns("ab"), columns("你好"), columns("e\u0301"), columns("🙂")) == (2, 4, 1, 2)
