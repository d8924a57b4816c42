"""What a newcomer types wrongly is told with what may be meant; what the lists show of an id is enough to name it."""

from __future__ import annotations

import pytest

from reference_harness.faces.cli import main
from reference_harness.faces.output import enough


def test_so_much_of_an_id_is_shown_as_tells_it_from_the_others():
    assert enough([]) == enough(["a" * 32]) == 8
    assert enough(["0123456789", "01234567ff", "0123456780"]) == 10
    assert enough(["a" * 32, "a" * 31 + "b"]) == 32


def test_a_command_that_is_none_is_told_with_the_near_one(capsys):
    assert main(["sesions"]) == 2
    assert capsys.readouterr().err == "harness: there is no command 'sesions': is it sessions?\n"
    assert main(["xyzzy\x1b"]) == 2
    assert "'xyzzy\\x1b': `harness --help` lists them" in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys):
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "harness demo" in told
    assert "sessions" in told
