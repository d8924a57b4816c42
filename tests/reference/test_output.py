"""What the lists show of an id is enough to name it."""

from __future__ import annotations

from reference_harness.faces.output import enough


def test_so_much_of_an_id_is_shown_as_tells_it_from_the_others():
    assert enough([]) == enough(["a" * 32]) == 8
    assert enough(["0123456789", "01234567ff", "0123456780"]) == 10
    assert enough(["a" * 32, "a" * 31 + "b"]) == 32
