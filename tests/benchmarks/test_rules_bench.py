"""How quick a decision is under 1,000 rules. Run by name: `pytest tests/benchmarks/test_rules_bench.py -s`."""

# ruff: noqa: T201 - what is measured is printed

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from reference_harness import policy
from reference_harness.permissions import Ground, judge
from reference_harness.records import Call
from reference_harness.registry import Source, ToolInfo, digest_of
from reference_harness.rules import Rule
from reference_harness.shell.unwrapping import unfold

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
from judging import SHELL, tool

RULES = [
    *(Rule(decision="allow", program=f"program{n} run *") for n in range(300)),
    *(Rule(decision="deny", program=f"danger{n}") for n in range(200)),
    *(Rule(decision="ask", tool=f"server{n % 20}__tool{n}") for n in range(200)),
    *(Rule(decision="deny", tool="query", arguments={"sql": f"DROP TABLE t{n}*"}) for n in range(150)),
    *(Rule(decision="allow", tool="write", paths=(f"src/part{n}/**",)) for n in range(150)),
]
COMMANDS = [
    "program7 run a",
    "danger3 x",
    "ls -la",
    "git log --oneline | head -5",
    "program299 stop",
    "unknown --x",
    "cat a.txt",
]


def rate(name: str, decide: Callable[[], int]) -> float:
    decide()
    rates = []
    for _ in range(7):
        began = time.process_time()
        done = decide()
        rates.append(done / (time.process_time() - began))
    print(f"  {name:44} {median(rates):12,.0f} /s")
    return median(rates)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    (tmp_path / "a.txt").touch()
    assert len(RULES) == 1000
    return Ground(policy=policy.of(RULES), cwd=str(tmp_path), protected=(str(tmp_path / "state"),))


def test_rules_alone(ground: Ground) -> None:
    """Which of 1,000 rules are about a command that was read: the bound is 100,000 a second."""
    index = ground.policy.index(SHELL, ground.cwd)
    read = [command.texts for text in COMMANDS for command in unfold(text).commands] * 200

    def words() -> int:
        return sum(1 + len(list(index.about_words(each))) * 0 for each in read)

    assert rate("rules about a command", words) > 100_000 / 4  # a busy machine fails nobody by a factor below four


def test_whole_decisions(ground: Ground) -> None:
    """`judge` from the call to the ruling: every rule, the tier, the folders of the harness; shell lines are parsed anew."""
    plain = [tool(f"tool{n}", "destructive", source=Source(f"server{n % 20}", "x")) for n in range(40)]
    calls = [(each, Call("c", each.name, {"n": n}, digest_of({}))) for n, each in enumerate(plain)]
    query = tool("query", "destructive", source=Source("db", "x"))
    sql = [(query, Call("c", "query", {"sql": f"DROP TABLE t{n} now"}, "")) for n in range(40)]
    files = [
        (tool("write", "mutating", ("path",)), Call("c", "write", {"path": f"src/part{n}/x"}, "")) for n in range(40)
    ]
    lines = [(SHELL, Call("c", "shell", {"command": text}, "")) for text in COMMANDS]

    def judging(these: list[tuple[ToolInfo, Call]], times: int) -> Callable[[], int]:
        return lambda: sum(judge(of, call, ground) is not None for _ in range(times) for of, call in these)

    print()
    rate("judge, tools of servers", judging(calls, 100))
    rate("judge, rules about an argument", judging(sql, 50))
    rate("judge, a path, resolved on the disk", judging(files, 20))
    rate("judge, shell lines, parsed", judging(lines, 60))
