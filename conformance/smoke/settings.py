"""Settings of a session: whether each one that is declared takes effect."""

from __future__ import annotations

from dataclasses import replace

from conformance.bench.canaries import SLOW, STANDARD
from conformance.bench.player import resolve
from conformance.bench.script import Script, Usage, call, reply, script
from conformance.bench.world import World
from conformance.contract.values import Compaction, Config, Limits
from conformance.smoke.findings import Findings
from conformance.smoke.play import DONE, body_text, mains, play, ran, stop_of
from conformance.trace import Configured, Requested, Role, Trace

STEPS = 6
USAGE = Usage(input=20_000, output=2_000)
LONG = Script((*(reply(call(f"c{n}", "look", target=f"page {n}"), usage=USAGE) for n in range(1, STEPS + 1)), DONE))
HANGING = script(reply(call("c1", "slow", target="ledger")), DONE)
# limit -> (value, script that goes beyond it); sizes in the unit of `Limits`
TIGHT: dict[str, tuple[float, Script]] = {
    "turns": (2, LONG), "tokens": (30_000, LONG), "calls": (2, LONG), "cost": (0.000_1, LONG), "time": (1, HANGING),
}  # fmt: skip
NO_WAY = "there is no way to give it"


def limits(world: World, found: Findings) -> None:
    """Each declared limit stops a script that goes beyond it."""
    for name in ("turns", "tokens", "calls", "cost", "time"):
        if name in world.capabilities:
            served, text = _limit(world, name)
            found.capability(name, served=served, text=text)
        elif _given_by_manifest(world, name):
            found.capability(name, served=True, text=f"[config.{name}] is in the manifest")


def _given_by_manifest(world: World, name: str) -> bool:
    manifest = world.harness.start.manifest
    return manifest is not None and name in manifest.config


def _limit(world: World, name: str) -> tuple[bool, str]:
    value, play_this = TIGHT[name]
    limit = Limits(**{name: value if name in ("cost", "time") else int(value)})  # type: ignore[arg-type] # by name
    at_start = world.harness.takes(name)
    if not at_start and "limits" not in world.methods:
        return False, f"{NO_WAY}: add [config.{name}], or serve _conformance/limits"
    config = Config(limits=limit) if at_start else Config()
    tools = (replace(SLOW, seconds=max(3.0, world.patience / 2)),) if name == "time" else STANDARD
    with world.episode(config=config) as episode:
        episode.open(play_this, config=config, tools=tools)
        if not at_start:
            error = episode.set_limits(limit).error
            if error:
                return False, f"_conformance/limits was answered with an error: {error}"
        ended = episode.prompt()
        trace = episode.trace
    requests = len(mains(trace))
    if ended.how != "ended":
        return False, f"{name} = {value:g}: the turn did not end ({ended.how})"
    bound = _held(trace, name, len(play_this.steps))
    outcome = f"{requests} model requests, ended with {stop_of(trace)}"
    return bound, f"{name} = {value:g} {'took effect' if bound else 'had NO effect'}: {outcome}"


def _held(trace: Trace, name: str, steps: int) -> bool:
    """True if the turn went less far than its script."""
    if name == "calls":
        return sum(ran(trace, f"c{n}") for n in range(1, STEPS + 1)) < STEPS
    return len(mains(trace)) < steps


def pool(world: World, found: Findings) -> None:
    """A tool that is left out is not offered to the model."""
    if "pool" not in world.capabilities:
        return
    if not world.harness.takes("exclude"):
        found.capability("pool", served=False, text=f"{NO_WAY}: add [config.exclude] to the manifest")
        return
    trace, _ = play(world, Script((DONE,)), config=Config(exclude=("look",)), follow=False)
    offered = mains(trace)[0].tools if mains(trace) else ()
    served = bool(offered) and resolve("look", offered) is None and resolve("note", offered) is not None
    seen = f"look was to be left out; offered were: {', '.join(offered)}"
    text = "look was left out, note was offered" if served else seen
    found.capability("pool", served=served, text=text)


def rules(world: World, found: Findings) -> None:
    """A tool that is denied does not run."""
    if "rules" not in world.capabilities:
        return
    if not world.harness.takes("deny"):
        found.capability("rules", served=False, text=f"{NO_WAY}: add [config.deny] to the manifest")
        return
    trace, _ = play(world, script(reply(call("c1", "note", target="ledger")), DONE), config=Config(deny=("note",)))
    denied = not ran(trace, "c1")
    found.capability("rules", served=denied, text=f"note was denied, and {'did not run' if denied else 'RAN'}")


def compaction(world: World, found: Findings) -> None:
    """History is compacted, on request or above a threshold; the last messages stay word for word."""
    if not {"compact", "keep_last"} & world.capabilities:
        return
    on_request, by_size = world.harness.compacts_on_request, world.harness.takes("compact_at")
    if not on_request and not by_size:
        text = f"{NO_WAY}: serve _conformance/compact, or add [compact] prompt or [config.compact_at] to the manifest"
        found.capability("compact", served=False, text=text)
        return
    keep = 2 if "keep_last" in world.capabilities and world.harness.takes("keep_last") else None
    at = None if on_request else 4_000
    trace = _compacted(world, Config(compaction=Compaction(at, keep)), on_request=on_request)
    summaries = [r for r in trace.of(Requested) if r.role is Role.COMPACTION]
    way = "on request" if on_request else "above a threshold of 4000 tokens"
    refused = next((c.error for c in trace.of(Configured) if c.error), "")
    why = f": {refused[:200]}" if refused else ", or it is told from others by no pattern: see `requests`, compaction"
    text = (
        f"{way}: model requests for a summary: {len(summaries)}"
        if summaries
        else f"{way}: no summary was asked for{why}"
    )
    found.capability("compact", served=bool(summaries), text=text)
    _kept(trace, summaries, keep, found)


def _compacted(world: World, config: Config, *, on_request: bool) -> Trace:
    passages = Script(tuple(reply(f"passage-{n} " + "and so on " * 200, usage=Usage(5_000, 500)) for n in range(1, 7)))
    with world.episode(config=config) as episode:
        episode.open(passages, config=config)
        for number in range(1, 6):
            episode.prompt(f"Please write passage {number}.")
        if on_request:
            episode.compact()
        episode.prompt("Please go on.")
        return episode.trace


def _kept(trace: Trace, summaries: list[Requested], keep: int | None, found: Findings) -> None:
    if "keep_last" not in found.declared:
        return
    after = [r for r in mains(trace) if summaries and r.seq > summaries[0].seq]
    if keep is None or not after:
        text = "no compaction was seen" if keep is not None else f"{NO_WAY}: add [config.keep_last] to the manifest"
        found.capability("keep_last", served=False, text=text)
        return
    served = "and so on and so on" in body_text(after[0])
    stands = "stands" if served else "does NOT stand"
    text = f"keep_last = {keep}: the last passage {stands} in the request after compaction"
    found.capability("keep_last", served=served, text=text)
