"""A workspace, a policy and the harness's own shell tool, to judge calls without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reference_harness import policy
from reference_harness.permissions import Ground, Ruling, judge
from reference_harness.records import Call
from reference_harness.registry import Source, ToolInfo, digest_of
from reference_harness.rules import Rule

BUILTIN = Source("builtin", "", tier="builtin")
RULES = (
    Rule(decision="deny", program="rm"), Rule(decision="deny", program="wipe"), Rule(decision="ask", program="git push"),
    Rule(decision="allow", program="make *"), Rule(decision="allow", program="npm test"),
)  # fmt: skip
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n[user]\n\tname = x\n"


def tool(
    name: str = "shell", risk: str = "destructive", paths: tuple[str, ...] = (), source: Source = BUILTIN
) -> ToolInfo:
    return ToolInfo(name, "", {"type": "object"}, source, risk, False, f"digest of {name}", paths)


SHELL = tool()


def call(name: str, **arguments: Any) -> Call:
    return Call("c1", name, arguments, digest_of(arguments))


class Bench:
    """Judges calls in one workspace."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.state = folder / "parent" / "state"
        for made in (self.workspace / "sub", self.workspace / ".git", self.state):
            made.mkdir(parents=True)
        (self.workspace / ".git" / "config").write_text(CONFIG)
        (self.workspace / "a.txt").write_text("a")
        (self.workspace / "out").symlink_to("/")
        (self.workspace / "state").symlink_to(self.state)
        (self.workspace / "state-parent").symlink_to(self.state.parent)
        self.ground = self.under()

    def under(self, *rules: Rule, **more: Any) -> Ground:
        """A ground with these rules, or those of RULES."""
        made = policy.of(rules or RULES, more.pop("mode", "ask"))
        return Ground(policy=made, mode=made.mode, cwd=str(self.workspace), protected=(str(self.state),), **more)

    def shell(self, command: str, ground: Ground | None = None) -> Ruling:
        return judge(SHELL, call("shell", command=command.replace("@STATE@", str(self.state))), ground or self.ground)
