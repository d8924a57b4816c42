"""Plays a cassette: each interaction once, matched on the conversation. A miss is told, and so is what was left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.bench.canaries import BY_NAME
from conformance.bench.player import LAST_WORD, Miss, Player, Served, resolve
from conformance.bench.script import NONCE, Failure, Script, Step, ToolCall
from conformance.bench.tapes.cassette import Cassette, Interaction, read
from conformance.bench.tapes.story import Story, canary_of, difference, same, story
from conformance.bench.wire import DIALECTS
from conformance.bench.wire.anthropic_tape import Names, answer, step_of
from conformance.bench.wire.dialect import Answer, Dialect, HttpRequest, ModelRequest
from conformance.contract.errors import CassetteError
from conformance.judging import NotExposed
from conformance.trace import Role

SPOKEN = ("anthropic",)  # the dialects whose cassettes can be played
ENDPOINT = "/v1/messages"


@dataclass(frozen=True)
class Tape:
    """A cassette to be played to a session, in the place of a script."""

    cassette: Cassette

    def player(self, serials: Iterator[int]) -> TapePlayer:
        """A player for one session. Raises CassetteError: an answer on it is no answer of its dialect."""
        made = TapePlayer(self.cassette.name, serials)
        for number, one in enumerate(self.cassette.interactions, 1):
            try:
                made.add(one)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise CassetteError(
                    f"{self.cassette.name}: the answer of interaction {number} is none of the dialect "
                    f"{self.cassette.provenance.dialect} ({type(error).__name__}: {error}): record it again"
                ) from error
        given = self.cassette.provenance
        made.told = f"{self.cassette.name}: recorded on {given.recorded} from {given.source}"
        return made


def tape(folder: Path, name: str, dialect: str) -> Tape:
    """The cassette of this name ("permissions/approved") in a folder, for a harness that speaks the dialect.

    Raises CassetteError for a file that is wrong, NotExposed where nothing can be played to this harness.
    """
    found = read(folder / f"{name}.yaml")
    spoken = found.provenance.dialect
    if spoken not in SPOKEN:
        raise CassetteError(f"{folder / name}.yaml: its dialect is {spoken!r}; played are: {', '.join(SPOKEN)}")
    if spoken != dialect:
        raise NotExposed(None, f"the cassette speaks {spoken}, the harness {dialect}", bench=True)
    return Tape(found)


@dataclass
class _Taped:
    """An interaction of the tape as it is played: its step has the nonces of this session."""

    told: Story
    interaction: Interaction
    step: Step
    nonces: Mapping[str, str]
    known: Story | None = None  # set behind a compaction
    number: int = -1
    played: bool = False
    seed: str = field(default="")


def recorded(one: Interaction) -> ModelRequest:
    """The recorded request, understood; a provider may lie behind a path of its own."""
    asked = one.request
    return DIALECTS[SPOKEN[0]].read(HttpRequest(asked.method, ENDPOINT, asked.headers, asked.body))


class TapePlayer(Player):
    """A `Player` whose steps are the answers of a cassette. `told` says what it is, for the trace."""

    told = ""

    def __init__(self, name: str, serials: Iterator[int]) -> None:
        super().__init__(Script(()), serials)
        self.name = name
        self.tape: list[_Taped] = []
        self._sums: list[_Taped] = []
        self._labels = 0

    # --- the tape

    def add(self, one: Interaction) -> None:
        """Put an interaction at the end of the tape. Raises ValueError and its kin for what cannot be read."""
        nonces: dict[str, str] = {}
        step = step_of(one.status, one.body, lambda tool, given: self._call(tool, given, nonces), streamed=one.streamed)
        taped = _Taped(story(recorded(one)), one, step, nonces, seed=f"{self.name}/{next(self._serials)}")
        if one.role != Role.MAIN.value:
            self._sums.append(taped)
            return
        taped.known = self._known() if self._sums else None
        taped.number = len(self.steps)
        self.tape.append(taped)
        self.steps.append(step)

    def _call(self, tool: str, given: Mapping[str, Any], nonces: dict[str, str]) -> ToolCall:
        """A recorded call under its canary's name, with a nonce of this session."""
        self._labels += 1
        label = f"c{self._labels}"
        if NONCE in given:
            fresh = nonces.setdefault(str(given[NONCE]), f"nonce-{next(self._serials):05d}-{label}")
            return ToolCall(label, canary_of(tool), {**given, NONCE: fresh})
        return ToolCall(label, canary_of(tool), dict(given), bare=True)

    def _known(self) -> Story:
        """All prompts and calls that have been on the tape so far."""
        return tuple(dict.fromkeys(entry for taped in self.tape for entry in taped.told))

    # --- playing

    @property
    def played(self) -> bool:
        """True if every interaction was asked for."""
        return all(taped.played for taped in self.tape)

    @property
    def position(self) -> int:
        """How many were asked for."""
        return sum(taped.played for taped in self.tape)

    def main(self, read: ModelRequest) -> Served:
        """The first interaction of this conversation that was not played yet, else a miss."""
        asked = story(read)
        fitting = [taped for taped in self.tape if same(asked, taped.told, taped.known)]
        found = next((taped for taped in fitting if not taped.played), None)
        if found is None:
            return Served(LAST_WORD, -1, missed=self._miss(asked, fitting))
        again = any(taped.played for taped in fitting)
        found.played = True
        return Served(found.step, found.number, again=again)

    def _miss(self, asked: Story, fitting: Sequence[_Taped]) -> Miss:
        if fitting:
            return Miss(f"interaction {fitting[-1].number + 1} of the tape was played, and is asked for once more",
                        list(asked))  # fmt: skip
        rest = [taped for taped in self.tape if not taped.played]
        if not rest:
            return Miss("the tape is at its end, and more is asked", [f"+ {entry}" for entry in asked])
        why = f"interaction {rest[0].number + 1} of the tape is next, and another conversation is asked about"
        return Miss(why, difference(asked, rest[0].told))

    def unread(self, number: int) -> None:
        """The harness was killed before it had the whole answer: it may ask again."""
        for taped in self.tape:
            if taped.number == number:
                taped.played = False

    def summary(self) -> Step:
        """The next recorded summary; the last one again, for a harness that sums up in more steps than were taped."""
        if not self._sums:
            return super().summary()
        fresh = next((one for one in self._sums if not one.played), self._sums[-1])
        fresh.played = True
        return fresh.step

    def answer(self, step: Step, served: Served, read: ModelRequest, serial: int, dialect: Dialect) -> Answer:
        """The recorded answer itself; the bench's own word where there is none."""
        taped = next((one for one in (*self.tape, *self._sums) if one.step is served.step), None)
        if taped is None:
            return super().answer(step, served, read, serial, dialect)
        one = taped.interaction
        names = Names(taped.seed, self._offered(taped, read), taped.nonces)
        return answer(one.status, one.headers, one.body, names, streamed=one.streamed, stream=read.stream)

    def _offered(self, taped: _Taped, read: ModelRequest) -> dict[str, str]:
        """{recorded name: the name under which this harness offers the tool}."""
        found = {}
        for name in recorded(taped.interaction).tools:
            canary = canary_of(name)
            self.names[canary] = resolve(canary, read.tools) or self.names.get(canary, canary)
            if canary in BY_NAME:
                found[name] = self.names[canary]
        return found

    def extend(self, script: Script) -> None:
        """A tape is not added to. Raises CassetteError."""
        raise CassetteError(f"{self.name}: a cassette is played as it is; {len(script.steps)} steps were to be added")

    def left(self) -> str:
        """What was not asked for, for the trace; "" if all was."""
        rest = [taped for taped in self.tape if not taped.played]
        said = ", ".join(f"{taped.number + 1} ({_said(taped.step)})" for taped in rest)
        return (
            f"tape {self.name}: {len(rest)} of {len(self.tape)} interactions were not asked for: {said}" if rest else ""
        )


def _said(step: Step) -> str:
    if isinstance(step, Failure):
        return f"status {step.status}"
    return ", ".join([*(call.tool for call in step.calls), *([repr(step.text[:40])] if step.text else [])])
