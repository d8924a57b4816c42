"""The operator's policy: `harness.toml` in the configuration folder, never in a workspace.

    [permissions]
    mode = "ask"                    # ask, plan, auto or bypass
    modes = ["ask", "plan"]         # those a session may have; without it, all

    [[rule]]
    decision = "deny"               # deny beats ask beats allow, in any order
    program = "git push"

    [[rule]]
    decision = "allow"
    tool = "db__query"
    arguments = { sql = "SELECT *" }

    [tools]
    exclude = ["todo"]              # offered to nobody
    enable = ["fetch"]              # off, unless it is named

    [sandbox]
    use = "required"                # for the shell: auto (where there is one), required or off

    [prices]                        # US dollars a million tokens: input, output, cache read, cache write
    "my-model" = [3, 15, 0.3, 3.75] # for cost, before those that the harness knows

What sessions begin with, [session] and [mcp.NAME], is in `defaults.py`.

A file that cannot be read, or says something that is not understood, is an error and never an empty policy. A session
that runs looks at the file before each call: a change counts at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import msgspec

from reference_harness.errors import UsageFault
from reference_harness.modes import DEFAULT, MODES
from reference_harness.paths import config_file, stamp
from reference_harness.pool import matches
from reference_harness.prices import Own, given
from reference_harness.registry import ToolInfo
from reference_harness.rules import Index, Rule, as_toml, check_rule

# any other is a mistake, and mistakes are not ignored
TABLES = frozenset({"permissions", "rule", "tools", "sandbox", "session", "mcp", "prices"})
SANDBOX = ("off", "auto", "required")  # from loose to strict


@dataclass(frozen=True)
class Policy:
    """Rules and modes. `text` is the file as it was read, kept for the record; `source` where it was.

    `exclude`: tools that no session is offered. `enable`: tools that are off unless named. `sandbox`: one of SANDBOX.
    `session` and `mcp`: the tables of these names, see `defaults`. `prices`: what models cost, by name.
    """

    rules: tuple[Rule, ...] = ()
    mode: str = DEFAULT
    modes: tuple[str, ...] = MODES
    text: str = ""
    source: str = ""
    exclude: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    sandbox: str = ""
    session: Mapping[str, Any] = field(default_factory=dict, hash=False)
    mcp: Mapping[str, Any] = field(default_factory=dict, hash=False)
    prices: Own = field(default_factory=dict, hash=False)
    _indexes: dict[tuple[str, str], Index] = field(default_factory=dict, compare=False, repr=False)

    def index(self, tool: ToolInfo, cwd: str) -> Index:
        """The rules that could be about this tool, ready to be looked up. Found once for each tool and folder."""
        key = (tool.digest or repr(tool), cwd)
        if key not in self._indexes:
            self._indexes[key] = Index((rule for rule in self.rules if is_about(rule, tool)), cwd)
        return self._indexes[key]

    @cached_property
    def digest(self) -> str:
        """sha256 of the text; empty for no policy."""
        import hashlib

        return hashlib.sha256(self.text.encode()).hexdigest() if self.text else ""

    def mode_for(self, asked: str | None) -> str:
        """The mode of a session that asked for one. Raises UsageFault if the policy does not have it."""
        mode = asked or self.mode
        if mode not in self.modes:
            raise UsageFault(f"the policy {self.source} does not allow the mode {mode!r}: {list(self.modes)} it allows")
        return mode


def is_about(rule: Rule, tool: ToolInfo) -> bool:
    """Whether a rule names the tool."""
    return rule.tier in ("", tool.source.tier) and matches(rule.pattern, tool)


def load(path: Path | None = None) -> Policy:
    """Read the policy. No file is an empty policy, unless HARNESS_CONFIG names it. Raises UsageFault."""
    where = path or config_file()
    try:
        text = where.read_text("utf-8")
    except FileNotFoundError:
        if path or os.environ.get("HARNESS_CONFIG"):
            raise UsageFault(f"the policy {where} is not there: write it, or unset HARNESS_CONFIG") from None
        return EMPTY
    except (OSError, UnicodeDecodeError) as error:
        raise UsageFault(f"the policy {where} cannot be read: {error}") from error
    return parse(text, str(where))


class PolicyFile:
    """The policy as it is now: the file is looked at each time, and read again when it has changed.

    A file that was there and is gone counts as one that cannot be read: whoever saves it may be just about to.
    """

    def __init__(self, path: Path | None = None) -> None:
        """`path`: a file of one's own, which has to be there; without it the operator's."""
        self._path = path
        self._where = ""
        self._read: tuple[object, Policy] | None = None

    def now(self) -> Policy:
        """The policy in force. Raises UsageFault."""
        self._where = self._where or str(self._path or config_file())
        now = stamp(self._where)
        if self._read is None or self._read[0] != now:
            policy = load(self._path)
            if self._read and self._read[1].source and not policy.source:
                raise UsageFault(f"the policy {self._read[1].source} is gone: put it back, or start anew without it")
            self._read = now, policy
        return self._read[1]


@lru_cache(maxsize=32)
def parse(text: str, source: str) -> Policy:
    """A policy from its text. Raises UsageFault that names the place."""
    import tomllib  # only where there is a policy

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageFault(f"the policy {source} is no TOML: {error}") from error
    if unknown := set(tables) - TABLES:
        raise UsageFault(f"the policy {source} has tables nobody knows: {sorted(unknown)}; known are {sorted(TABLES)}")
    mode, modes = _modes(tables.get("permissions", {}), source)
    exclude, enable = _tools(tables.get("tools", {}), source)
    rules, sandbox = _rules(tables.get("rule", []), source), _sandbox(tables.get("sandbox", {}), source)
    session, servers = _table("session", tables, source), _table("mcp", tables, source)
    prices = _prices(tables.get("prices", {}), source)
    return Policy(rules, mode, modes, text, source, exclude, enable, sandbox, session, servers, prices)


def _prices(table: Any, source: str) -> Own:
    try:
        return given(table)
    except UsageFault as fault:
        raise UsageFault(f"the policy {source}: {fault}") from fault


def _table(name: str, tables: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    given = tables.get(name, {})
    if not isinstance(given, Mapping):
        raise UsageFault(f"the policy {source}: {name} must be a table")
    return given


def _modes(given: Any, source: str) -> tuple[str, tuple[str, ...]]:
    if not isinstance(given, Mapping) or set(given) - {"mode", "modes"}:
        raise UsageFault(f"the policy {source}: [permissions] holds `mode` and `modes`, nothing else")
    modes = given.get("modes", list(MODES))
    mode = given.get("mode", DEFAULT)
    if not isinstance(modes, list) or set(map(str, modes)) - set(MODES) or mode not in modes:
        raise UsageFault(f"the policy {source}: modes are of {list(MODES)}, and mode {mode!r} must be one of `modes`")
    return mode, tuple(modes)


def _tools(given: Any, source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not isinstance(given, Mapping) or set(given) - {"exclude", "enable"}:
        raise UsageFault(f"the policy {source}: [tools] holds `exclude` and `enable`, nothing else")
    lists = [given.get(name, []) for name in ("exclude", "enable")]
    if not all(isinstance(names, list) and all(isinstance(n, str) and n for n in names) for names in lists):
        raise UsageFault(f"the policy {source}: `exclude` and `enable` in [tools] are lists of tool names")
    return tuple(lists[0]), tuple(lists[1])


def _sandbox(given: Any, source: str) -> str:
    if not isinstance(given, Mapping) or set(given) - {"use"} or given.get("use", "auto") not in SANDBOX:
        raise UsageFault(f"the policy {source}: [sandbox] holds `use`, one of {list(SANDBOX)}")
    return str(given.get("use", ""))


def _rules(given: Any, source: str) -> tuple[Rule, ...]:
    try:
        rules = msgspec.convert(given, list[Rule])
    except msgspec.ValidationError as error:
        raise UsageFault(f"the policy {source}: [[rule]]: {error}") from error
    for number, rule in enumerate(rules, 1):
        if wrong := check_rule(rule):
            raise UsageFault(f"the policy {source}: rule {number}: {wrong}")
    return tuple(rules)


def of(rules: Sequence[Rule], mode: str = DEFAULT) -> Policy:
    """A policy from rules made in Python, as if they stood in a file. Raises UsageFault."""
    lines = "".join(f"    {rule.text},\n" for rule in rules)
    return parse(f"permissions = {{mode = {as_toml(mode)}}}\nrule = [\n{lines}]\n", "given in Python")


EMPTY = Policy()
