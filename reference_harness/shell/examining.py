"""What is to be said of a shell command: of each command in it, each file it names, all that is not understood."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from shutil import which

from reference_harness.ground import Book
from reference_harness.modes import Weight
from reference_harness.paths import HARMLESS, expand, holds, is_inside, resolve, starts_like_option
from reference_harness.places import is_mild, judge_place, strict_words
from reference_harness.rules import Rule, fits_words
from reference_harness.shell.reading import Command, Reading
from reference_harness.shell.repository import trap
from reference_harness.shell.table import TRUSTED_FOLDERS, Known, check, known_as, program_of, table
from reference_harness.shell.unwrapping import quoted, unfold
from reference_harness.shell.words import PIPE, Word
from reference_harness.verdicts import Finding, Verdict, strictest

_MOST_FOLDERS = 16
_QUOTED = re.compile(r"\$?'[^']*'|\"(?:[^\"\\]|\\.)*\"|\\.", re.DOTALL)
_SIGNS = "*?[]"
_MOST_WORDS = 32  # of a command that another may run


@dataclass
class Examined:
    """`grants`: the rules that would cover all that asks; None if there are no such rules."""

    findings: list[Finding] = field(default_factory=list)
    weight: Weight = Weight.READS
    grants: list[Rule] | None = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def add(self, *findings: Finding, grant: Rule | None = None) -> None:
        """Take findings about one part; `grant` would cover it if it asks."""
        self.findings += findings
        if not findings or strictest(findings).verdict is Verdict.ALLOW:
            return
        if grant is None or not all(each.default for each in findings if each.verdict is not Verdict.ALLOW):
            self.grants = None
        elif self.grants is not None and grant not in self.grants:
            self.grants.append(grant)


def examine(text: str, book: Book, folder: str) -> Examined:
    """Judge a command line that starts in a folder. Never raises."""
    examined = Examined()
    reading = unfold(text)
    for doubt in dict.fromkeys(reading.doubts):
        examined.weight = Weight.HEAVY
        examined.add(Finding(Verdict.ASK, f"shell:{doubt}", default=True))
    folders = _folders(reading, folder, examined)
    for command in reading.commands:
        _Part(command, reading, book, folders, examined).judge()
    for word in reading.reads:
        _redirected(word, folders, book, examined, writes=False)
    for word in reading.writes:
        _redirected(word, folders, book, examined, writes=True, again=_opens_again(word, reading))
    if reading.tests:
        examined.add(Finding(Verdict.ALLOW, "shell:a test", default=True))
    if reading.opaque:
        examined.add(*_named(reading.tokens, book))
        examined.add(*_guarded_text(text, book))
    return examined


def _folders(reading: Reading, folder: str, examined: Examined) -> list[str]:
    """Every folder a part of the line may run in: `cd` may come before it."""
    found = [folder]
    for command in reading.commands:
        name, target = program_of(command.words[0].text), command.texts[1:2]
        if name not in ("cd", "pushd", "popd"):
            continue
        plain = name == "cd" and target and target[0] and not target[0].startswith("-") and len(command.words) == 2
        if not plain or command.words[1].glob or reading.looped or len(found) > _MOST_FOLDERS:
            examined.weight = Weight.HEAVY
            examined.add(Finding(Verdict.ASK, f"shell:{name} to a folder that is not known", default=True))
            continue
        found += [way for here in found for way in _ways(str(target[0]), here)]
        found = list(dict.fromkeys(found))
    return found


def _ways(target: str, here: str) -> tuple[str, str]:
    """Where `cd` leads: the shell undoes `..` by the name, the disk by the link."""
    whole = os.path.expanduser(target) if target.startswith("~") else target  # noqa: PTH111 - no path object is needed
    return resolve(target, here), os.path.normpath(os.path.join(here, whole))  # noqa: PTH118 - as above


def _resolved(word: Word, folders: list[str]) -> list[str] | None:
    """The files a word may name; None if that is not known."""
    if word.text is None or (word.glob and _half_quoted(word)):
        return None
    if word.text == PIPE and word.raw[:2] in ("<(", ">("):
        return []
    text = word.raw if word.glob and "\\" not in word.raw and '"' not in word.raw and "'" not in word.raw else word.text
    found = []
    for folder in folders:
        matched = expand(text, folder) if word.glob else [resolve(text if _is_bare(word) else "./" + text, folder)]
        if matched is None:
            return None
        found += matched
        if text.startswith("file:"):  # to most programs no address, but a name
            found.append(resolve("./" + text, folder))
    return list(dict.fromkeys(found))


def _half_quoted(word: Word) -> bool:
    """A glob in which some of the signs are quoted: what it matches is not what its text matches."""
    bare = _QUOTED.sub("", word.raw)
    return sum(map(bare.count, _SIGNS)) != sum(map((word.text or "").count, _SIGNS))


def _is_bare(word: Word) -> bool:
    """A tilde counts only where it is not quoted."""
    return not (word.text or "").startswith("~") or word.raw.startswith("~")


def _opens_again(word: Word, reading: Reading) -> bool:
    """Whether it may open for writing what the line has opened for reading: /dev/stdin is whatever that is."""
    return word.text == "/dev/stdin" or (word.text in HARMLESS and word.text != "/dev/null" and bool(reading.reads))


def _redirected(
    word: Word, folders: list[str], book: Book, examined: Examined, *, writes: bool, again: bool = False
) -> None:
    paths = _resolved(word, folders)
    if paths is None:
        examined.weight = Weight.HEAVY
        examined.add(
            Finding(Verdict.ASK, f"shell:a redirection to {word.raw[:40]}, not known before it runs", default=True)
        )
        return
    examined.places += paths
    for path in paths:
        if again or (path not in HARMLESS and word.text not in HARMLESS):
            examined.add(*judge_place(path, book, writes=writes))
            if writes:
                examined.weight = max(examined.weight, Weight.MILD if is_mild(path, book.ground.cwd) else Weight.HEAVY)


class _Part:
    """One simple command."""

    def __init__(self, command: Command, reading: Reading, book: Book, folders: list[str], out: Examined) -> None:
        self.command = command
        self.texts = command.texts
        self.name = program_of(self.texts[0])
        self.reading = reading
        self.book = book
        self.folders = folders
        self.moved = folders != [book.workspace]  # whether by `cd`, or because the call itself starts elsewhere
        self.out = out

    def judge(self) -> None:
        ruled = list(self.book.about_words(self.texts, moved=self.moved))
        if self.name == "cd" or self._calls():
            self.out.add(*ruled)  # where it leads and what the function does is judged by itself
        elif found := known_as(table().readers, self.command.words):
            self._reader(*found, ruled)
        elif found := known_as(table().makers, self.command.words):
            self._maker(*found, ruled)
        else:
            self._other("is not known to be harmless", ruled)

    def _calls(self) -> bool:
        """Whether it can be nothing but a function of the line. Where that is not defined, a program would run."""
        name = self.texts[0] or ""
        if name not in self.reading.functions or "/" in name or name in table().builtins.programs:
            return False
        return which(name) is None

    def _reader(self, known: Known, words: Sequence[Word], ruled: list[Finding]) -> None:
        options = check(known, words)
        places = [_resolved(word, self.folders) for word in options.paths]
        because = options.strange or self._becomes_option(known) or self._shadow() or self._chosen(known)
        because = because or (self._trap() if known.repository else "")
        if because or None in places:
            self._other(because or "reads what is not known before it runs", ruled)
            return
        self.out.add(*ruled or [Finding(Verdict.ALLOW, f"shell:{self.name} reads", default=True)])
        if known.text == "all" or known.anything:  # of its words only globs look at the disk
            for word in words:
                if word.glob:
                    _redirected(word, self.folders, self.book, self.out, writes=False)
            return
        named = [path for some in places for path in some or ()]
        if known.follows and (folder := next(filter(os.path.isdir, named), "")):
            self._other(f"follows the links in the folder {folder}", ruled)
            return
        roots = named or [self.folders[0], *map(os.path.realpath, self.folders[1:])]  # the first is resolved
        for path in roots:
            self.out.places.append(path)
            if path not in HARMLESS:
                self.out.add(*judge_place(path, self.book, writes=False))
        if known.deep or known.deep_by & options.seen:
            self._through([self.book.workspace] if known.repository else roots)

    def _through(self, roots: Sequence[str]) -> None:
        """It shows what is below these folders: rules about that cannot be kept otherwise than by asking."""
        for folder in filter(os.path.isdir, roots):
            self.out.add(*self.book.about_below(folder))

    def _becomes_option(self, known: Known) -> str:
        """A glob that matches a file with a name like an option gives the program that option."""
        for word in () if known.anything else self.command.words[1:]:
            if word.glob and any(starts_like_option(word.text or "", folder) for folder in self.folders):
                return f"{word.raw[:40]} may match a file that it would take for an option"
        return ""

    def _shadow(self) -> str:
        """The PATH may lead into the workspace, where a program of the name is anybody's."""
        near = (self.book.workspace, self.book.ground.cwd)
        for place in os.environ.get("PATH", "").split(":"):
            if place.startswith("/") and not any(is_inside(place, folder) for folder in near):
                continue
            if any(os.path.lexists(os.path.join(folder, place, self.name)) for folder in self.folders):  # noqa: PTH118
                return f"the PATH finds it in the workspace, in {place or 'the folder it runs in'}"
        return ""

    def _chosen(self, known: Known) -> str:
        """Where versions of a program are managed, a file in the workspace may say which one runs."""
        found = which(self.name) if known.system and self.texts[0] == self.name else None
        at_home = found is None or os.path.dirname(found) in TRUSTED_FOLDERS  # noqa: PTH120 - as above
        return "" if at_home else f"it is {found}, and a file here may say what that runs"

    def _trap(self) -> str:
        return next((found for folder in self.folders if (found := trap(folder, self.book.workspace))), "")

    def _maker(self, known: Known, words: Sequence[Word], ruled: list[Finding]) -> None:
        options = check(known, words)
        places = [_resolved(word, self.folders) for word in options.paths]
        flat = [path for some in places for path in some or ()]
        mild = not options.strange and None not in places and all(map(self._is_mild, flat))
        self._other("changes files", ruled, Weight.MILD if mild else Weight.HEAVY)

    def _is_mild(self, path: str) -> bool:
        """Whether it may be made unasked. A name like an option's would be one to a program that a glob gives it to."""
        return is_mild(path, self.book.ground.cwd) and not os.path.basename(path).startswith("-")  # noqa: PTH119 - as above

    def _other(self, because: str, ruled: list[Finding], weight: Weight = Weight.HEAVY) -> None:
        """A command that may do anything: it asks unless a rule covers it, and so does what it names."""
        self.out.weight = max(self.out.weight, weight)
        shown = (self.command.words[0].raw or str(self.texts[0]))[:60]
        asks = Finding(Verdict.ASK, f"shell:{shown}: {because}", default=True)
        self.out.add(*ruled or [asks], grant=self._grant())
        self.out.add(*_strict(self._hidden()))
        self.out.add(*_strict(self._places()))

    def _grant(self) -> Rule | None:
        if self.moved or None in self.texts or any(word.glob for word in self.command.words):
            return None
        return Rule(decision="allow", exactly=quoted([text or "" for text in self.texts]))

    def _hidden(self) -> Iterator[Finding]:
        """Denied commands that this one could run: an unknown wrapper's words, or text in a language of its own."""
        keeps, opaque = table().keeps, table().opaque.programs
        if self.name in keeps.programs and not {(text or "").partition("=")[0] for text in self.texts} & keeps.except_:
            return
        for i in range(1, len(self.texts)):
            yield from self.book.about_words(self.texts[i : i + _MOST_WORDS]) if self.texts[i] is not None else ()
        if self.texts[0] is None:
            yield from _named(self.reading.tokens, self.book)
        if self.name in opaque or self.name in keeps.programs:
            for word in self.command.words:
                yield from _named(Reading(word.text or word.raw).tokens, self.book)

    def _places(self) -> Iterator[Finding]:
        """The files it may write, as far as its words name them."""
        for word in (*self.command.words[1:], Word("")):
            for text in _readings(word):
                yield from self._place(Word(text, word.glob, word.raw))
            yield from _guarded_text(word.text or word.raw, self.book)

    def _place(self, word: Word) -> Iterator[Finding]:
        for path in _resolved(word, self.folders) or ():
            self.out.places.append(path)
            yield from strict_words(path, self.book, writes=True)
            if self.name in table().destroyers.programs and word.text and holds(path, self.book.ground.protected):
                yield Finding(Verdict.DENY, "guarded:policy, grants, sessions and audit lie below what it changes")


def _strict(findings: Iterator[Finding]) -> list[Finding]:
    return [each for each in findings if each.verdict is not Verdict.ALLOW]


def _readings(word: Word) -> list[str]:
    """What a word may name: itself, the value of a long option or setting, the value of a short one."""
    text = word.text
    if text is None:
        return []
    found = [text]
    if "=" in text:
        found.append(text.partition("=")[2])
    if text.startswith("-") and not text.startswith("--") and len(text) > 2:
        found.append(text[2:])
    return found


def _named(tokens: list[str], book: Book) -> Iterator[Finding]:
    """Denied programs that a text names, which nobody can read otherwise."""
    denied = book.denied()
    for i, token in enumerate(tokens):
        for rule in denied.get(token.rpartition("/")[2], ()) if denied else ():
            if fits_words(rule, tokens[i : i + _MOST_WORDS]):
                yield Finding(Verdict.DENY, f"policy:{rule.text}")


def _guarded_text(text: str, book: Book) -> Iterator[Finding]:
    """A text that names one of the harness's own folders, whatever it does with it."""
    if any(folder in text for folder in book.ground.protected):
        yield Finding(Verdict.DENY, "guarded:it names the folder of policy, grants, sessions and audit")
