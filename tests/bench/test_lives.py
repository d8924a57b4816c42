"""Lives leave nothing behind: no process, no zombie, no descriptor, no file."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from worlds import MINIATURE, ODD, Open, anywhere, descriptors

from conformance.bench import processes
from conformance.bench.plan import ENTERED, KILL_PROCESS, At
from conformance.bench.roots import new_root
from conformance.bench.script import call, reply, script
from conformance.bench.world import World
from conformance.contract.values import Config
from conformance.trace import LifeEnded, LifeKilled, LifeStarted, Noted, Observation, Signalled, Updated

SLEEP = f"600.{os.getpid()}"  # known again among all processes of the machine
IDLE = script(reply("Nothing."))


def zygote_of(world: World) -> int:
    """The zygote's own process."""
    zygote = world.launcher._zygote
    assert zygote is not None
    inside = [p for p in processes.tree(zygote._process.pid) if "zygote" in Path(f"/proc/{p}/cmdline").read_text()]
    return inside[-1]


def one_life(world: World) -> int:
    """Start, one session, kill; returns the pid."""
    with world.episode(IDLE, fresh=True) as episode:
        life = episode._run.life
        assert life is not None
        life.kill("tree")
    return life.harness_pid


def holdings(world: World) -> tuple[int, set[int], set[str]]:
    """Descriptors of this process, processes below it, files of the world."""
    gc.collect()
    return len(descriptors()), set(processes.walk(os.getpid())), {path.name for path in world.root.iterdir()}


def test_a_thousand_forked_lives_leave_nothing(opened: Open) -> None:
    world = opened(ODD)
    one_life(world)
    zygote = zygote_of(world)
    before = holdings(world), len(descriptors(zygote))
    for _ in range(1000):
        one_life(world)
    assert (holdings(world), len(descriptors(zygote))) == before
    root = world.root
    world.close()
    assert not root.exists()
    assert processes.strays() == set()
    assert not processes.alive(zygote)


def test_runs_in_the_warm_life_leave_nothing_in_memory(opened: Open) -> None:
    """What heaps up makes the collector stop the bench in mid-run, under load for longer than a harness is patient."""

    def kept() -> int:
        gc.collect()
        return sum(isinstance(one, Observation) for one in gc.get_objects())

    world = opened(MINIATURE)
    play = script(reply(call("c1", "look", target="a")), reply("Done."))
    before = kept()
    for _ in range(10):
        world.run(*play.steps)
    assert kept() - before < 2 * len(world.run(*play.steps))


@pytest.mark.parametrize("bare", [False, True], ids=["contained", "bare"])
def test_spawned_lives_leave_nothing(opened: Open, bare: bool, contained: bool) -> None:
    if not bare and not contained:
        pytest.skip("no bubblewrap here")
    world = opened(ODD, spawned=True, bare=bare)
    one_life(world)
    before = holdings(world)
    for _ in range(15):
        one_life(world)
    assert holdings(world) == before
    root = world.root
    world.close()
    assert not root.exists()
    assert anywhere(str(root)) == []


@pytest.mark.parametrize("habit", ["daemon", "grandchildren", "swarm", "walk", "deaf"])
@pytest.mark.parametrize("way", ["forked", "forked bare", "spawned", "spawned bare"])
def test_nothing_outlives_the_world(opened: Open, habit: str, way: str) -> None:
    before = set(processes.walk(os.getpid())), set(anywhere("sleep", SLEEP))
    world = opened(ODD, spawned="spawned" in way, bare="bare" in way)
    with world.episode(IDLE, fresh=True) as episode:
        assert episode.prompt(f"{habit} {SLEEP}").how == "ended"
    alone = set(anywhere("sleep", SLEEP)) - before[1]
    with world.episode(IDLE) as episode:
        assert episode.prompt(f"{habit} {SLEEP}").how == "ended"
    root = world.root
    began = time.monotonic()
    world.close()
    assert time.monotonic() - began < 8
    assert alone == set(), "a life of its own left something behind when its run was over"
    assert set(anywhere("sleep", SLEEP)) - before[1] == set()
    assert set(processes.walk(os.getpid())) == before[0]
    assert not root.exists()


def test_a_life_in_one_run_is_not_ended_with_a_stray_of_another(opened: Open) -> None:
    """What the warm life started goes on while lives beside it come and go."""
    world = opened(ODD)
    before = set(anywhere("sleep", SLEEP))
    with world.episode(IDLE) as episode:
        episode.prompt(f"daemon {SLEEP}")
    assert wait_until(lambda: set(anywhere("sleep", SLEEP)) - before), "it takes a moment to become a daemon"
    theirs = set(anywhere("sleep", SLEEP)) - before
    one_life(world)
    assert theirs <= set(anywhere("sleep", SLEEP))
    assert len(theirs) == 1


WAYS = ["forked", "spawned", "spawned bare"]


@pytest.mark.parametrize("scope", ["tree", "process"])
@pytest.mark.parametrize("way", WAYS)
def test_a_process_killed_alone_leaves_its_child_to_the_next_life(opened: Open, scope: str, way: str) -> None:
    world = opened(ODD, spawned="spawned" in way, bare="bare" in way)
    before = set(anywhere("sleep", SLEEP))
    with world.episode(IDLE, fresh=True) as episode:
        episode.prompt(f"child {SLEEP}")
        episode.kill(scope)
        episode.start()
        left = set(anywhere("sleep", SLEEP)) - before
        killed = episode.trace.of(LifeKilled)[0].scope
    assert killed == scope
    assert len(left) == (0 if scope == "tree" else 1)
    assert set(anywhere("sleep", SLEEP)) == before


@pytest.mark.parametrize("way", WAYS)
def test_what_is_killed_alone_while_all_stood_still_leaves_its_child_at_work(opened: Open, way: str) -> None:
    world = opened(ODD, spawned="spawned" in way, bare="bare" in way)
    before = set(anywhere("sleep", SLEEP))
    with world.episode(IDLE, fresh=True) as episode:
        episode.prompt(f"child {SLEEP}")
        life = episode._run.life
        assert life is not None
        life.freeze()
        episode.kill("process")
        (left,) = set(anywhere("sleep", SLEEP)) - before
        assert wait_until(lambda: state(left) == "S")
        assert [e.code for e in episode.trace.of(LifeEnded)] == [-signal.SIGKILL]
    assert set(anywhere("sleep", SLEEP)) == before


def state(pid: int) -> str:
    """The state of a process, as one letter."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("way", WAYS)
def test_of_a_process_killed_alone_the_end_of_its_output_is_seen(opened: Open, way: str) -> None:
    world = opened(ODD, spawned="spawned" in way, bare="bare" in way)
    with world.episode(IDLE, fresh=True) as episode:
        life = episode._run.life
        assert life is not None
        assert life.connection is not None
        episode.prompt(f"grandchildren {SLEEP}")
        life.kill("process")
        world.do(life.gone(5))
        assert life.exit.gone.done()
        life.connection.drain()
        assert life.connection.closed
        assert not life.alive


def test_a_planned_kill_of_the_process_alone_ends_as_a_crash(miniature: World) -> None:
    play = script(reply(call("c1", "wipe", target="a")), reply("Done."))
    trace = miniature.crash_run(play, [At(ENTERED, action=KILL_PROCESS)])
    assert [k.scope for k in trace.of(LifeKilled)] == ["process"]
    assert [e.code for e in trace.of(LifeEnded)][:1] == [-signal.SIGKILL]


@pytest.mark.parametrize("way", WAYS)
def test_sigint_goes_to_the_harness_s_own_process(opened: Open, way: str) -> None:
    world = opened(ODD, spawned="spawned" in way, bare="bare" in way)
    with world.episode(IDLE, fresh=True) as episode:
        episode.send_prompt("hang")
        assert episode.interrupt().how == "died"
        assert not episode.alive
        (sent,), (ended,) = episode.trace.of(Signalled), episode.trace.of(LifeEnded)
        assert (sent.signal, sent.life, sent.seq < ended.seq) == ("SIGINT", 1, True)


def test_sigint_reaches_a_harness_below_a_background_job(opened: Open) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        world = opened(ODD, spawned=True)
        with world.episode(IDLE, fresh=True) as episode:
            episode.send_prompt("hang")
            assert episode.interrupt().how == "died"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("way", WAYS)
def test_the_pid_is_the_harness_s_own(opened: Open, way: str) -> None:
    world = opened(ODD, spawned="spawned" in way, bare="bare" in way)
    with world.episode(IDLE, fresh=True) as episode:
        life = episode._run.life
        assert life is not None
        episode.prompt("pid")
        said = [o.update["content"]["text"] for o in episode.trace.of(Updated)]
        status = Path(f"/proc/{life.harness_pid}/status").read_text()
        inner = next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid"))
        started = episode.trace.of(LifeStarted)[0]
    assert said == [inner]
    assert started.pid == life.harness_pid


@pytest.mark.parametrize("code", [0, 3, -signal.SIGKILL])
@pytest.mark.parametrize("spawned", [False, True], ids=["forked", "spawned"])
def test_a_harness_that_leaves_is_seen_with_its_code(opened: Open, spawned: bool, code: int) -> None:
    world = opened(ODD, spawned=spawned)
    with world.episode(IDLE, fresh=True) as episode:
        assert episode.prompt(f"exit {code}").how == "died"
        assert [(e.code, e.expected) for e in episode.trace.of(LifeEnded)] == [(code, False)]


def test_a_harness_that_does_not_leave_is_killed_and_it_is_said(opened: Open) -> None:
    world = opened(ODD)
    with world.episode(IDLE, fresh=True) as episode:
        episode.prompt("deaf")
        episode.resume()
        notes = [o.text for o in episode.trace.of(Noted)]
    assert any("did not exit within 3 s" in text for text in notes)


def test_ctrl_c_in_a_check_leaves_nothing(opened: Open) -> None:
    before = set(processes.walk(os.getpid()))
    world = opened(ODD)
    with pytest.raises(KeyboardInterrupt), world.episode(IDLE, fresh=True) as episode:  # noqa: PT012 - where it comes
        world.loop.call_later(0.2, signal.raise_signal, signal.SIGINT)
        episode.prompt("hang")
    assert world.run(*IDLE.steps).of(LifeStarted), "the world is still of use"
    world.close()
    assert set(processes.walk(os.getpid())) == before


def test_ctrl_c_while_a_life_starts_leaves_nothing(opened: Open) -> None:
    before = set(processes.walk(os.getpid()))
    world = opened(ODD, spawned=True)
    world.loop.call_later(0.03, signal.raise_signal, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        world.do(world.launch(world.new_home(), Config()))
    world.close()
    assert set(processes.walk(os.getpid())) == before


@pytest.mark.parametrize("way", ["forked", "spawned"])
def test_when_the_suite_is_killed_all_that_is_contained_dies(way: str, contained: bool, tmp_path: Path) -> None:
    if not contained:
        pytest.skip("no bubblewrap here: nothing but the end of its input tells a harness that the suite is gone")
    program = tmp_path / "suite.py"
    program.write_text(
        f"import sys, time\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from worlds import ODD, open_world\nfrom test_lives import IDLE\n"
        f"world = open_world(ODD, spawned={way == 'spawned'})\n"
        "with world.episode(IDLE, fresh=True) as episode:\n"
        "    for habit in ('daemon', 'grandchildren', 'deaf'):\n"
        f"        episode.prompt(habit + ' {SLEEP}')\n"
        "    print(world.root, flush=True)\n    time.sleep(60)\n"
    )
    before = set(anywhere("sleep", SLEEP))
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as suite:
        assert suite.stdout is not None
        root = suite.stdout.readline().strip()
        assert set(anywhere("sleep", SLEEP)) > before
        suite.kill()
    assert wait_until(lambda: not anywhere(root) and set(anywhere("sleep", SLEEP)) == before)
    subprocess.run(["rm", "-r", root], check=True)


def wait_until(holds: Any, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_orphans_are_told_from_the_children_of_others() -> None:
    """A child in our own session is not ours to kill; one that came to us from another session is."""
    processes.become_subreaper()
    with subprocess.Popen(["sleep", "600"]) as mine:
        made = subprocess.run(["sh", "-c", "setsid sleep 600 >/dev/null & echo $!"], stdout=subprocess.PIPE, check=True)
        left = int(made.stdout)
        assert wait_until(lambda: left in processes.strays())
        assert processes.end_strays(frozenset({left})) == []
        assert processes.alive(left)
        assert processes.end_strays() == []
        assert not processes.alive(left)
        assert processes.alive(mine.pid)
        mine.kill()


def test_what_a_killed_suite_left_on_disk_is_removed_by_the_next() -> None:
    lives, dead = new_root(), new_root()
    os.close(dead.lock)
    another = new_root()
    assert [root.path.exists() for root in (lives, dead, another)] == [True, False, True]
    for root in (lives, another):
        os.close(root.lock)
        root.path.rmdir()


@pytest.mark.parametrize("way", WAYS)
def test_the_miniature_ends_by_itself(opened: Open, way: str) -> None:
    world = opened(MINIATURE, spawned="spawned" in way, bare="bare" in way)
    with world.episode(IDLE, fresh=True) as episode:
        episode.prompt()
        episode.resume()
        assert [(e.code, e.expected) for e in episode.trace.of(LifeEnded)] == [(0, True)]
