"""A run in the hands of a check: the synchronous face of `Run`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from conformance.bench import processes
from conformance.bench.canaries import STANDARD, Canary
from conformance.bench.life import GRACE
from conformance.bench.plan import ALLOW, FOLLOW_UP, Answers
from conformance.bench.player import Playable
from conformance.bench.roots import require_space
from conformance.bench.run import Ended, Run
from conformance.bench.script import Script, reply
from conformance.bench.tails import tear
from conformance.contract.values import Config, Limits
from conformance.trace import Configured, Fence, LifeKilled, Noted, Observation, SessionLoaded, Signalled, Trace

if TYPE_CHECKING:
    from conformance.bench.world import World


class Episode:
    """One run. Its `trace` grows; every method returns when the harness has answered, died, or patience is over."""

    def __init__(self, world: World, run: Run, alone: bool) -> None:
        self._world, self._run, self._alone = world, run, alone
        self._homes: list[Any] = []
        self.ended: Ended | None = None

    def begin(self, config: Config) -> None:
        """Put a life on stage: the warm one, or one of its own."""
        self._world.do(self._begin(config))

    async def _begin(self, config: Config) -> None:
        if self._alone:
            home = self._world.new_home()
            self._homes.append(home)
            await self._run.start(home, config)
        else:
            self._run.take(*await self._world.warm())

    def finish(self) -> None:
        """Leave the stage: a life of its own ends; on the shared home the last life stays, unless it is in disorder."""
        self._world.do(self._finish())

    async def _finish(self) -> None:
        run, world = self._run, self._world
        run.stage.released.set()
        run.stage.at_plan.clear()  # what the harness does from here on is nobody's plan
        for session in run.sessions.values():
            if left := session.player.left():
                run.stage.stamp(Noted, session=session.label, text=left)
        if self._shareable():
            self._leave_warm()
        else:
            await self._end_life()
        for session in run.sessions.values():
            world.approver.forget(session)
            world.disown(session)
        for home in self._homes:
            world.forget_home(home)

    def _shareable(self) -> bool:
        """Whether the life on stage may serve the next run: nothing is unfinished, and it runs as any other would."""
        run = self._run
        as_others = not self._alone and not self._world.harness.needs_launch(run.config)
        lives = run.life is not None and run.life.alive and not run.stage.doomed
        return as_others and lives and all(turn.done() for turn in run.unfinished)

    def _leave_warm(self) -> None:
        life, home = self._run.life, self._run.home
        assert life is not None and home is not None
        for session in self._run.sessions.values():
            life.forget(session)
            if self._world.harness.closes_sessions and life.connection is not None:
                life.connection.request("session/close", {"sessionId": session.harness_id})
        life.stage = None
        self._world.share(life, home)

    async def _end_life(self) -> None:
        run = self._run
        if run.life is not None:
            await run.bury(expected=True, grace=0)
        processes.end_strays(run.left_before)
        if not self._alone:
            await self._world.drop_warm()

    # --- what is known

    @property
    def trace(self) -> Trace:
        """What was seen so far. Raises BenchError if the disk is full: then it shows nothing of the harness."""
        require_space(self._world.root)
        return self._run.trace()

    @property
    def counts(self) -> Counter[str]:
        """How often each boundary was passed."""
        return self._run.stage.counts

    @property
    def crashed(self) -> bool:
        """True if the last thing that happened was a planned kill."""
        return self.ended is not None and self.ended.how == "crashed"

    @property
    def alive(self) -> bool:
        """True while a life is on stage."""
        return self._run.life is not None and self._run.life.alive

    # --- sessions

    def open(self, script: Script | Playable, *, tools: Sequence[Canary] = STANDARD, config: Config = Config(),
             answers: Answers = ALLOW, files: Mapping[str, str] = MappingProxyType({})) -> str:  # fmt: skip
        """Open a session, with these files in its workspace; returns its label ("s1", "s2", …)."""
        return self._world.do(self._run.open(script, tools, config, answers, files))

    def load(self, label: str = "s1", harness_id: str | None = None) -> SessionLoaded:
        """session/load in the life on stage; `harness_id` asks for another id than the session's."""
        return self._world.do(self._run.load(label, harness_id))

    def resume(self, label: str = "s1", config: Config | None = None) -> SessionLoaded:
        """A new life on the same folders, and session/load in it. The old life is ended first."""
        return self._world.do(self._run.resume(label, config))

    def start(self, config: Config = Config()) -> None:
        """A new life on the same folders, without loading anything."""
        assert self._run.home is not None
        self._world.do(self._run.start(self._run.home, config))

    # --- turns

    def prompt(self, text: str = "Please do the work.", label: str = "s1") -> Ended:
        """Send a prompt and wait for its end."""
        self._breathe()
        self.ended = self._world.do(self._run.prompt(text, label))
        return self.ended

    def follow_up(self, label: str = "s1") -> Ended | None:
        """A further prompt, as a fence: its request shows what was told. None if nobody is there to take it."""
        if not self.alive or (self.ended is not None and self.ended.how != "ended"):
            return None
        session = self._run.sessions[label]
        session.extend(Script((reply("You are welcome."),)))
        ended = self.prompt(FOLLOW_UP, label)
        self._run.fence("follow-up prompt")
        return ended

    def _breathe(self) -> None:
        """Let the harness come to rest behind a turn that was cancelled or failed.

        Nobody goes on within a millisecond of that: what is still tidied up would be raced against, and end otherwise
        each time.
        """
        failed = self.ended is not None and self.ended.turn is not None and self.ended.stop != "end_turn"
        life = self._run.life
        if failed and life is not None and life.alive:
            self._world.do(life.settle())
            life.drain()

    def send_prompt(self, text: str = "Please do the work.", label: str = "s1") -> None:
        """Send a prompt and do not wait; `wait` does."""
        self._run.send_prompt(text, label)

    def wait(self, label: str = "s1") -> Ended:
        """Wait for the end of a session's turn (or until it is held at a planned boundary)."""
        self.ended = self._world.do(self._run.wait(label))
        return self.ended

    def proceed(self, label: str = "s1") -> Ended:
        """Take up the interrupted turn."""
        self._breathe()
        self.ended = self._world.do(self._run.proceed(label))
        return self.ended

    def cancel(self, label: str = "s1", *, answer_open: bool = True) -> Ended:
        """Cancel the turn and wait for its end."""
        self.ended = self._world.do(self._run.cancel(label, answer_open=answer_open))
        return self.ended

    def until(self, seen: Callable[[Observation], bool], seconds: float | None = None) -> bool:
        """Wait until an observation fits; False if the time is over first, the harness is gone, or every turn ended."""
        return self._world.do(self._until(seen, seconds or self._world.patience))

    async def _until(self, seen: Callable[[Observation], bool], seconds: float) -> bool:
        run, recorder = self._run, self._run.stage.recorder
        if any(map(seen, recorder.observations)):
            return True
        found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stop = recorder.listen(lambda o: found.set_result(None) if not found.done() and seen(o) else None)
        over = run.over()
        try:
            await asyncio.wait({found, over}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            stop()
        return found.done()

    def interrupt(self, label: str = "s1") -> Ended:
        """SIGINT; waits for the end of the turn or of the process (`alive` says which)."""
        ended = self._world.do(self._interrupt(label))
        self.ended = None if ended.how == "died" else ended  # in a new life there is nothing that has to end
        return ended

    async def _interrupt(self, label: str) -> Ended:
        run, life = self._run, self._run.life
        assert life is not None
        await life.settle()
        run.stage.seen(Signalled, signal="SIGINT")
        life.interrupt()
        ended = await run.wait(label, until_held=False)
        if run.life is None or ended.how != "ended":
            return ended
        if await life.gone(GRACE):
            await run.bury()
        else:
            run.stage.seen(Fence, name="quiet window", quiet=GRACE)
        return ended

    # --- the operator and the approver

    def release(self) -> None:
        """Let go of what is held: boundaries and slow tools."""
        self._run.stage.released.set()

    def answer_late(self, label: str = "s1") -> int:
        """Give the allows that were kept back; returns how many."""
        return self._world.approver.give_late(self._run.sessions[label])

    def set_limits(self, limits: Limits, label: str = "s1") -> Configured:
        """Replace the limits of a session."""
        return self._world.do(self._run.configure("limits", limits, label))

    def compact(self, label: str = "s1") -> None:
        """Ask for compaction now, by the extension or the harness's own command; `ended` says if it was killed."""
        command = self._world.harness.compact_prompt
        if command:
            self.ended = self._world.do(self._run.compact_by_prompt(command, label))
            return
        self._world.do(self._run.configure("compact", None, label))
        if not self.alive:
            self.ended = Ended("crashed" if self.trace.of(LifeKilled) else "died")

    def kill(self, scope: str = "tree") -> None:
        """SIGKILL the harness once it is at rest."""
        self._world.do(self._run.kill(scope))

    def extend(self, script: Script, label: str = "s1") -> None:
        """Append steps to the script of a session."""
        self._run.sessions[label].extend(script)

    def settle(self) -> None:
        """Let go of what is held and wait until the harness has done all that it does with it."""
        self.release()
        self._world.do(self._run.settle())

    def quiet(self, seconds: float) -> None:
        """Keep a quiet window; it is printed with the verdict."""
        self._world.do(self._run.quiet(seconds))

    def files(self, root: str = "state") -> None:
        """Note the digests of the harness's own files: "state" (HOME and state folder) or "workspace"."""
        self._run.see_files(root)

    def tear(self) -> int:
        """Between two lives: leave half of a further record behind each journal of JSON lines; returns how many."""
        assert self._run.home is not None
        torn = tear(self._run.home.root)
        self._run.stage.stamp(Noted, text=f"torn tails: {', '.join(torn) or 'none'}")
        return len(torn)
