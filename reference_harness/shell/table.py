"""The table of known programs, and whether a command is one of them with nothing but known options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import msgspec

from reference_harness.shell.operators import UNSURE, unsure
from reference_harness.shell.words import Word

TRUSTED_FOLDERS = ("/bin", "/usr/bin", "/usr/local/bin")


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one program: see `table.toml` for the meaning of each field."""

    flags: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    path_values: frozenset[str] = frozenset()
    apart: bool = False
    first: bool = False
    number: bool = False
    single: bool = False
    text: int | str = 0
    text_by: frozenset[str] = frozenset()
    only: str = ""
    only_values: str = ""
    refuse: str = ""
    refuse_values: str = ""
    operators: bool = False
    system: bool = False
    most: int = 10**6
    needs: frozenset[str] = frozenset()
    repository: bool = False
    follows: bool = False
    deep: bool = False
    deep_by: frozenset[str] = frozenset()
    anything: bool = False
    skip: int = 0
    settings: bool = False
    because: str = ""
    fed: bool = False


class Programs(msgspec.Struct, frozen=True):
    """A list of programs, and words that make an exception of them."""

    programs: frozenset[str]
    except_: frozenset[str] = msgspec.field(name="except", default=frozenset())


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is known of programs."""

    readers: Mapping[str, Known]
    makers: Mapping[str, Known]
    wrappers: Mapping[str, Known]
    keeps: Programs
    opaque: Programs
    destroyers: Programs
    builtins: Programs


@lru_cache(maxsize=1)
def table() -> Table:
    """The table that comes with the harness."""
    import tomllib

    return msgspec.convert(tomllib.loads(Path(__file__).with_name("table.toml").read_text("utf-8")), Table)


@dataclass
class Options:
    """A command taken apart. `given`: options with their values. `rest`: index of the first word that is no option."""

    seen: set[str] = field(default_factory=set)
    words: list[Word] = field(default_factory=list)
    paths: list[Word] = field(default_factory=list)
    given: list[tuple[str, str]] = field(default_factory=list)
    rest: int = 0
    strange: str = ""


def program_of(word: str | None) -> str:
    """The name of a program that is found where programs are; else empty: `./ls` is not `ls`."""
    if word is None:
        return ""
    folder, sign, name = word.rpartition("/")
    return name if not sign or folder in TRUSTED_FOLDERS else ""


def take_apart(known: Known, words: Sequence[Word], *, leading: bool = False) -> Options:
    """Options and words. `leading`: options end at the first word, as they do for wrappers."""
    found, i = Options(), 0
    while i < len(words) and not found.strange:
        word = words[i]
        text = word.text
        if text is None:
            found.strange = "" if known.anything or leading else f"{word.raw[:40]} is not known before it runs"
        if text == "--" and not known.anything:
            found.words += [] if leading else words[i + 1 :]
            i += 1 if leading else len(words) - i
            break
        if text is not None and _is_option(text, known) and not (known.first and found.words):
            i += _option(text, words[i + 1 :], known, found)
        elif leading:
            break
        else:
            found.words.append(word)
            i += 1
    found.rest = min(i, len(words))
    return found


def _is_option(text: str, known: Known) -> bool:
    if known.anything:
        return False
    return (text.startswith("-") and text != "-") or (known.single and text in known.flags)


def _option(text: str, after: Sequence[Word], known: Known, found: Options) -> int:
    """Take one option; how many words it took."""
    name, sign, value = text.partition("=")
    if text in known.flags or (known.number and re.fullmatch(r"-\d+", text)):
        found.seen.add(text)
        return 1
    if sign and name.startswith("--") and name in known.values | known.path_values:
        return _value(name, Word(value, raw=value), known, found, 1)
    if text in known.values | known.path_values:
        return _next(text, after, known, found)
    if not known.single and not text.startswith("--"):
        return _cluster(text, after, known, found)
    found.strange = f"the option {text[:40]} is not known to be harmless"
    return 1


def _cluster(text: str, after: Sequence[Word], known: Known, found: Options) -> int:
    """Short options in one word; the last may carry its value."""
    for i, letter in enumerate(text[1:], 1):
        name, value = "-" + letter, text[i + 1 :]
        takes = name in known.values | known.path_values
        if takes and value and not known.apart:
            return _value(name, Word(value, raw=value), known, found, 1)
        if name in known.flags:
            found.seen.add(name)
        elif takes and not value:
            return _next(name, after, known, found)
        else:
            found.strange = f"the option {text[:40]} is not known to be harmless"
            break
    return 1


def _next(name: str, after: Sequence[Word], known: Known, found: Options) -> int:
    """Take the word after an option as its value. One that looks like an option might be one to the program."""
    value = after[0] if after else Word(None)
    if not known.single and re.match(r"-(?!\d+\Z).", value.text or "", re.DOTALL):
        found.strange = f"{name} {(value.text or '')[:40]} may be two options"
    return _value(name, value, known, found, 2)


def _value(name: str, value: Word, known: Known, found: Options, taken: int) -> int:
    found.seen.add(name)
    found.given.append((name, value.text or ""))
    if value.text is None or value.glob:
        found.strange = f"the value of {name} is not known before it runs"
    elif name in known.path_values:
        found.paths.append(value)
    elif (known.only_values and not re.fullmatch(known.only_values, value.text)) or (
        known.refuse_values and re.search(known.refuse_values, value.text)
    ):
        found.strange = f"the value of {name} is not known to be harmless"
    return taken


def check(known: Known, words: Sequence[Word]) -> Options:
    """The options of a known program; `strange` says why it is not only reading. `paths` are what it reads."""
    found = take_apart(known, words)
    texts = len(found.words) if known.text == "all" else int(known.text)
    if known.text_by & found.seen:
        texts = 0
    found.strange = found.strange or _unfit(known, found, texts)
    found.paths += found.words[texts:]
    return found


def _unfit(known: Known, found: Options, texts: int) -> str:
    if len(found.words) > known.most:
        return "it has more words than it has when it only reads"
    if known.needs and not known.needs & found.seen:
        return "without an option that makes it only show something"
    if known.refuse and any(re.fullmatch(known.refuse, word.text or "") for word in found.words):
        return "a word of it is not harmless"
    return UNSURE if known.operators and unsure(found.words) else _unfit_texts(known, found.words[:texts])


def _unfit_texts(known: Known, words: Sequence[Word]) -> str:
    for word in words:
        if word.text is not None and known.only and not re.fullmatch(known.only, word.text):
            return f"{word.raw[:40]} is not known to be harmless"
        if word.glob and not known.anything and known.only:
            return f"{word.raw[:40]} becomes what it matches"
    return ""


def known_as(kind: Mapping[str, Known], words: Sequence[Word]) -> tuple[Known, Sequence[Word]] | None:
    """The entry for a command by its longest name (`git stash list`), and the words after that name."""
    name = program_of(words[0].text) if words else ""
    for length in (3, 2, 1):
        tail = [word.text for word in words[1:length]]
        whole = " ".join([name, *(text or "" for text in tail)])
        if name and len(tail) == length - 1 and None not in tail and (found := kind.get(whole)):
            return found, words[length:]
    return None
