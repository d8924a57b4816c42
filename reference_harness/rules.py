"""Rules: what the operator wrote, or an approver said "always" to; and an index that finds those that apply.

deny and ask cover more in doubt, allow covers less: `program = "git push"` denies every command that begins so, and
allows that command alone; `"git push *"` allows it with any further words.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

import msgspec

from reference_harness.paths import BELOW, fold, is_inside, matcher
from reference_harness.registry import ToolInfo
from reference_harness.verdicts import Finding, Verdict

SHELL = "shell"
_SIGNS = frozenset("*?[")
_SIGN = re.compile(r"[*?\[]")
_FIXED = re.compile(r"(?:[\w/@%+=:,~]|-|\\.)*")


class Rule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One rule. Everything it names must fit: tool, tier, and one of program, exactly, paths, arguments, or none."""

    decision: Literal["deny", "ask", "allow"]
    tool: str = ""  # a name or a glob, also as source__tool
    tier: str = ""  # builtin, plugin or skill
    program: str = ""  # the words of a shell command, each may be a glob
    exactly: str = ""  # a shell command, word for word
    paths: tuple[str, ...] = ()  # below the workspace, absolute, or from ~
    arguments: Mapping[str, str] = {}
    because: str = ""

    @property
    def pattern(self) -> str:
        """The tools it is about."""
        return self.tool or (SHELL if self.program or self.exactly else "*")

    @property
    def is_whole(self) -> bool:
        """Whether it is about every call of the tool."""
        return not (self.program or self.exactly or self.paths or self.arguments)

    @property
    def text(self) -> str:
        """The rule as a line that a policy file takes: what is shown is what is kept."""
        shown = {name: value for name in self.__struct_fields__ if (value := getattr(self, name))}
        return "{" + ", ".join(f"{name} = {as_toml(value)}" for name, value in shown.items()) + "}"


def as_toml(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_toml(key)} = {as_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    return "[" + ", ".join(map(as_toml, value)) + "]"


def check_rule(rule: Rule) -> str:
    """What is wrong with a rule; empty if nothing is."""
    if not (rule.tool or rule.program or rule.exactly or rule.paths):
        return 'it names nothing: give tool, program, exactly or paths (tool = "*" for everything)'
    if rule.tier not in ("", "builtin", "plugin", "skill"):
        return f"unknown tier {rule.tier!r}: known are builtin, plugin and skill"
    if sum(map(bool, (rule.program, rule.exactly, rule.paths, rule.arguments))) > 1:
        return "give one of program, exactly, paths and arguments: a rule about two things is two rules"
    try:
        words_of(rule.program), words_of(rule.exactly)
    except ValueError as error:
        return f"its words cannot be read: {error}"
    return ""


@lru_cache(maxsize=16384)
def words_of(program: str) -> tuple[str, ...]:
    """The words of a program pattern. Raises ValueError for an open quote."""
    return tuple(shlex.split(program))


@lru_cache(maxsize=4096)
def rules_of(grant: str) -> tuple[Rule, ...]:
    """The rules of a grant's text, one a line. Raises ValueError, msgspec.ValidationError."""
    import tomllib  # only where there is a grant

    lines = [tomllib.loads(f"rule = {line}")["rule"] for line in grant.splitlines() if line.strip()]
    return tuple(msgspec.convert(lines, list[Rule]))


# -- does a rule fit? --------------------------------------------------------------------------------------------------


def is_shell(tool: ToolInfo) -> bool:
    """Whether it is the harness's own shell, whose command is read before it is judged."""
    return tool.name == SHELL and tool.source.tier == "builtin"


def fits_words(rule: Rule, words: Sequence[str | None]) -> bool:
    """Whether a rule about programs covers a command. None: a word that nobody knows before it runs."""
    if rule.exactly:
        return tuple(words) == words_of(rule.exactly)
    pattern = words_of(rule.program)
    if rule.decision == "allow":
        return _is(pattern, words)
    return _begins(pattern, words, unknown=False)


def could_fit(rule: Rule, words: Sequence[str | None]) -> bool:
    """Whether a strict rule would cover the command if its unknown words were what the rule names."""
    if None not in words or rule.decision == "allow":
        return False
    return _begins(words_of(rule.program or rule.exactly), words, unknown=True)


def _is(pattern: tuple[str, ...], words: Sequence[str | None]) -> bool:
    if None in words:
        return False
    more = pattern[-1:] == ("*",) and len(pattern) > 1
    fixed = pattern[:-1] if more else pattern
    if len(words) < len(fixed) or (not more and len(words) > len(fixed)):
        return False
    return all(fnmatchcase(word or "", sign) for word, sign in zip(words, fixed, strict=False))


def _begins(pattern: Sequence[str], words: Sequence[str | None], *, unknown: bool) -> bool:
    """Whether the command begins so; options between, with or without a value, do not hide it."""
    places = {0}  # where the next word of the pattern may stand
    for sign in pattern if pattern != ("*",) else ():
        places = _past_options(words, places)
        if unknown and any(i < len(words) and words[i] is None for i in places):
            return True
        places = {i + 1 for i in places if i < len(words) and _same(words[i] or "", sign)}
    return bool(places)


def _past_options(words: Sequence[str | None], places: set[int]) -> set[int]:
    found, waiting = set(places), list(places)
    while waiting:
        i = waiting.pop()
        if i < len(words) and (words[i] or "").startswith("-"):
            new = {i + 1, i + 2} - found
            found |= new
            waiting += new
    return found


def _same(word: str, sign: str) -> bool:
    return fnmatchcase(word, sign) or fnmatchcase(word.rpartition("/")[2], sign)


# -- the index ---------------------------------------------------------------------------------------------------------


class Index:
    """The rules that could be about one tool, in buckets: by first literal word, first literal folder, argument."""

    def __init__(self, rules: Iterable[Rule], cwd: str) -> None:
        self.always: list[Rule] = []
        self.denied: dict[str, list[Rule]] = {}  # program -> deny rules: for texts that cannot be read
        self._words: dict[str, list[Rule]] = {}
        self._folders: dict[str, list[Rule]] = {}
        self._values: dict[tuple[str, str], list[Rule]] = {}
        self._lengths: dict[str, set[int]] = {}  # argument -> lengths of the texts its rules begin with
        self._found: dict[int, Finding] = {}
        self._cwd = cwd
        for rule in rules:
            self._place(rule)

    def _place(self, rule: Rule) -> None:
        if words := words_of(rule.program or rule.exactly):
            self._words.setdefault(_literal(words[0].rpartition("/")[2]), []).append(rule)
            if rule.decision == "deny" and _literal(words[0]):
                self.denied.setdefault(words[0].rpartition("/")[2], []).append(rule)
        elif rule.paths:
            for pattern in rule.paths:
                self._folders.setdefault(fold(_trunk(matcher(pattern, self._cwd).pattern)), []).append(rule)
        elif rule.arguments:
            key, sign = next(iter(rule.arguments.items()))
            fixed = _plain(_SIGN.split(sign)[0])
            self._lengths.setdefault(key, set()).add(len(fixed))
            self._values.setdefault((key, fixed), []).append(rule)
        else:
            self.always.append(rule)

    def finding(self, rule: Rule) -> Finding:
        """What one of its rules says, made once."""
        found = self._found.get(id(rule))
        if found is None:
            found = self._found[id(rule)] = Finding(Verdict[rule.decision.upper()], f"policy:{rule.text}")
        return found

    @property
    def has_paths(self) -> bool:
        """Whether there are rules about paths."""
        return bool(self._folders)

    def about_words(self, words: Sequence[str | None]) -> Iterator[Rule]:
        """Rules that cover a command."""
        for rule in self._near(words):
            if fits_words(rule, words):
                yield rule

    def perhaps_words(self, words: Sequence[str | None]) -> Iterator[Rule]:
        """Strict rules that would cover a command, should its unknown words be what they name."""
        if None in words:
            yield from (rule for rule in self._near(words) if could_fit(rule, words))

    def _near(self, words: Sequence[str | None]) -> Iterator[Rule]:
        first = words[0] if words else ""
        if first is None:  # it could be any program
            yield from (rule for bucket in self._words.values() for rule in bucket)
            return
        yield from self._words.get(first.rpartition("/")[2], ())
        yield from self._words.get("", ())

    def about_path(self, path: str) -> Iterator[Rule]:
        """Rules that cover a resolved path. Strict ones do not mind case."""
        if not self._folders:
            return
        folded = fold(path)
        here = folded
        while True:
            for rule in self._folders.get(here, ()):
                if self._covers(rule, path, folded):
                    yield rule
            if here in ("/", ""):
                return
            here = here.rpartition("/")[0] or "/"

    def about_below(self, folder: str) -> Iterator[Rule]:
        """Strict rules about paths that may lie below a resolved folder."""
        folded = fold(folder)
        for trunk, rules in self._folders.items():
            if is_inside(trunk, folded) or is_inside(folded, trunk):
                yield from (rule for rule in rules if rule.decision != "allow")

    def _covers(self, rule: Rule, path: str, folded: str) -> bool:
        exact = any(matcher(pattern, self._cwd).match(path) for pattern in rule.paths)
        if exact or rule.decision == "allow":
            return exact
        return any(_folding(matcher(pattern, self._cwd).pattern).match(folded) for pattern in rule.paths)

    def about_arguments(self, arguments: Mapping[str, Any]) -> Iterator[Rule]:
        """Rules whose arguments all fit. An argument that is not text is judged as its JSON."""
        for key, lengths in self._lengths.items():
            if key not in arguments:
                continue
            text = _plain(as_text(arguments[key]))
            for length in lengths:
                for rule in self._values.get((key, text[:length]), ()):
                    if _values_fit(rule, arguments):
                        yield rule


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _values_fit(rule: Rule, arguments: Mapping[str, Any]) -> bool:
    for name, sign in rule.arguments.items():
        if name not in arguments:
            return False
        text = as_text(arguments[name])
        if not fnmatchcase(text, sign) and (rule.decision == "allow" or not fnmatchcase(_plain(text), sign.casefold())):
            return False
    return True


def as_text(value: Any) -> str:
    """An argument as rules see it."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _literal(word: str) -> str:
    """The word, if it is no glob; else the empty one, whose bucket is always looked through."""
    return "" if _SIGNS & set(word) else word


@lru_cache(maxsize=8192)
def _trunk(expression: str) -> str:
    """The longest folder that begins every path an expression can match."""
    fixed = _FIXED.match(expression)
    head = fixed.group() if fixed else ""
    plain = re.sub(r"\\(.)", r"\1", head)
    return plain if expression[len(head) :] == BELOW else plain.rpartition("/")[0] or "/"


@lru_cache(maxsize=8192)
def _folding(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.DOTALL | re.IGNORECASE)
