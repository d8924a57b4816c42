"""What the operator's file gives every session: settings and tool servers; and nothing in it is ignored."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scripted import call, reply, text

from reference_harness import defaults, policy
from reference_harness.errors import UsageFault
from reference_harness.records import Limits

STDIO = str(Path(__file__).with_name("stdio_tools.py"))


@pytest.fixture
def operator(tmp_path, monkeypatch):
    def write(body: str) -> None:
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / "harness.toml").write_text(body)

    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "config"))
    return write


def test_a_session_begins_with_the_operators_settings_and_what_is_given_goes_before(
    operator, house, tmp_path, scripted, run
):
    operator('[session]\nlimits = { turns = 3, tokens = 50000 }\npinned = ["the customer is Acme"]\n')

    async def story():
        harness = house(scripted(reply(text("done"))))
        session = await harness.new_session(str(tmp_path), [], {"limits": {"turns": 7}})
        assert session.settings.config.limits == Limits(turns=7, tokens=50000)
        assert session.settings.config.pinned == ("the customer is Acme",)
        await harness.close()

    run(story())


def test_a_limit_of_the_operator_binds(operator, house, tmp_path, tools, scripted, run):
    operator("[session]\nlimits = { turns = 2 }\n")
    model = scripted(*(reply(call(f"t{n}", "look", nonce=str(n))) for n in range(5)))

    async def story():
        harness = house(model)
        session = await harness.new_session(str(tmp_path), [harness.server])
        stop = await session.prompt("go")
        assert (stop.reason, stop.limit) == ("max_turn_requests", "turns")
        await harness.close()

    run(story())
    assert len(model.main) == 2


def test_the_operators_prices_count_and_stay_as_they_were_when_it_was_spent(operator, house, tmp_path, scripted, run):
    operator("")
    model = scripted(reply(text("done"), usage={"input_tokens": 100_000, "output_tokens": 10_000}))

    async def story():
        harness = house(model, "my-model")
        with pytest.raises(UsageFault, match=r"\[prices\] in harness.toml"):
            await harness.new_session(str(tmp_path), [], {"limits": {"cost": 1}})
        operator('[prices]\n"my-model" = [3, 15, 0.3, 3.75]\n"claude-sonnet-5" = [1, 1, 1, 1]\n')
        session = await harness.new_session(str(tmp_path), [], {"limits": {"cost": 1}})
        await session.prompt("go")
        assert session.budget.cost == pytest.approx(0.45)
        await harness.close()
        operator('[prices]\n"my-model" = [6, 30, 0.6, 7.5]\n')
        harness = house(model, "my-model")
        session, _ = await harness.load_session(session.id)
        assert session.budget.cost == pytest.approx(0.45)
        assert (await session.prompt("more")).limit == "cost", "the request alone may take 0.75 now"
        session.add_limits({"cost": 2})
        await session.proceed()
        assert session.budget.cost == pytest.approx(0.45 + 0.9)
        await harness.close()

    run(story())


def test_a_model_that_costs_nothing_runs_under_a_limit_of_cost(operator, house, tmp_path, scripted, run):
    operator('[prices]\n"local" = [0, 0, 0, 0]\n')

    async def story():
        harness = house(scripted(reply(text("done"))), "local")
        session = await harness.new_session(str(tmp_path), [], {"limits": {"cost": 0}})
        assert (await session.prompt("go")).reason == "end_turn"
        await harness.close()

    run(story())


@pytest.mark.parametrize("wrong", ["[1, 2, 3]", '"cheap"', "[1, 2, 3, -4]", "[1, 2, 3, nan]", "[1, 2, 3, true]"])
def test_a_price_that_is_none_is_refused_by_name(operator, wrong):
    operator(f'[prices]\n"my-model" = {wrong}\n')
    with pytest.raises(UsageFault, match=r"harness.toml: \[prices\] 'my-model' must be a list of four numbers"):
        policy.load()


def test_every_session_is_connected_to_the_operators_servers_also_when_it_is_taken_up(
    operator, house, tmp_path, scripted, run, monkeypatch
):
    monkeypatch.setenv("SECRET", "s3cret")
    operator(
        f'[mcp.tickets]\ncommand = "{sys.executable}"\nargs = ["{STDIO}", "{tmp_path / "ran"}"]\nenv = {{ TOKEN = "$SECRET" }}\n'
    )

    async def story():
        harness = house(scripted(reply(text("done"))))
        session = await harness.new_session(str(tmp_path))
        assert {t.source.name for t in session.registry.tools(source="tickets")} == {"tickets"}
        await harness.close()
        harness = house(scripted(reply(text("done"))))
        session, _ = await harness.load_session(session.id)
        assert session.registry.tools(source="tickets")
        await harness.close()

    run(story())


def test_a_secret_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("TICKETS", "Bearer x")
    given = (
        '[mcp.tickets]\nurl = "https://tickets.example/mcp"\nheaders = { Authorization = "$TICKETS" }\ntrusted = true'
    )
    (server,) = defaults.servers(policy.parse(given, "here"))
    assert (server.name, server.headers, server.trusted) == ("tickets", {"Authorization": "Bearer x"}, True)


@pytest.mark.parametrize(("body", "said"), [
    ("[limits]\nturns = 1\n", "tables nobody knows.*limits"),
    ("[session]\nlimit = { turns = 1 }\n", r"\[session\] cannot hold \['limit'\]"),
    ('[session]\nmode = "plan"\n', "a mode stands in"),
    ("[session]\nlimits = { turn = 1 }\n", r"\[session\]: unknown limits"),
    ("[session]\nlimits = { turns = -1 }\n", r"\[session\]: the limit turns"),
    ("session = 3\n", "session must be a table"),
    ("[mcp.x]\n", r"\[mcp.x\]: give `command`"),
    ('[mcp.x]\ncommand = "a"\nurl = "http://b"\n', "one of them"),
    ('[mcp.x]\nurl = "http://b"\nargs = ["c"]\n', "go with `command`"),
    ('[mcp.x]\ncmd = "a"\n', r"\[mcp.x\].*cmd"),
    ('[mcp.x]\nurl = "http://b"\nheaders = { A = "$NOT_THERE" }\n', "NOT_THERE, which is not in the environment"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anything_is_opened(
    operator, house, tmp_path, scripted, run, body, said
):
    operator(body)

    async def story():
        harness = house(scripted(reply(text("x"))))
        with pytest.raises(UsageFault, match=said):
            await harness.new_session(str(tmp_path))
        assert harness.store.sessions() == []
        await harness.close()

    run(story())


def test_a_session_keeps_its_folder_wherever_its_next_life_begins(house, tmp_path, scripted, run, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path)

    async def story():
        harness = house(scripted(reply(text("done"))))
        session = await harness.new_session("work")
        await harness.close()
        monkeypatch.chdir("/")
        harness = house(scripted(reply(text("done"))))
        session, _ = await harness.load_session(session.id)
        assert session.settings.cwd == str(tmp_path / "work")
        await harness.close()

    run(story())
