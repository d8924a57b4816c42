"""The probes: first what everything else rests on, then one for each thing that can be declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from conformance.bench.acp import RpcError
from conformance.bench.canaries import STANDARD
from conformance.bench.doors import SERVER
from conformance.bench.plan import answers
from conformance.bench.player import resolve
from conformance.bench.script import Script, call, reply, script
from conformance.bench.world import World
from conformance.contract.errors import HarnessError
from conformance.contract.vocabulary import CAPABILITIES
from conformance.smoke.findings import Findings
from conformance.smoke.lives import resume, several_sessions, take_up
from conformance.smoke.play import DONE, life_of, mains, play, questions, ran, stop_of, well_ended
from conformance.smoke.settings import compaction, limits, pool, rules
from conformance.smoke.views import extensions, modes
from conformance.trace import Illformed, Requested, Role, ToolEntered, Trace

PLAY = script(reply(call("c1", "look", target="ledger")), reply(call("c2", "wipe", target="ledger")), DONE)
Probe = Callable[[World, Findings], None]


def first_session(world: World, found: Findings) -> None:
    """Sessions can be opened, each under an id of its own."""
    found.declared = world.capabilities
    try:
        for _ in range(2):
            with world.episode(Script((DONE,))):
                pass
    except RpcError as refused:
        raise HarnessError(f"{refused}{life_of(world).last_words()}") from None


def first_prompts(world: World, found: Findings) -> None:
    """The same script twice: the destructive call is allowed, then refused."""
    allowed, ended = play(world, PLAY)
    well_ended(world, allowed, ended)
    found.fact(
        "prompt",
        f"a turn and a follow-up: {len(mains(allowed))} model requests; the turn ended with {stop_of(allowed)}",
    )
    _tools(world, allowed, found)
    _canary(allowed, found)
    refused, ended = play(world, PLAY, answers=answers("reject_once", c1="allow_once"))
    well_ended(world, refused, ended)
    _approvals(world, allowed, refused, found)
    _beside(allowed, found)
    for illegal in allowed.of(Illformed)[:1]:
        found.warnings.append(f"the harness sends requests that its provider refuses (row ALL-02): {illegal.message}")


def _tools(world: World, trace: Trace, found: Findings) -> None:
    """The bench's tools stand in the first request, under the names that the manifest says."""
    offered = mains(trace)[0].tools if mains(trace) else ()
    names = {tool.name: resolve(tool.name, offered) for tool in STANDARD}
    there = {tool: name for tool, name in names.items() if name is not None}
    listed = ", ".join(there.values()) or "none"
    found.fact("tools", f"{len(there)} of {len(names)} in the first model request: {listed}")
    if others := [name for name in offered if name not in there.values()]:
        found.fact("its own", ", ".join(others[:20]) + (f" and {len(others) - 20} more" if len(others) > 20 else ""))
    if len(there) < len(names) and world.posture.get("deferred") != "yes":
        absent = ", ".join(sorted(set(names) - set(there)))
        problem = f"these tools of the bench are not in the first model request: {absent}."
        found.problems.append(f"{problem} {_tools_remedy(world)}")
    _named_as_said(world, there, found)


def _tools_remedy(world: World) -> str:
    if world.harness.start.manifest is None:
        return "new_session must offer session.tools (with `callable`), or connect to session.mcp_servers at once."
    return (
        'Does it take mcpServers in session/new? Try [tools] door = "http" or "stdio"; make it wait for its servers; '
        'if it finds tools by search, declare [posture] deferred = "yes".'
    )


def _named_as_said(world: World, there: dict[str, str], found: Findings) -> None:
    manifest = world.harness.start.manifest
    if manifest is None:
        return
    for tool, name in there.items():
        said = manifest.tools.wire_name(SERVER, tool)
        if said != name:
            template = name.removesuffix(tool).replace(SERVER, "{server}") + "{tool}"
            where = f"{manifest.source}: key `tools.name`"
            found.problems.append(f'{where}: says {said!r}, the model sees {name!r}. Write name = "{template}"')
            return


def _canary(trace: Trace, found: Findings) -> None:
    entered = [e for e in trace.of(ToolEntered) if e.nonce == trace.nonce("c1")]
    asked = "asked about first" if questions(trace, "c1") else "not asked about"
    if not entered:
        found.problems.append(
            "the read-only call was scripted and its tool never ran: the harness does not reach the bench's tools"
        )
        return
    found.fact("read-only", f"look ran {_times(len(entered))} by the {entered[0].door} door, {asked}")
    through_callables = entered[0].door == "callable"
    found.capability("callable", served=through_callables, text=f"tools are run by the {entered[0].door} door")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} TIMES"


def _approvals(world: World, allowed: Trace, refused: Trace, found: Findings) -> None:
    asked = questions(allowed, "c2")
    options = ", ".join(asked[0].options) if asked else "none"
    told = "ran" if ran(allowed, "c2") else "did not run"
    told_refused = "ran all the same" if ran(refused, "c2") else "did not run"
    if asked:
        outcome = f"allowed, it {told}; refused, it {told_refused}"
        found.fact("destructive", f"wipe was asked about (options: {options}); {outcome}")
    else:
        found.fact("destructive", f"wipe was not asked about; it {told}")
    found.capability("approve", served=bool(asked), text=f"wipe was {'' if asked else 'not '}asked about")
    found.capability("always", served="allow_always" in options, text=f"options offered: {options}")
    if asked and not ran(allowed, "c2"):
        found.problems.append("wipe was asked about and allowed, and did not run: does the answer reach the harness?")
    if asked and ran(refused, "c2"):
        found.warnings.append("wipe was refused and ran all the same: rows PERM-01 and PERM-02 will fail")
    if not asked and ran(allowed, "c2"):
        configuration = world.harness.configuration
        found.warnings.append(f"wipe ran without a question: row PERM-01 will fail in configuration {configuration}")


def _beside(trace: Trace, found: Findings) -> None:
    """What the harness asks the model beside its work, so that patterns can be written for it."""
    others = [r for r in trace.of(Requested) if r.role is not Role.MAIN]
    lines = list(dict.fromkeys(f"{r.role.value}: {_opening(r)}" for r in others))
    found.fact("beside", "no other model requests" if not lines else "other model requests:\n" + "\n".join(lines[:8]))


def _opening(request: Requested) -> str:
    """How a request begins that is no main request: of its last user text, else of its system text."""
    entries = request.part("history")
    content = entries[-1].get("content") if isinstance(entries, list) and isinstance(entries[-1], dict) else entries
    text = content if isinstance(content, str) else next((str(b.get("text")) for b in content or [] if "text" in b), "")
    return repr((text or str(request.part("system") or ""))[:80])


def the_rest(world: World, found: Findings) -> None:
    """What is declared and was not looked at is said, and not passed over."""
    seen = found.shown.keys() | found.missing.keys() | found.unseen.keys()
    for name in sorted(world.capabilities & CAPABILITIES - seen):
        found.unseen[name] = "a smoke test does not look at this; its rows do"


PROBES: Sequence[tuple[str, Probe]] = (
    ("session", first_session),
    ("prompt", first_prompts),
    *(
        ("probes", probe)
        for probe in (resume, take_up, several_sessions, modes, limits, pool, rules, compaction, extensions, the_rest)
    ),
)
