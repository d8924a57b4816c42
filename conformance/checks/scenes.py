"""Scenes: sessions that are on cassette. What is asked, how it is answered, what the scripted model says, what holds.

A scene is recorded unharmed (`pytest --harness=reference --record`); checks play its cassette, unharmed and with a
kill, a limit or a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.bench.canaries import PING, STANDARD, Canary
from conformance.bench.plan import ALLOW, REFUSE, Answers, At
from conformance.bench.player import Playable
from conformance.bench.script import Failure, Script, Think, ToolCall, Usage, call, reply, script
from conformance.bench.tapes import tape
from conformance.bench.world import World
from conformance.checks.compacting import GOOD, OVER
from conformance.checks.compacting import settings as compaction
from conformance.contract.values import Config
from conformance.invariants.compaction import compacted, legal_after_compaction
from conformance.invariants.events import (
    broken_streams_end,
    model_failed,
    ran_as_streamed,
    ran_without_arguments,
    whole_replies_are_worked,
)
from conformance.invariants.expectations import (
    all_turns_ended,
    asked_at_all,
    ran_nothing,
    ran_once_each,
    replied_whole,
    started_at_least,
    told,
    told_as_done,
)  # fmt: skip
from conformance.invariants.permissions import ran_only_after_grants, refusal_is_told
from conformance.invariants.tapes import asked_only_what_is_taped, tape_played, thinking_unchanged, thought_and_called
from conformance.judging import Predicate, holds
from conformance.trace import Trace


@dataclass(frozen=True)
class Scene:
    """One session on cassette. `name` is its folder and file; `holds` stands in its provenance, with `requirement`.

    control: what shows that the situation arose; it must not be true of an empty run. scripted: why no real model can
    be asked for it, "" if it can.
    """

    name: str
    requirement: str
    prompts: tuple[str, ...]
    script: Script
    control: tuple[Predicate, ...]
    holds: tuple[Predicate, ...]
    answers: Answers = ALLOW
    tools: Sequence[Canary] = STANDARD
    compacts: bool = False
    scripted: str = ""


KEPT = asked_only_what_is_taped()
WHOLE = tape_played()
ONCE = "Give each call a nonce of its own."
DONE = reply("That was all.")

APPROVED = Scene(
    "permissions/approved", "PERM-01", (f"Read the record alpha with look, then delete it with wipe. {ONCE}",),
    script(
        reply("I read it first.", call("c1", "look", target="alpha")),
        reply("Now it goes.", call("c2", "wipe", target="alpha")), reply("The record alpha is deleted."),
    ),
    control=(WHOLE, started_at_least(2), ran_once_each(), asked_at_all()), holds=(ran_only_after_grants(), KEPT),
)  # fmt: skip
REFUSED = Scene(
    "permissions/refused", "PERM-02", (f"Delete the record alpha with wipe. If that is refused, stop. {ONCE}",),
    script(reply("It goes now.", call("c1", "wipe", target="alpha")), reply("It was refused, so it stays.")),
    control=(asked_at_all(),), holds=(ran_nothing(["c1"]), refusal_is_told(["c1"]), KEPT), answers=REFUSE,
)  # fmt: skip
CRASH = Scene(
    "sessions/crash", "SESS-02",
    (f"Read the record alpha with look, add a line to beta with note, then pay 12 to gamma with pay. {ONCE}",),
    script(
        reply("First alpha.", call("c1", "look", target="alpha")),
        reply("Now beta.", call("c2", "note", target="beta")),
        reply("Last, gamma.", call("c3", "pay", target="gamma", amount=12)), reply("All three are done."),
    ),
    control=(WHOLE, started_at_least(3), ran_once_each()), holds=(told_as_done(), KEPT),
)  # fmt: skip
LIMIT = Scene(
    "budgets/limit", "BUDG-01",
    (f"Add a line to each of the records one, two, three, four with note, one call a reply. {ONCE}",),
    script(*(reply(call(f"c{n}", "note", target=word)) for n, word in enumerate(("one", "two", "three", "four"), 1)),
           DONE),
    control=(WHOLE, started_at_least(4), ran_once_each()), holds=(told_as_done(), KEPT),
)  # fmt: skip
SUMMARY = Scene(
    "compaction/summary", "COMP-02",
    (f"Add a line to the records one and two with note, one call a reply. {ONCE}",
     "Add a line to the record three as well.", f"And now to the record four. {ONCE}"),
    script(
        reply("One.", call("c1", "note", target="one")), reply("Two.", call("c2", "note", target="two")),
        reply("Both are done."), reply("Three.", call("c3", "note", target="three")),
        reply("That is done too.", usage=OVER), reply("Four.", call("c4", "note", target="four"), usage=Usage(400, 20)),
        reply("All four are done."), summary=(GOOD,),
    ),
    control=(compacted(), ran_once_each()), holds=(legal_after_compaction(), all_turns_ended(), KEPT), compacts=True,
    scripted="the usage that sets compaction off is the script's",
)  # fmt: skip
THINKING = Scene(
    "events/thinking", "ALL-02", (f"Think, then read alpha with look and add a line to it with note. {ONCE}",),
    script(
        reply(Think("The record comes first: what stands in it decides the line."), "I read alpha.",
              call("c1", "look", target="alpha")),
        reply(Think("It was read. One line is enough."), call("c2", "note", target="alpha")),
        reply("The line is there."),
    ),
    control=(thought_and_called(),), holds=(thinking_unchanged(), holds("ALL-02"), KEPT),
    scripted="whether a model thinks is the harness's setting",
)  # fmt: skip
PARALLEL = Scene(
    "events/parallel", "EVNT-12", (f"In one reply read alpha with look and add a line to beta and gamma. {ONCE}",),
    script(
        reply("All three at once.", call("c1", "look", target="alpha"), call("c2", "note", target="beta"),
              call("c3", "note", target="gamma")),
        reply("All three are done."),
    ),
    control=(replied_whole(1),), holds=(started_at_least(3), ran_as_streamed(), told(), holds("ALL-02"), KEPT),
)  # fmt: skip
NO_ARGUMENTS = Scene(
    "events/no_arguments", "EVNT-12", ("Read the pulse with beat, and say what it is.",),
    script(reply("I read it.", ToolCall("c1", PING.name, bare=True)), reply("It is steady.")),
    control=(replied_whole(1),), holds=(ran_without_arguments(PING.name), holds("ALL-02"), KEPT),
    tools=(*STANDARD, PING),
)  # fmt: skip
OVERLOADED = Scene(
    "events/overloaded", "EVNT-05", (f"Add a line to the record alpha with note. {ONCE}",),
    script(Failure(529), reply("It is added.", call("c1", "note", target="alpha")), DONE),
    control=(model_failed(["status 529"]),), holds=(broken_streams_end(), whole_replies_are_worked(), KEPT),
    scripted="no provider can be asked to be overloaded",
)  # fmt: skip
SCENES = (APPROVED, REFUSED, CRASH, LIMIT, SUMMARY, THINKING, PARALLEL, NO_ARGUMENTS, OVERLOADED)


def played(world: World, scene: Scene, *, source: Playable | Script | None = None, config: Config | None = None,
           at: Sequence[At] = ()) -> Trace:  # fmt: skip
    """Play a scene from its cassette, or from `source`; killed as planned, it is resumed and goes on."""
    config = config or (compaction(world) if scene.compacts else Config())
    what = source or tape(world.cassettes, scene.name, world.model.dialect.name)
    with world.episode(what, answers=scene.answers, tools=scene.tools, config=config, at=at) as episode:
        for prompt in scene.prompts:
            if scene.compacts and prompt == scene.prompts[-1] and world.harness.compacts_on_request:
                episode.compact()
            episode.prompt(prompt)
            while episode.crashed and not episode.resume().error:
                episode.proceed()
        return episode.trace
