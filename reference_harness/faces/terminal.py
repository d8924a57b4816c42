"""A session at a terminal: text on stdout; calls, questions and the budget on stderr, or where it is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from reference_harness.budget import Budget
from reference_harness.errors import amount
from reference_harness.events import Event, Happened, Piece, Question
from reference_harness.faces.keyboard import Keyboard
from reference_harness.faces.question import FURTHER, Line, choices, shown
from reference_harness.permissions import Answer
from reference_harness.printable import folded, harmless, visible
from reference_harness.records import (
    AnyRecord,
    Closed,
    Compacted,
    CompactionFailed,
    Finished,
    GrantLost,
    LimitReached,
    RulesLoaded,
    Started,
)
from reference_harness.verifiers import JOURNAL
from reference_harness.work_records import GivenUp, LimitNear, Verified

if TYPE_CHECKING:
    from reference_harness.session import Session

_COLOURS = {"": "0", "dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_WORDS = {"yes": "y", "session": "s", "always": "a", "no": "n", "never": "N", "deny": "D"}
_VIEW = ("v", "view")
_ANSWER = 3  # rows of the screen that the answers may take
_BEGAN = 4  # lines of a long question that are shown again at its end
_SHORT = 100  # characters of a result that are shown
_NARROW = 20  # columns: a terminal that says that it has less does not know
_LAST, _WIDE = 12, 200  # lines of what a verifier saw, and characters of each


def colour(text: str, name: str, stream: TextIO) -> str:
    """The text in a colour, where the stream is a terminal that wants colours."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m"


class Terminal:
    """A `Client` for a person at a terminal; without one, nothing is allowed."""

    def __init__(self, cwd: str, keyboard: Keyboard | None = None, notes: TextIO | None = None) -> None:
        self._cwd = cwd
        self._notes = notes or sys.stderr
        self._keyboard = keyboard or Keyboard()
        self._mid_line = False  # whether streamed text stands before the cursor

    def say(self, text: str, name: str = "dim") -> None:
        """A line, below what streamed to the same screen."""
        if self._notes is sys.stdout or sys.stdout.isatty():
            self.fresh_line()
        self._notes.write(colour(text, name, self._notes) + "\n")
        self._notes.flush()

    def fresh_line(self) -> None:
        """End a line that streamed text left open."""
        if self._mid_line:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._mid_line = False

    def show(self, event: Event) -> None:
        """Stream text; tell what happens to calls."""
        match event:
            case Piece(kind="text", text=text):
                sys.stdout.write(harmless(text))
                sys.stdout.flush()
                self._mid_line = not text.endswith("\n")
            case Happened(entry=entry, replayed=False):
                if line := told(entry.record):
                    self.say(*line)

    def show_child(self, agent: str, event: Event) -> None:
        """Tell what happens to the calls of a child agent: its work is nobody's silence."""
        if isinstance(event, Happened) and (line := told(event.entry.record)):
            text, name = line
            self.say(f"  {visible(agent)} {text}", name)

    def put(self, question: Question) -> list[Line]:
        """Show the question whole; its lines as they were shown, if they are more than the screen holds, else none."""
        width, height = size(self._notes)
        lines = [(piece, name) for text, name in shown(question, self._cwd) for piece in folded(text, width, FURTHER)]
        self._say_all(lines)
        if len(lines) + _ANSWER <= height:
            return []
        self.say(f"  these were {len(lines):,} lines, more than the screen holds. They began:", "bold")
        self._say_all(lines[:_BEGAN])
        return lines

    def _say_all(self, lines: Sequence[Line]) -> None:
        for text, name in lines:
            self.say(text, name)

    async def _page(self, lines: Sequence[Line]) -> None:
        """Show the lines from the first one on, a screen at a time."""
        step = max(size(self._notes)[1] - _ANSWER, 1)
        for at in range(0, len(lines), step):
            self._say_all(lines[at : at + step])
            left = len(lines) - at - step
            if left > 0 and (await self._keyboard.line(f"  {left} more lines: Enter, or q to answer  > ")) != "":
                return

    async def ask(self, question: Question) -> Answer:
        """Show the whole call and take an answer. No person, no line, or anything unclear is no permission.

        What was typed before the call was shown is no answer.
        """
        if not self._keyboard.there:
            tool = visible(question.call.tool)
            self.say(f"• {tool} is refused: no terminal to ask at. --allow {tool}, or a rule, lets it run", "yellow")
            return Answer.missing("nobody is at the terminal")
        self._keyboard.forget()
        long, letters = self.put(question), choices(question)
        words = [*(words for words, _ in letters.values()), *(["[v]iew from the top"] if long else [])]
        while (said := await self._keyboard.line(f"  {' · '.join(words)}  > ")) and long and said.strip() in _VIEW:
            await self._page(long)
            self._keyboard.forget()
        if said is None:
            return Answer.missing("the terminal was closed before an answer")
        made = letters.get(_WORDS.get(said.strip(), said.strip()), ("", Answer("deny", who="terminal")))[1]
        self.say("  allowed" if made.verdict == "allow" else "  refused", "green" if made.verdict == "allow" else "red")
        return made


def size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal that the stream writes to; without bounds where they are not known."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns = rows = 0
    return (columns if columns >= _NARROW else sys.maxsize), rows or sys.maxsize


def told(record: AnyRecord) -> tuple[str, str] | None:  # noqa: C901, PLR0911 - a table
    """A line, and its colour, about a record; None for those a person need not see."""
    match record:
        case Started(tool=tool, call=id_):
            return f"• {visible(tool)} runs ({id_})", "cyan"
        case Finished(text=text, is_error=is_error):
            return f"  {'failed' if is_error else 'done'}: {short(text)}", "red" if is_error else "dim"
        case Closed(text=text):
            return f"  {short(text)}", "yellow"
        case Compacted(before=before, after=after):
            return f"• older messages were summarised: {before} bytes are now {after}", "dim"
        case CompactionFailed(because=because):
            return f"• the summary failed, the history stays: {short(because)}", "yellow"
        case RulesLoaded(broken=broken) if broken:
            return f"• {visible(broken)}", "red"
        case GrantLost(error=error):
            return f"• the answer could not be saved and held for this call alone: {short(error)}", "yellow"
        case LimitNear(limit=limit, allowed=allowed, used=used):
            return (
                f"• {amount(limit, used).removesuffix(f' {limit}')} of {amount(limit, allowed)} are used up",
                "yellow",
            )
        case GivenUp(token=token, because=because):
            return f"• nobody waits any more for what comes under {visible(token)}: {because}", "yellow"
        case LimitReached(limit=limit, allowed=allowed):
            return f"• the limit of {amount(limit, allowed)} is reached", "yellow"
        case Verified(verifier=verifier, passed=passed) if verifier != JOURNAL or not passed:
            return _judged(record), "dim" if passed else "red"
    return None


def _judged(record: Verified) -> str:
    """What a verifier said; of one that failed the end of what it saw."""
    said = f"• {visible(record.verifier)} {'passed' if record.passed else 'failed'} after {record.seconds:.1f} s"
    lines = [] if record.passed else [line for line in record.evidence.splitlines() if line.strip()]
    return "\n".join([said, *("  " + visible(line)[:_WIDE] for line in lines[-_LAST:])])


def short(text: str) -> str:
    """The beginning of a text, on one line."""
    clean = visible(" ".join(text.split()))
    return clean if len(clean) <= _SHORT else clean[:_SHORT] + f"… ({len(clean)} characters)"


def budget_line(session: Session) -> str:
    """What the session spent, beside its limits."""
    spent, limits = session.budget, session.limits
    parts = [
        _spent(f"{spent.turns:,}", limits.turns, " requests"), _spent(f"{spent.tokens:,}", limits.tokens, " tokens"),
        _spent(_dollars(spent), limits.cost, "", "$"), _spent(f"{spent.time:,.1f}", limits.time, " s"),
    ]  # fmt: skip
    return " · ".join(parts)


def _dollars(spent: Budget) -> str:
    """The cost as far as prices are known, and that it is not where they are not."""
    if not spent.unpriced:
        return f"${spent.cost:,.4f}"
    return f"${spent.cost:,.4f} and {spent.unpriced:,} tokens without a known price" if spent.cost else "no price known"


def _spent(amount: str, limit: float | None, unit: str, sign: str = "") -> str:
    return amount + (f" of {sign}{limit:,.10g}" if limit is not None else "") + unit


def outcome(session: Session, since: int = 0) -> str:
    """The calls after the first `since` that did not simply work, by what became of them; "" if all did."""
    states: dict[str, list[str]] = {}
    for view in list(session.workflow.calls.values())[since:]:
        if view.state != "done":
            states.setdefault(view.state.replace("_", " "), []).append(visible(view.call.tool))
    return "; ".join(f"{state}: {', '.join(tools)}" for state, tools in states.items())
