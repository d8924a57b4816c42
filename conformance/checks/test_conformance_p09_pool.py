"""Primitive 9, the tool pool: what the operator left out is neither offered nor run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from conformance.bench.canaries import LOOK, NOTE, STANDARD, Canary
from conformance.bench.episode import Episode
from conformance.bench.script import Script, ToolCall, call, reply, script
from conformance.bench.world import World
from conformance.checks.check import check, examples, once
from conformance.contract.values import Compaction, Config
from conformance.invariants.expectations import ran_once_each, replied_whole, requests_at_least, resumed
from conformance.invariants.registry import not_offered, nothing_ran_but, offered, tools_given, wire_name
from conformance.judging import control, expect
from conformance.trace import Trace

DONE = reply("All done.")
NAMES = [tool.name for tool in STANDARD]


# --- POOL-01


def _work() -> Script:
    """Two turns with a read-only call each."""
    looks = [reply(call(f"c{i}", "look", target=f"record {i}")) for i in (1, 2)]
    return script(*(step for look in looks for step in (look, DONE)))


@check("POOL-01")
@given(left_out=st.sets(st.sampled_from([name for name in NAMES if name != "look"]), min_size=1))
def test_pool_01_what_is_left_out_is_offered_in_no_request(world: World, left_out: set[str]) -> None:
    """Any tools left out; two prompts and a further one. Without the rule they are offered."""
    names = sorted(left_out)
    control(once(world.run, script=_work(), prompts=2), offered(names))
    trace = world.run(script=_work(), prompts=2, config=Config(exclude=tuple(names)))
    control(trace, requests_at_least(4))
    expect(trace, not_offered(names))


@check("POOL-01")
def test_pool_01_also_behind_compaction_and_resume(world: World) -> None:
    """The same in a long session: compacted where the harness can be asked to, then taken up by a new process."""
    rules = Compaction(keep_last=1) if world.harness.has("keep_last") else Compaction()
    open_to_all = _long_session(world, Config(compaction=rules))
    control(open_to_all, offered(["wipe", "pay"]))
    trace = _long_session(world, Config(compaction=rules, exclude=("wipe", "pay")))
    control(trace, requests_at_least(6 if world.harness.has("resume") else 5))
    if world.harness.has("resume"):
        control(trace, resumed())
    expect(trace, not_offered(["wipe", "pay"]))


def _long_session(world: World, config: Config) -> Trace:
    with world.episode(_work(), config=config, fresh=True) as episode:
        episode.prompt()
        episode.prompt()
        if "compact" in world.methods:
            episode.compact()
        episode.follow_up()
        if world.harness.has("resume"):
            episode.resume()
            episode.follow_up()
        return episode.trace


# --- POOL-02

SPELLINGS: Mapping[str, Callable[[str, str], str]] = {  # of the name on the wire, and the tool's own
    "exact": lambda wire, _: wire,
    "bare": lambda _, tool: tool,
    "upper": lambda wire, _: wire.upper(),
    "title": lambda wire, tool: wire[: -len(tool)] + tool.title(),
    "bare title": lambda _, tool: tool.title(),
    "server__tool": lambda _, tool: f"canary__{tool}",
    "mcp__server__tool": lambda _, tool: f"mcp__canary__{tool}",
    "server.tool": lambda _, tool: f"canary.{tool}",
    "server/tool": lambda _, tool: f"canary/{tool}",
    "server:tool": lambda _, tool: f"canary:{tool}",
}
tools = st.sampled_from(("wipe", "pay", "put", "mystery"))
spellings = st.sampled_from(sorted(SPELLINGS))


@check("POOL-02")
@examples(2)
@given(tool=tools, spelling=spellings)
def test_pool_02_what_is_left_out_does_not_run(world: World, tool: str, spelling: str) -> None:
    """Called all the same, by its exact name, in another case, or with its server's name before it."""
    world.needs("pool")
    proper = once(world.run, reply(call("c1", tool, target="ledger")), DONE)
    control(proper, ran_once_each(["c1"]))
    called = ToolCall("c1", SPELLINGS[spelling](wire_name(proper, tool), tool), {"target": "ledger"}, raw=True)
    trace = world.run(reply(called), DONE, config=Config(exclude=(tool,)))
    control(trace, replied_whole(1))
    expect(trace, nothing_ran_but([], "though the operator left it out"))


@check("POOL-02")
@given(tool=tools, spelling=spellings)
def test_pool_02_another_sessions_tool_does_not_run(world: World, tool: str, spelling: str) -> None:
    """Given to one session and run there; a second session of the same process calls it and does not have it."""
    with world.episode(script(reply(call("c1", tool, target="ledger")), DONE)) as episode:
        episode.prompt()
        name = SPELLINGS[spelling](wire_name(episode.trace, tool), tool)
        called = ToolCall("c2", name, {"target": "ledger"}, raw=True)
        trace = _in_second_session(episode, called, (LOOK, NOTE))
    control(trace, ran_once_each(["c1"]), tools_given("s1", tool, there=True), tools_given("s2", tool, there=False))
    control(trace, replied_whole(3))
    expect(trace, nothing_ran_but(["c1"], "though it is no tool of its session"))


def _in_second_session(episode: Episode, called: ToolCall, given_tools: Sequence[Canary]) -> Trace:
    label = episode.open(script(reply(called), DONE), tools=given_tools)
    episode.prompt(label=label)
    episode.follow_up(label)
    return episode.trace
