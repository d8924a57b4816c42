"""The policy, modes and saved grants in whole sessions, and decisions judged again from the journal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from client import Life, RequestError, allow, results
from scripted import call, reply, text
from working import opened, records, sound

from reference_harness import audit
from reference_harness.anthropic_model import AnthropicModel
from reference_harness.errors import UsageFault
from reference_harness.grants import Grants
from reference_harness.harness import Harness
from reference_harness.mcp_tools import Server
from reference_harness.permissions import Answer
from reference_harness.records import Decided, GrantLost, RulesLoaded
from reference_harness.replay import replay, today
from reference_harness.stores import SQLiteStore


def test_a_policy_file_decides_in_a_real_process(tmp_path, tools, scripted, run, monkeypatch):
    policy = tmp_path / "config" / "harness.toml"
    policy.parent.mkdir()
    policy.write_text('[[rule]]\ndecision = "deny"\ntool = "wipe"\narguments = {nonce = "b*"}\n'
                      '[[rule]]\ndecision = "allow"\ntool = "canary__mystery"\n')  # fmt: skip
    model = scripted(reply(call("t1", "wipe", nonce="a"), call("t2", "wipe", nonce="bad"), call("t3", "mystery", nonce="c"),
                           call("t4", "look", nonce=str(policy))), reply(text("done")))  # fmt: skip

    async def story():
        async with Life(tmp_path, model, allow, HARNESS_CONFIG=str(policy)) as life:
            session = await life.open(tools, tmp_path)
            await life.say(session, "go")
            assert [a.tool_call_id for a in life.recorder.asked] == ["t1", "t4"], "reading the policy asks each time"
            assert [a.field_meta["conformance"].get("grant", "") for a in life.recorder.asked] == [
                '{decision = "allow", tool = "wipe"}', ""]  # fmt: skip
        assert [nonce for _, nonce in tools.journal] == ["a", "c", str(policy)]

    run(story())
    store = SQLiteStore(tmp_path / "state")
    (session,) = store.sessions()
    policy.write_text('[[rule]]\ndecision = "allow"\ntool = "*"\n')
    assert replay(store, session, "t2").same, "the policy is judged by as it was"
    assert replay(store, session, "t2").now[0] == "deny"
    assert [replay(store, session, id_).now[0] for id_ in ("t1", "t3")] == ["ask", "allow"]
    monkeypatch.setenv("HARNESS_CONFIG", str(policy))
    assert [today(store, session, id_).now[0] for id_ in ("t1", "t2", "t3")] == ["allow"] * 3
    policy.write_text('[[rule]]\ndecision = "deny"\ntool = "mystery"\n')
    assert [today(store, session, id_).now[0] for id_ in ("t2", "t3")] == ["ask", "deny"]
    assert today(store, session, "t3").was[0] == "allow", "what was decided stays"
    monkeypatch.delenv("HARNESS_CONFIG")
    moved = replay(store, session, "t4")
    assert moved.changed, "here that folder is nobody's policy"
    with pytest.raises(UsageFault):
        replay(store, session, "t9")


@pytest.mark.parametrize("broken", ["x = [", None])
def test_a_broken_or_missing_policy_opens_no_session(broken, tmp_path, tools, scripted, run):
    policy = tmp_path / "p.toml"
    if broken:
        policy.write_text(broken)

    async def story():
        async with Life(tmp_path, scripted(), allow, HARNESS_CONFIG=str(policy)) as life:
            with pytest.raises(RequestError, match="policy"):
                await life.open(tools, tmp_path)

    run(story())


def test_the_mode_holds_over_a_resume_and_plan_changes_nothing(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="a"), call("t2", "look", nonce="b")), reply(text("done")),
                     reply(call("t3", "wipe", nonce="c")), reply(text("done")))  # fmt: skip

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path, mode="plan", allow=["wipe"])
            await life.say(session, "go")
            assert results(model.main[-1])["t1"].startswith("refused")
        async with Life(tmp_path, model, allow) as life:
            await life.load(session, tools, tmp_path)
            await life.say(session, "again")
            assert life.recorder.asked == []
            audit = (await life.ext("audit", sessionId=session, mode="plan", decision="deny"))["decisions"]
            assert [d["toolCallId"] for d in audit] == ["t1", "t3"]
        assert tools.journal == [("look", "b")]

    run(story())


@pytest.fixture
def rules(tmp_path, monkeypatch):
    """Write the policy file of this test."""
    path = tmp_path / "config" / "harness.toml"
    path.parent.mkdir()
    monkeypatch.setenv("HARNESS_CONFIG", str(path))

    def write(text_: str) -> None:
        path.with_suffix(".new").write_text(text_)
        path.with_suffix(".new").replace(path)

    return write


ALLOW, DENY = (f'[[rule]]\ndecision = "{word}"\ntool = "wipe"\n' for word in ("allow", "deny"))


def test_a_policy_that_changes_while_a_session_runs_counts_from_the_next_call(
    tmp_path, house, rules, tools, scripted, run
):
    calls = [(call(f"t{n}", "wipe", nonce=str(n)), call(f"m{n}", "mystery", nonce=str(n))) for n in range(4)]
    model = scripted(*(reply(*each) for each in calls), reply(text("done")))
    rules(ALLOW)
    texts = {"1": DENY, "3": ALLOW + '[tools]\nexclude = ["mystery"]\n'}

    async def story():
        harness = house(model)

        def edit(question):  # the first call of the round is decided, and has not run yet
            if given := texts.get(question.call.arguments["nonce"]):
                rules(given)
            return "allow"

        session, person = await opened(harness, tmp_path, edit)
        await session.prompt("go")
        asked = [question.call.id for question in person.asked]
        assert asked == ["m0", "m1", "m2", "m3"]
        loaded = [record.text for record in records(harness, session.id, "rulesloaded")]
        assert loaded == [ALLOW, DENY, texts["3"]]
        assert "wipe" not in records(harness, session.id, "poolassembled")[1].offered
        assert records(harness, session.id, "guarded")[-1].loosened
        await harness.close()
        assert sound(harness)
        decided = [*audit.query(harness.store, {"tool": "wipe"})]
        assert all(replay(harness.store, session.id, d["toolCallId"]).same for d in decided)

    run(story())
    # t1 was allowed when its policy changed, t2 came after; m3 was allowed by a person and then left out
    assert [nonce for tool, nonce in tools.journal if tool == "wipe"] == ["0"]
    assert [nonce for tool, nonce in tools.journal if tool == "mystery"] == ["0", "1", "2"]
    assert not model.illegal


@pytest.mark.parametrize("broken", ["[[rule]]\ndecision = 'deni'", "x = [", None])
def test_a_policy_that_can_no_longer_be_read_allows_nothing_that_needs_permission(
    broken, tmp_path, house, rules, tools, scripted, run
):
    names = ("wipe", "look", "mystery")
    rounds = [reply(*(call(f"{name}{n}", name, nonce=str(n)) for name in names)) for n in range(3)]
    model = scripted(*(part for each in rounds for part in (each, reply(text("done")))))
    rules(ALLOW)
    path = tmp_path / "config" / "harness.toml"

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path)
        await session.prompt("go")
        path.unlink() if broken is None else rules(broken)
        await session.prompt("go")
        denied = [*audit.query(harness.store, {"decision": "deny"})]
        assert [d["toolCallId"] for d in denied] == ["wipe1", "mystery1"]
        assert all(str(path) in d["because"] and "nothing runs that needs permission" in d["because"] for d in denied)
        assert all(replay(harness.store, session.id, d["toolCallId"]).same for d in denied)
        rules(ALLOW)
        await session.prompt("go")
        assert [question.call.id for question in person.asked] == ["mystery0", "mystery2"]
        assert [bool(r.broken) for r in records(harness, session.id, "rulesloaded")] == [False, True, False]
        await harness.close()
        assert sound(harness)

    run(story())
    assert tools.journal == [("wipe", "0"), ("look", "0"), ("mystery", "0"), ("look", "1"),
                             ("wipe", "2"), ("look", "2"), ("mystery", "2")]  # fmt: skip


def test_settings_that_become_stricter_hold_for_calls_that_were_allowed_and_have_not_begun(
    tmp_path, house, tools, scripted, run
):
    model = scripted(reply(call("t1", "wipe", nonce="1"), call("t2", "mystery", nonce="2")), reply(text("done")))

    async def story():
        harness = house(model)
        session, _ = await opened(
            harness, tmp_path, lambda _question: session.configure({"mode": "plan"}) or "allow", allow=["wipe"]
        )
        await session.prompt("go")
        await harness.close()
        assert sound(harness)

    run(story())
    assert tools.journal == []
    assert all(text_.startswith("refused") for text_ in results(model.main[-1]).values())


def test_a_child_is_under_the_policy_as_it_is_when_it_acts(tmp_path, house, rules, tools, scripted, run):
    model = scripted(reply(call("t1", "agent", type="general-purpose", prompt="do")), reply(text("done")))
    model.agents = {"You do a piece of work": [
        reply(call("a", "mystery", nonce="a")), reply(call("b", "wipe", nonce="b")), reply(text("did")),
    ]}  # fmt: skip
    rules(ALLOW)

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path, lambda _question: rules(DENY) or "allow")
        await session.prompt("go")
        assert len(person.asked) == 1
        await harness.close()
        assert sound(harness)

    run(story())
    assert tools.journal == [("mystery", "a")]


def test_what_was_asked_for_another_reason_than_a_rule_replays_the_same(tmp_path, house, tools, scripted, run):
    """A tool that is another than it was, and a call that was one too many in a row."""
    looks = [reply(call(f"l{n}", "look", nonce="same")) for n in range(3)]
    again = [reply(call("w", "look", nonce="other")), reply(text("done"))]
    model = scripted(*looks, reply(text("done")), *again)

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path, limits={"repeats": 2}, on_repeat="ask")
        await session.prompt("go")
        await harness.close()
        tools.tools[0]["description"] = "now it looks further"
        harness = house(model)
        session, _ = await harness.load_session(session.id, [harness.server])
        session.client = person
        await session.prompt("go")
        await harness.close()
        assert [question.rule.partition(":")[0] for question in person.asked] == ["repeat", "definition"]
        found = [replay(harness.store, session.id, id_) for id_ in ("l0", "l1", "l2", "w")]
        assert [each.changed for each in found] == [()] * 4

    run(story())


def harness(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "reference_harness", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def store_decision(store, session):
    return next(e.record.decision for e in store.read(session) if isinstance(e.record, Decided))


class Person:
    """Answers every question the same way."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def show(self, event) -> None:
        pass

    async def ask(self, question) -> Answer:
        self.asked.append(question.grant)
        return self.answer


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HARNESS_CONFIG", raising=False)
    return tmp_path / "config" / "reference-harness"


async def turn(tmp_path, tools, model, person, folder="work", session=None):
    (tmp_path / folder).mkdir(exist_ok=True)
    harness = Harness(None, AnthropicModel(base_url=model.url, api_key="k", name="claude-sonnet-5", stall_timeout=2.0))
    servers = [Server("canary", url=tools.url, trusted=True)]
    if session:
        made, _ = await harness.load_session(session, servers)
    else:
        made = await harness.new_session(str(tmp_path / folder), servers)
    made.client = person
    await made.prompt("go")
    await harness.close()
    return made.id


def test_an_always_outlives_the_session_in_its_workspace_and_can_be_revoked(tmp_path, config, tools, scripted, run):
    wipes = [part for n in range(5) for part in (reply(call(f"t{n}", "wipe", nonce=str(n))), reply(text("done")))]
    model = scripted(*wipes)

    async def story():
        always, nobody = Person(Answer("allow", scope="always", who="me")), Person(Answer.missing("nobody"))
        first = await turn(tmp_path, tools, model, always)
        assert always.asked == ['{decision = "allow", tool = "wipe"}']
        (grant,) = Grants(config / "grants.jsonl").all()
        assert (grant.session, grant.decision.grant) == (first, always.asked[0])
        await turn(tmp_path, tools, model, nobody)
        assert (nobody.asked, len(tools.journal)) == ([], 2)
        await turn(tmp_path, tools, model, nobody, "elsewhere")
        assert (len(nobody.asked), len(tools.journal)) == (1, 2)
        Grants(config / "grants.jsonl").revoke(grant.id)
        await turn(tmp_path, tools, model, nobody)
        await turn(tmp_path, tools, model, nobody, session=first)
        assert (len(nobody.asked), len(tools.journal)) == (3, 2)
        return first

    first = run(story())
    store = SQLiteStore(tmp_path / "state")
    found = list(audit.query(store, {"scope": "always", "who": "me"}))
    assert [(d["sessionId"], d["decision"], d["grant"]) for d in found] == [
        (first, "allow", '{decision = "allow", tool = "wipe"}')
    ]
    listed = [json.loads(line) for line in harness("grants", "--json")[1].splitlines()]
    assert listed == []
    saved = Grants(config / "grants.jsonl").save(store_decision(store, first), str(tmp_path / "work"), first)
    assert json.loads(harness("grants", "--json")[1])["rules"] == ['{decision = "allow", tool = "wipe"}']
    code, shown = harness("grants")
    assert code == 0 and shown.startswith("ID ") and "wipe" in shown
    assert [line.split() for line in harness("replay", first, "t0")[1].splitlines() if "same" in line] == [
        ["same", "True"]
    ]
    assert [harness("replay", whole, "t0")[0] for whole in (first, first[:8])] == [0, 0]
    assert json.loads(harness("grants", "--revoke", saved.id, "--json")[1])["revoked"] is True
    assert (harness("grants")[1], harness("grants", "--revoke", saved.id)[0]) == ("", 2)
    assert all(replay(store, d["sessionId"], d["toolCallId"]).same for d in audit.query(store, {}))


def test_a_grant_that_cannot_be_saved_holds_once_and_is_on_record(tmp_path, config, tools, scripted, run):
    (config / "grants.jsonl.lock").mkdir(parents=True)
    model = scripted(reply(call("t1", "wipe", nonce="1")), reply(call("t2", "wipe", nonce="2")), reply(text("done")))

    async def story():
        person = Person(Answer("allow", scope="always"))
        session = await turn(tmp_path, tools, model, person)
        records = [entry.record for entry in SQLiteStore(tmp_path / "state").read(session)]
        assert len(person.asked) == 2
        assert [type(r).__name__ for r in records if isinstance(r, GrantLost | RulesLoaded)] == [
            "GrantLost",
            "GrantLost",
        ]
        assert [r.decision.scope for r in records if isinstance(r, Decided)] == ["always", "always"]

    run(story())


def test_a_call_that_changes_while_its_question_is_open_does_not_run(tmp_path, config, tools, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="1")), reply(text("done")))

    class Cheat(Person):
        async def ask(self, question):
            question.call.arguments["nonce"] = "other"
            return await super().ask(question)

    run(turn(tmp_path, tools, model, Cheat(Answer("allow"))))
    assert tools.journal == []
    assert results(model.main[-1])["t1"].startswith("refused")


def test_the_audit_trail_is_found_by_each_of_its_keys(tmp_path, config, tools, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="1"), call("t2", "look", nonce="2")), reply(text("done")))
    session = run(turn(tmp_path, tools, model, Person(Answer("deny", who="me"))))
    store = SQLiteStore(tmp_path / "state")
    whole = list(audit.query(store, {}))
    assert len(whole) == 2
    at = whole[0]["at"]
    for asked, calls in [
        ({"tool": "wipe"}, ["t1"]), ({"decision": "allow"}, ["t2"]), ({"handler": "automatic"}, ["t2"]), ({"who": "me"}, ["t1"]),
        ({"since": at + 60}, []), ({"until": at - 60}, []), ({"since": at - 60, "until": at + 60}, ["t1", "t2"]),
        ({"sessionId": session}, ["t1", "t2"]), ({"agent": "main"}, ["t1", "t2"]), ({"agent": "explore"}, []),
        ({"sessionId": "0" * 32}, []), ({"mode": "ask", "tool": "look"}, ["t2"]),
    ]:  # fmt: skip
        assert [d["toolCallId"] for d in audit.query(store, asked)] == calls, asked
    for wrong in ({"colour": "red"}, {"decision": "denied"}, {"handler": "nobody"}, {"scope": "ever"}):
        with pytest.raises(UsageFault, match="known are"):
            list(audit.query(store, wrong))
