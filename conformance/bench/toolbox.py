"""The canary tools at work: every call of every door ends here, in the suite, and is journaled."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jsonschema

from conformance.bench.canaries import Canary
from conformance.bench.mcp import InvalidArguments, UnknownTool
from conformance.bench.plan import EFFECT, ENTERED
from conformance.bench.script import NONCE
from conformance.bench.session import Session
from conformance.contract.values import ToolResult
from conformance.trace import ToolCancelled, ToolEffect, ToolEntered, ToolLeft, ToolRejected

WITHDRAWN = "withdrawn by the client"  # why a running call is cancelled, if it is not because its client is gone


class Toolbox:
    """Runs the canaries of a session. `runs` numbers every execution over the whole bench."""

    def __init__(self) -> None:
        self.runs = 0

    async def run(self, session: Session, door: str, name: str, arguments: Any) -> tuple[int, ToolResult]:
        """Run one call; returns (run number, result). The caller delivers and then calls `left`.

        Raises UnknownTool, InvalidArguments (only where the door validates), Killed at a planned boundary.
        """
        given = arguments if isinstance(arguments, Mapping) else {}
        nonce = str(given.get(NONCE, ""))
        canary = self._admit(session, door, name, arguments, nonce)
        self.runs += 1
        run, stage = self.runs, session.stage
        stage.seen(
            ToolEntered, session=session.label, tool=name, arguments=dict(given), nonce=nonce, door=door, run=run
        )
        try:
            await self._work(session, canary, run, nonce)
        except asyncio.CancelledError as error:
            if error.args == (WITHDRAWN,):
                stage.seen(ToolCancelled, session=session.label, nonce=nonce)
            raise
        return run, result_of(canary, nonce)

    async def _work(self, session: Session, canary: Canary, run: int, nonce: str) -> None:
        stage = session.stage
        await stage.reach(ENTERED, session=session.label, nonce=nonce)
        if canary.result == "slow":
            with contextlib.suppress(TimeoutError):  # the tool's own time is over: it goes on by itself
                await asyncio.wait_for(stage.released.wait(), canary.seconds or 3600)
        if canary.result != "error":
            stage.seen(ToolEffect, session=session.label, tool=canary.name, nonce=nonce, run=run)
        await stage.reach(EFFECT, session=session.label, nonce=nonce)

    def _admit(self, session: Session, door: str, name: str, arguments: Any, nonce: str) -> Canary:
        canary = session.canaries.get(name)
        if canary is None:
            self._reject(session, name, nonce, "no such tool behind this door")
            raise UnknownTool(f"Unknown tool: {name}")
        problem = "" if door == "callable" else misfit(canary, arguments)
        if problem:
            self._reject(session, name, nonce, problem)
            raise InvalidArguments(problem)
        session.ran[name] += 1
        return replace(canary, result="ok") if 0 < canary.times < session.ran[name] else canary

    def _reject(self, session: Session, name: str, nonce: str, reason: str) -> None:
        session.stage.seen(ToolRejected, session=session.label, tool=name, nonce=nonce, reason=reason)

    def left(self, session: Session, run: int, name: str, nonce: str, result: ToolResult, *, delivered: bool) -> None:
        """The result was handed over, or nobody was there to take it."""
        session.stage.seen(
            ToolLeft, session=session.label, tool=name, nonce=nonce, run=run,
            is_error=result.is_error, delivered=delivered, text=result.text[:200],
        )  # fmt: skip


def result_of(canary: Canary, nonce: str) -> ToolResult:
    """What a canary gives back. The text carries the nonce, so that a told result can be found."""
    made = {
        "error": f"failed on purpose: {nonce}",
        "binary": f"done: {nonce} \x00\x01\x02\ufffd?\x7f",
        "empty": "",
        "malformed": "\x00malformed",
    }
    if canary.result == "huge":
        return ToolResult(f"done: {nonce} " + "x" * 1_000_000)
    return ToolResult(made.get(canary.result, f"done: {canary.name} {nonce}"), is_error=canary.result == "error")


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads(schema))


def misfit(canary: Canary, arguments: Any) -> str:
    """Why arguments do not fit a canary's schema; "" if they do."""
    error = next(iter(_validator(json.dumps(canary.schema)).iter_errors(arguments)), None)
    return "" if error is None else f"Invalid arguments for tool {canary.name}: {error.message}"
