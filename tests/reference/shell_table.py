"""Shell commands and the verdict that must come, under the policy of `judging.py`.

Policy: `rm` and `wipe` are denied, `git push` asks, `make *` and `npm test` are allowed. a = allow, ? = ask, D = deny.
The workspace holds a.txt, sub/, out -> / (a link), and a harmless git repository.
"""

from pathlib import Path

TABLE = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")


SIGNS = {
    "@NL@": "\n",
    "@CR@": "\r",
    "@NUL@": "\0",
    "@NBSP@": "\u00a0",
    "@RLO@": "\u202e",
    "@ZW@": "\u200b",
    "@NONE@": "",
}


def rows() -> list[tuple[str, str]]:
    """(verdict, command). What cannot be seen stands in the rows as @NL@, @CR@, and so on."""
    marks = {"a": "ALLOW", "?": "ASK", "D": "DENY"}
    found = [(marks[line[0]], line[2:]) for line in TABLE.strip("\n").splitlines()]
    for sign, text in SIGNS.items():
        found = [(mark, line.replace(sign, text)) for mark, line in found]
    return found
