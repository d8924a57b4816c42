"""What a tool server says on its stderr cannot draw over the terminal, and its last words are not lost."""

from __future__ import annotations

import sys

from inside import harness

from reference_harness.mcp_tools import Server

LOUD = r"""
import sys
sys.stderr.write("starting\n\x1b[2J\x1b[1;1Ha fake question? [y]es\u202e\n" + "x" * 10000 + "\n")
sys.stderr.flush()
sys.stdin.readline()
sys.stderr.write("my last words")
"""


def test_each_line_comes_under_its_name_and_draws_nothing(tmp_path, capsys, run):
    async def story():
        one = harness(tmp_path / "state", "Done.")
        session = await one.new_session(str(tmp_path), [Server("loud", sys.executable, ("-c", LOUD))])
        assert "loud" in session.lost_sources()
        await one.close()

    run(story())
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert all(line.startswith("[loud] ") for line in lines)
    assert lines[0] == "[loud] starting"
    assert lines[1] == r"[loud] \u{1b}[2J\u{1b}[1;1Ha fake question? [y]es\u{202e}"
    assert "".join(line.removeprefix("[loud] ") for line in lines[2:-1]) == "x" * 10000
    assert lines[-1] == "[loud] my last words"
