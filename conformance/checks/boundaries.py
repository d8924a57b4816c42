"""Where a check can kill or cancel: the boundaries that an unharmed run of its script passes."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings

from conformance.bench.plan import ALLOW, EVENT, Answers, At
from conformance.bench.script import Script
from conformance.bench.world import World
from conformance.invariants.facts import main_requests
from conformance.trace import Boundary, Trace

THOROUGH = 50  # examples from which on every event of a stream counts


def passed(world: World, play: Script, answers: Answers = ALLOW) -> tuple[Trace, list[At]]:
    """An unharmed run (follow-up prompt and all), and each boundary that its first prompt passed, as a kill.

    Of the events of a reply, first, middle and last; in the thorough profile all of them.
    """
    with world.episode(play, answers=answers, fresh=True, watch_events=True) as episode:
        episode.prompt()
        everywhere = list(_boundaries(episode.trace))
        episode.follow_up()
        return episode.trace, everywhere


def _boundaries(trace: Trace) -> Iterator[At]:
    seen = trace.of(Boundary)
    yield from (At(b.name, b.nth) for b in seen if b.name != EVENT)
    starts = [r.seq for r in main_requests(trace)]
    for start, end in zip(starts, [*starts[1:], len(trace)], strict=True):
        events = [At(b.name, b.nth) for b in seen if b.name == EVENT and start < b.seq < end]
        yield from events if settings().max_examples >= THOROUGH else thinned(events)


def thinned(events: list[At]) -> list[At]:
    """First, middle and last, each once."""
    return [events[i] for i in sorted({0, len(events) // 2, len(events) - 1})] if events else []
