"""Sessions that outlive their process, and several in one."""

from __future__ import annotations

from conformance.bench.plan import ASKED, At
from conformance.bench.script import Script, call, reply, script
from conformance.bench.world import World
from conformance.smoke.findings import Findings
from conformance.smoke.play import DONE, life_of, mains, questions, ran
from conformance.trace import LifeKilled, Loading, SessionLoaded, Trace, TurnEnded, Updated


def resume(world: World, found: Findings) -> None:
    """session/load in a new process: the history is there, in the next model request and on the client's screen."""
    offered = bool((life_of(world).info.get("agentCapabilities") or {}).get("loadSession"))
    if not offered and not {"resume", "replay"} & world.capabilities:
        return
    with world.episode(script(reply(call("c1", "look", target="ledger")), DONE), fresh=True) as episode:
        episode.prompt()
        loaded = episode.resume()
        if not loaded.error:
            episode.follow_up()
        trace = episode.trace
    told = loaded.error[:200] if loaded.error else _history(trace)
    found.fact("new process", f"session/load: {told}")
    after = [r for r in mains(trace) if r.seq > loaded.seq]
    served = not loaded.error and any(trace.nonce("c1") in r.calls for r in after)
    found.capability("resume", served=served, text=f"session/load in a new process: {told}")
    replayed = sum(1 for u in trace.of(Updated) if u.replay)
    found.capability("replay", served=replayed > 0, text=f"{replayed} updates of history on load")


def _history(trace: Trace) -> str:
    loaded = trace.of(SessionLoaded)[-1]
    after = [r for r in mains(trace) if r.seq > loaded.seq]
    if not after:
        return "answered, but the next prompt brought no model request"
    there = trace.nonce("c1") in after[0].calls
    shown = sum(1 for u in trace.of(Updated) if u.replay)
    return f"answered; {shown} updates replayed; the next model request {'has' if there else 'LACKS'} the earlier call"


def take_up(world: World, found: Findings) -> None:
    """A turn killed at an open question is taken up in the next life."""
    if "resume" not in found.shown or "approve" not in found.shown:
        return
    play = script(reply(call("c1", "wipe", target="ledger")), DONE)
    trace = world.crash_run(play, [At(ASKED)])
    if not trace.of(LifeKilled) or not trace.of(Loading):
        found.fact("interrupted", "could not be brought about: no question was open when the process was to be killed")
        return
    way = "session/continue" if "session/continue" in world.methods else "a further prompt"
    again = len(questions(trace, "c1")) > 1
    told = "asked about again" if again else "not asked about again"
    done = "run" if ran(trace, "c1") else "not run"
    found.fact("interrupted", f"killed while a question was open; taken up by {way}: the call was {told}, and {done}")
    if way == "session/continue":
        failed = next((e.error for e in trace.of(TurnEnded) if e.error), "")
        if failed:
            found.problems.append(f"session/continue is announced and failed: {failed[:200]}")
    else:
        _posture_of_pending(world, again=again, found=found)


def _posture_of_pending(world: World, *, again: bool, found: Findings) -> None:
    saw = "ask_on_prompt" if again else "close"
    said = world.posture.get("pending")
    if said is None:
        found.warnings.append(f'posture `pending` is not declared; here it was "{saw}"')
    elif said != saw:
        found.warnings.append(f'posture `pending` says "{said}"; here it was "{saw}"')


def several_sessions(world: World, found: Findings) -> None:
    """Two sessions in one process, each with its own script."""
    if "sessions" not in world.capabilities:
        return
    with world.episode(Script((DONE,))) as episode:
        second = episode.open(Script((DONE,)))
        ended = [episode.prompt(), episode.prompt(label=second)]
        trace = episode.trace
    served = all(e.how == "ended" for e in ended) and {r.session for r in mains(trace)} == {"s1", second}
    ends = " and ".join(e.how for e in ended)
    text = "each got its own replies" if served else f"they did not both come to their end: {ends}"
    found.capability("sessions", served=served, text=f"two sessions in one process: {text}")
