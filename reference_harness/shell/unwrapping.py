"""Programs that run other programs: what they would run is put beside them, so that each is judged."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from reference_harness.shell.reading import DEEPEST, Command, Reading, read
from reference_harness.shell.table import Options, known_as, program_of, table, take_apart
from reference_harness.shell.words import Word

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "rbash", "mksh"})
_UNKNOWN = Word(None, raw="what it is fed")
_BRACES = Word(None, raw="{}")  # what find puts in
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_MOST = 2000  # commands of one line


def unfold(text: str) -> Reading:
    """Read a line, with every command that is reached through another. Wrappers that are understood disappear."""
    reading = read(text)
    waiting = [(command, 0) for command in reversed(reading.commands)]
    reading.commands = []
    while waiting:
        command, depth = waiting.pop()
        inner = _inside(command, reading, depth)
        if inner is None:
            reading.commands.append(command)
        else:
            waiting += [(each, depth + 1) for each in reversed(inner)]
        if len(reading.commands) > _MOST:
            reading.doubt(f"it runs more than {_MOST} commands", opaque=True)
            break
    return reading


def _inside(command: Command, reading: Reading, depth: int) -> list[Command] | None:
    """What a command runs; None if it stands for itself."""
    name = program_of(command.words[0].text)
    if depth > DEEPEST:
        reading.doubt("shells within shells, too deep to follow", opaque=True)
        return None
    if name in SHELLS:
        return _shell(command.words, reading)
    if name in ("eval", "trap"):
        return _text([word for word in command.words[1:] if word.text != "--"], name, reading)
    if name == "find":
        return _find(command, reading)
    if name == "command" and any(word.text in ("-v", "-V") for word in command.words[1:2]):
        return [Command((Word("type"), *command.words[2:]))]  # it only says where a program is
    return _wrapped(command, reading)


def _wrapped(command: Command, reading: Reading) -> list[Command] | None:
    found = known_as(table().wrappers, command.words[:1])
    if found is None:
        return None
    known, words = found[0], command.words[1:]
    options = take_apart(known, words, leading=True)
    rest = list(words[options.rest :])
    if options.strange:
        reading.doubt(f"{command.words[0].raw}: {options.strange}")
        return None
    reading.reads += options.paths
    if known.because:
        reading.doubt(f"{command.words[0].raw}: {known.because}")
    while known.settings and rest and _SETTING.fullmatch(rest[0].text or ""):
        reading.doubt(f"it sets {rest.pop(0).raw[:40]}")
    rest = rest[known.skip :]
    if known.fed:
        rest = _fed(rest or [Word("echo")], options)
    if not rest:
        return None
    return [Command(tuple(rest))]


def _fed(words: Sequence[Word], options: Options) -> list[Word]:
    """The command with what xargs puts at its end, and, for some also in its name, into words that hold a sign."""
    signs = ["{}", *(value for name, value in options.given if name in ("-I", "--replace"))]
    replaced = [_UNKNOWN if any(sign in (word.text or "") for sign in signs) else word for word in words]
    return [*replaced, _UNKNOWN]


def _shell(words: Sequence[Word], reading: Reading) -> list[Command] | None:
    """`sh -c TEXT`: the text is read in turn. Any other use of a shell runs what is not here to be read."""
    for i, word in enumerate(words[1:], 1):
        text = word.text or ""
        if re.fullmatch(r"-[elux]*c[elux]*", text):
            return _text(words[i + 1 : i + 2], "sh -c", reading)
        if not re.fullmatch(r"-[elux]+", text):
            break
    reading.doubt(f"{words[0].raw} runs what cannot be seen here", opaque=True)
    return None


def _text(words: Sequence[Word], name: str, reading: Reading) -> list[Command] | None:
    if not words or any(word.text is None for word in words):
        reading.doubt(f"{name} runs what is not known before", opaque=True)
        return None
    if name != "sh -c":
        reading.doubt(f"{name} runs text")
        words = words[:1] if name == "trap" else words
    inner = read(" ".join(word.text or "" for word in words))
    reading.writes += inner.writes
    reading.reads += inner.reads
    reading.functions |= inner.functions
    reading.looped |= inner.looped
    for doubt in inner.doubts:
        reading.doubt(doubt)
    reading.opaque |= inner.opaque
    return inner.commands


def _find(command: Command, reading: Reading) -> list[Command] | None:
    """`find ... -exec COMMAND ;` runs a command for what it finds."""
    words, found = list(command.words), []
    rest: list[Word] = []
    while words:
        word = words.pop(0)
        if word.text not in ("-exec", "-execdir", "-ok", "-okdir"):
            rest.append(word)
            continue
        if word.text.endswith("dir"):
            reading.doubt(f"find {word.text} runs it in folders that are not known")
        inner: list[Word] = []
        while words and not _ends(words[0], inner):
            each = words.pop(0)
            inner.append(_told(each))
        words = words[1:]
        if inner:
            found.append(Command(tuple(inner)))
    if not found:
        return None
    return [Command(tuple(rest)), *found]


def _told(word: Word) -> Word:
    """A word of what find runs: what it puts in is not known, nor is a `+` that does not end it to every find."""
    if word.text == "{}":
        return _BRACES
    return _UNKNOWN if word.text == "+" or "{}" in (word.text or "{}") else word


def _ends(word: Word, before: Sequence[Word]) -> bool:
    """Whether a word ends what find runs: `;`, or a `+` right after `{}`."""
    return word.text == ";" or (word.text == "+" and before[-1:] == [_BRACES])


def quoted(texts: Sequence[str]) -> str:
    """Words as they could be typed."""
    return shlex.join(texts)
