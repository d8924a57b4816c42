"""The agent types: Markdown files whose front matter says what an agent may do, and whose text says what it is for.

Six come with the harness, beside this file. An operator's own stand in `agents/` of the configuration folder, never in
the workspace: whoever can write an agent type can give power. One of the same name takes the place of ours. A file that
cannot be used costs its own name alone, also where ours has that name; `broken` says why.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from reference_harness.budget import check_limits
from reference_harness.errors import UsageFault
from reference_harness.paths import AGENTS, config_file
from reference_harness.pool import matches
from reference_harness.records import Limits
from reference_harness.registry import DESTRUCTIVE, MUTATING, READ_ONLY, UNKNOWN, ToolInfo

BUILT_IN = Path(__file__).parent
RISKS = (READ_ONLY, MUTATING, DESTRUCTIVE, UNKNOWN)
MODES = ("plan",)  # a type can make the mode stricter, so the loose ones are none of its business
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_FENCE = "+++"
_LISTS = ("tools", "without", "risks", "tags", "constraints")


@dataclass(frozen=True)
class AgentType:
    """What one kind of agent is for and may have.

    Of the tools around it, it is offered those that match `tools` (names or globs) and not `without`, are of one of
    these `risks` and, where `tags` are given, carry one. `constraints`: what it must not do, in words, for its model.
    """

    name: str
    prompt: str
    risks: tuple[str, ...] = RISKS
    constraints: tuple[str, ...] = ()
    description: str = ""
    tools: tuple[str, ...] = ("*",)
    without: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    mode: str | None = None
    limits: Limits = field(default_factory=Limits)
    origin: str = ""  # its file, if it is an operator's

    def unmatched(self, tools: Iterable[ToolInfo]) -> tuple[str, ...]:
        """The patterns of `tools` and `without` that none of these tools fits: a slip, or a source that is not here."""
        there = tuple(tools)
        named = (pattern for pattern in (*self.tools, *self.without) if pattern != "*")
        return tuple(pattern for pattern in named if not any(matches(pattern, tool) for tool in there))

    def refuses(self, tool: ToolInfo) -> str:
        """Why agents of this type are not offered the tool; empty if they are."""
        if tool.risk not in self.risks:
            return f"the agent type {self.name} has no {tool.risk.replace('_', '-')} tools"
        if not any(matches(pattern, tool) for pattern in self.tools):
            return f"the agent type {self.name} does not name it"
        if pattern := next((p for p in self.without if matches(p, tool)), None):
            return f"the agent type {self.name} leaves it out: {pattern}"
        if self.tags and not set(self.tags) & set(getattr(tool, "tags", ())):
            return f"the agent type {self.name} has only tools tagged {', '.join(self.tags)}"
        return ""

    def instructions(self) -> str:
        """What its model is told before anything else."""
        rules = "".join(f"\n- {constraint}" for constraint in self.constraints)
        return self.prompt + (f"\n\nConstraints:{rules}" if rules else "")


def user_folder() -> Path:
    """`agents` beside the policy, where no tool can write."""
    return config_file().with_name(AGENTS)


def load(*folders: Path) -> Mapping[str, AgentType]:
    """The types in these folders by name, later folders first; without any, ours and the operator's own."""
    return _read(*folders)[0]


def broken() -> Mapping[str, str]:
    """The names whose files cannot be used, with what is wrong, where, and what to do."""
    return _read()[1]


def _read(*folders: Path) -> tuple[dict[str, AgentType], dict[str, str]]:
    types: dict[str, AgentType] = {}
    wrong: dict[str, str] = {}
    for folder in folders or (BUILT_IN, user_folder()):
        for path, stamp in _files(folder):
            try:
                types[path.stem] = _parsed(path, stamp)
            except UsageFault as fault:
                types.pop(path.stem, None)  # what was meant to be tighter is not replaced by what is looser
                wrong[path.stem] = str(fault)
    return types, wrong


def find(name: str) -> AgentType:
    """The type of this name. Raises UsageFault: what is wrong with its file, or which types there are."""
    types, wrong = _read()
    if name in wrong:
        raise UsageFault(wrong[name])
    if name not in types:
        raise UsageFault(f"there is no agent type {name[:60]!r}: known are {', '.join(types)}")
    return types[name]


def listing() -> list[dict[str, Any]]:
    """All types as JSON. `replaces`: it stands in place of the built-in one of its name."""
    ours = load(BUILT_IN)
    return [_json(kind) | {"replaces": bool(kind.origin) and kind.name in ours} for kind in load().values()]


def _json(kind: AgentType) -> dict[str, Any]:
    limits = {name: value for name in Limits.__struct_fields__ if (value := getattr(kind.limits, name)) is not None}
    return asdict(kind) | {"limits": limits}


def _files(folder: Path) -> Iterable[tuple[Path, int]]:
    return _ours() if folder == BUILT_IN else _found(folder)


@functools.cache
def _ours() -> Iterable[tuple[Path, int]]:
    return _found(BUILT_IN)


def _found(folder: Path) -> Iterable[tuple[Path, int]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((Path(e.path), e.stat().st_mtime_ns) for e in entries if e.name.endswith(".md"))
    except OSError:
        return ()


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, _stamp: int) -> AgentType:
    """One file; read again when it has changed."""
    try:
        kind = parse(path.stem, path.read_text(encoding="utf-8"))
        return kind if path.parent == BUILT_IN else replace(kind, origin=str(path))
    except (OSError, ValueError) as wrong:
        raise UsageFault(f"the agent type in {path} cannot be used: {wrong}; mend or remove the file") from wrong


def parse(name: str, text: str) -> AgentType:
    """A type from the text of its file: TOML between two lines of `+++`, then the prompt. Raises ValueError."""
    import tomllib  # only where a file is read

    head, prompt = _split(text)
    front = tomllib.loads("\n" + head)  # so that its errors name the lines of the file
    values: dict[str, Any] = {}
    for key, value in ({"name": name} | front).items():
        try:
            values[key] = _value(key, value, name)
        except (ValueError, UsageFault) as wrong:
            raise ValueError(f"{wrong} (at line {_line_of(key, head)})") from wrong
    return AgentType(prompt=prompt, **values)


def _value(key: str, value: Any, name: str) -> Any:
    """A setting of the front matter, checked. Raises ValueError and UsageFault."""
    match key:
        case "name" if value != name or not _NAME.fullmatch(name):
            raise ValueError(f"its name must be that of the file, in small letters, digits and hyphens: {name!r}")
        case "mode" if value not in MODES:
            raise ValueError(f"mode must be one of {list(MODES)}")
        case "description" if not isinstance(value, str):
            raise ValueError("description must be a text")
        case "name" | "mode" | "description":
            return value
        case "limits" if not isinstance(value, Mapping):
            raise ValueError("limits must be a table")
        case "limits":
            return check_limits(value)
        case "risks" if wrong := set(_strings(key, value)) - set(RISKS):
            raise ValueError(f"unknown risks {sorted(wrong)}: known are {list(RISKS)}")
        case _ if key in _LISTS:
            return _strings(key, value)
    raise ValueError(f"unknown key {key!r}: known are {['name', 'description', 'mode', 'limits', *_LISTS]}")


def _line_of(key: str, head: str) -> int:
    """The line of the file that a setting of the front matter stands on; 1 where it cannot be told."""
    lines = enumerate(head.splitlines(), 2)
    return next((number for number, line in lines if line.strip(" \t[\"'").startswith(key)), 1)


def _split(text: str) -> tuple[str, str]:
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != _FENCE or _FENCE not in (line.strip() for line in lines[1:]):
        raise ValueError("it must begin with settings in TOML between two lines of +++ (not YAML, not ---)")
    end = next(n for n, line in enumerate(lines[1:], 1) if line.strip() == _FENCE)
    prompt = "\n".join(lines[end + 1 :]).strip()
    if not prompt:
        raise ValueError("it has no text: say what the agent is for")
    return "\n".join(lines[1:end]), prompt


def _strings(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f"{key} must be a list of texts")
    return tuple(value)
