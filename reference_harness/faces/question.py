"""How a question is put to a person: the whole call, what would change, and the rules that a lasting answer makes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reference_harness.builtin import SOURCE
from reference_harness.events import UNCONFINED, Question
from reference_harness.permissions import Answer
from reference_harness.printable import in_order, visible

Line = tuple[str, str]  # text, colour
_OLD = ("old_string", "old_text", "old")
_NEW = ("new_string", "new_text", "new")
_PATHS = ("path", "file_path", "file")
_KEPT = " \t"
FURTHER = "│ ↳ "  # before what belongs to the line above: no newline stands there
_MAX_FILE = 1_000_000  # bytes of a file that is compared


def choices(question: Question) -> dict[str, tuple[str, Answer]]:
    """What may be typed, by its first letter. An answer that lasts is on offer only where it could hold.

    No yes and no differ by a letter's case alone: a slip refuses.
    """
    found = {
        "y": ("[y]es, once", Answer("allow", who="terminal")),
        "s": ("[s]ession", Answer("allow", scope="session", who="terminal")),
        "a": ("[a]lways", Answer("allow", scope="always", who="terminal")),
        "n": ("[n]o", Answer("deny", who="terminal")),
        "N": ("[N]o, session", Answer("deny", scope="session", who="terminal")),
        "D": ("[D]eny always", Answer("deny", scope="always", who="terminal")),
    }
    left_out = ("" if question.may_stand else "sa") + ("" if question.refusals else "ND")
    return {key: value for key, value in found.items() if key not in left_out}


def shown(question: Question, cwd: str) -> Iterator[Line]:
    """The question, line by line. Nothing of the call is left out."""
    call = question.call
    again = ", asked again: the process died before the answer took effect" if question.again else ""
    yield f"╭ {visible(call.tool)} wants to run  ({question.risk}, from {visible(question.source)}{again})", "bold"
    if question.session:
        yield f"│ asked by  {visible(question.agent)}", "bold"
    changes = change(call.arguments, cwd, own=question.source == SOURCE.name)
    for name, value in call.arguments.items():
        if name not in changes.hidden:
            yield from _argument(name, value)
    for line in changes.lines:
        yield f"│   {visible(line, _KEPT)}", {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
    if question.sandboxed is False:
        yield f"│ {UNCONFINED}", "red"
    yield f"│ asks because of  {visible(question.rule)}", "dim"
    yield from _rules(question, cwd)
    yield "╰", "bold"


def _rules(question: Question, cwd: str) -> Iterator[Line]:
    """The rules of each answer that lasts, and where they land."""
    grant = question.grant if question.may_stand else ""
    for word, rules, session, saved in (("yes", grant, "s", "a"), ("no", question.refusals, "N", "D")):
        if rules:
            where = f"or saved for {visible(cwd)} until `harness grants --revoke` ({saved})"
            held = "agent" if question.session else "session"  # a child's answers are its own
            yield f"│ {word} for this {held} ({session}), {where}:", "dim"
        for line in rules.splitlines():
            yield f"│   {visible(line)}", "dim"


def _argument(name: str, value: Any) -> Iterator[Line]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    begin = f"│ {visible(name)}  "
    for line in text.split("\n"):
        seen = visible(line, _KEPT)
        yield begin + seen, ""
        if (ordered := in_order(seen)) != seen:
            yield f"{FURTHER}letter by letter, from left to right: {ordered}", "yellow"
        begin = "│   "


class Change:
    """A change of a file as a diff. `hidden`: the arguments that the diff already shows in full."""

    def __init__(self, lines: list[str], hidden: tuple[str, ...]) -> None:
        self.lines = lines
        self.hidden = hidden


def change(arguments: Mapping[str, Any], cwd: str, *, own: bool) -> Change:
    """What a call would change, where its arguments are those of an edit or of a whole new text; else nothing.

    `own`: the tool is the harness's, so that it is known what an edit makes of the file.
    """
    path = _text(arguments, _PATHS)
    old, new = _text(arguments, _OLD), _text(arguments, _NEW)
    if path and old and new:  # every line of both, so that the diff is the whole of them
        before, after = arguments[old], arguments[new]
        file = _current(cwd, arguments[path]) if own else ""
        context = before.count("\n") + 3
        if _is_edited(file, before, arguments):
            before, after = file, file.replace(before, after)
        return Change(_diff(before, after, context), (old, new))
    content = _text(arguments, ("content", "contents", "text"))
    if path and content:
        size = f"{content}: {len(arguments[content])} characters in all; against the file as it is now:"
        return Change([size, *_diff(_current(cwd, arguments[path]), arguments[content], context=3)], (content,))
    return Change([], ())


def _is_edited(file: str, old: str, arguments: Mapping[str, Any]) -> bool:
    return old in file and (file.count(old) == 1 or arguments.get("all") is True)


def _text(arguments: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if isinstance(arguments.get(name), str)), "")


def _current(cwd: str, path: str) -> str:
    file = Path(cwd) / path
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_FILE).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _diff(old: str, new: str, context: int) -> list[str]:
    lines = list(difflib.unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=context))[2:]
    return lines or ["(no change)"]
