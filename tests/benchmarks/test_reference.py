"""What a turn of the reference harness costs, beside the loop that everybody writes first. Run by name, with -s.

    pytest tests/benchmarks/test_reference.py -s

Nothing here fails for being slow: a busy machine is no defect. Ratios are medians over interleaved rounds of one run;
processor time is this process's (the model is another). What must hold by count is in tests/reference/test_hot_path.py.
"""

# ruff: noqa: T201 - what is measured is printed

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from loops import MODEL, Bare, Reference, model
from peers import PEERS

LOOPS: Mapping[str, Any] = {"bare create": Bare("create"), "bare stream": Bare("stream"), "reference": Reference()}
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
TURNS = int(os.environ.get("BENCH_TURNS", "120"))


async def a_round(loop: Any, url: str, folder: Path, turns: int) -> float:
    """Processor milliseconds a turn, in a new session."""
    async with loop.opened(url, folder) as session:
        turn = await session()
        await turn("prompt-warm")
        gc.collect()
        began = time.process_time()
        for n in range(turns):
            await turn(f"prompt-{n}")
        return 1000 * (time.process_time() - began) / turns


def shown(name: str, values: list[float], base: list[float]) -> None:
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    print(f"  {name:16} {statistics.median(values):7.2f} ms a turn   {statistics.median(ratios):5.2f} of bare create "
          f"(rounds {' '.join(f'{r:.2f}' for r in ratios)})")  # fmt: skip


@pytest.mark.parametrize("deltas", [3, 100])
def test_a_turn(deltas: int, tmp_path: Path) -> None:
    print(f"\n{TURNS} turns, a reply in {deltas} pieces, {ROUNDS} rounds, machine load {os.getloadavg()[0]:.1f}")
    found: dict[str, list[float]] = {name: [] for name in LOOPS}
    with model(deltas) as url:
        for n in range(ROUNDS):
            for name, loop in LOOPS.items():
                found[name].append(asyncio.run(a_round(loop, url, tmp_path / f"{n}", TURNS)))
    for name, values in found.items():
        shown(name, values, found["bare create"])


async def growth(loop: Any, url: str, folder: Path, marks: tuple[int, ...]) -> dict[int, float]:
    """Processor milliseconds a turn around these turns of one long session."""
    found: dict[int, list[float]] = {mark: [] for mark in marks}
    async with loop.opened(url, folder) as session:
        turn = await session()
        gc.collect()
        for n in range(marks[-1] + 5):
            began = time.process_time()
            await turn(f"prompt-{n}")
            spent = 1000 * (time.process_time() - began)
            for mark in marks:
                if abs(n - mark) <= 5:
                    found[mark].append(spent)
    return {mark: statistics.median(values) for mark, values in found.items()}


@pytest.mark.parametrize(("name", "marks"), [("reference", (10, 100, 300, 1000)), ("bare create", (10, 100, 300))])
def test_growth_with_history(name: str, marks: tuple[int, ...], tmp_path: Path) -> None:
    with model() as url:
        found = asyncio.run(growth(LOOPS[name], url, tmp_path, marks))
    told = "   ".join(f"turn {mark}: {spent:.2f} ms ({spent / found[10]:.2f})" for mark, spent in found.items())
    print(f"\n  {name:16} {told}")


async def together(loop: Any, url: str, folder: Path, sessions: int, turns: int) -> tuple[float, float]:
    """Turns a second of this many sessions at once, and transactions a turn."""
    async with loop.opened(url, folder) as session:
        made = [await session() for _ in range(sessions)]
        await asyncio.gather(*(turn("prompt-warm") for turn in made))
        group = loop.harness.store if hasattr(loop, "harness") else None
        before = writes(group)
        gc.collect()
        began = time.perf_counter()

        async def life(turn: Any) -> None:
            for n in range(turns):
                await turn(f"prompt-{n}")

        await asyncio.gather(*(life(turn) for turn in made))
        seconds = time.perf_counter() - began
        return sessions * turns / seconds, (writes(group) - before) / (sessions * turns)


def writes(store: Any) -> int:
    from reference_harness.stores.group import group_of

    return group_of(store).writes if store is not None else 0


def test_fifty_sessions_in_one_process(tmp_path: Path) -> None:
    rates: dict[str, list[float]] = {name: [] for name in LOOPS}
    commits = 0.0
    with model() as url:
        for n in range(ROUNDS):
            for name, loop in LOOPS.items():
                rate, shared = asyncio.run(together(loop, url, tmp_path / f"{n}", 50, 8))
                rates[name].append(rate)
                commits = shared or commits
    print(f"\n  50 sessions, machine load {os.getloadavg()[0]:.1f}; reference: {commits:.2f} commits a turn")
    for name, values in rates.items():
        ratios = [value / base for value, base in zip(values, rates["bare create"], strict=True)]
        print(f"  {name:16} {statistics.median(values):7.1f} turns/s   {statistics.median(ratios):5.2f} of bare create "
              f"(rounds {' '.join(f'{r:.2f}' for r in ratios)})")  # fmt: skip


def journal(folder: Path, records: int) -> tuple[Any, str]:
    """A session of about so many records, as turns make them."""
    import msgspec

    from reference_harness import records as r
    from reference_harness.registry import digest_of
    from reference_harness.stores import SQLiteStore

    made: list[Any] = [r.Opened("/", "claude-sonnet-5")]
    block = b'{"type":"tool_use","id":"toolu_%08d","name":"look","input":{"thing":"x"}}'
    said = (msgspec.Raw(msgspec.json.encode({"type": "text", "text": "It is there, as it was before. " * 5})),)
    n = 0
    while len(made) < records:
        n += 1
        id_, digest = f"toolu_{n:08d}", digest_of({"thing": "x"})
        made += [
            r.Prompted(f"prompt-{n}"), r.Requested(2 * n, "main", 1000 + n, 300, 8192),
            r.Replied(2 * n, (msgspec.Raw(block % n),), "tool_use", r.Usage(100, 40), (r.Call(id_, "look", {"thing": "x"}, digest),)),
            r.Decided(r.Decision(id_, "look", digest, "allow", "tier:read_only", "automatic", "policy", "once", "the rule decides without asking")),
            r.Started(id_, "look", digest), r.Finished(id_, "a line of what the tool found\n" * 4),
            r.Requested(2 * n + 1, "main", 1500 + n, 400, 8192), r.Replied(2 * n + 1, said, "end_turn", r.Usage(140, 40)), r.TurnEnded("end_turn"),
        ]  # fmt: skip
    store, session = SQLiteStore(folder), "0123456789abcdef"
    at = 1764043200.123456
    store.append(session, [r.Entry(seq, at + seq / 7, record) for seq, record in enumerate(made, 1)])
    return store, session


def resumed(store: Any, session: str) -> float:
    """Seconds to read a session with its chain checked, and to fold it into all that a session keeps."""
    from reference_harness import Session
    from reference_harness.anthropic_model import AnthropicModel
    from reference_harness.retries import Retries

    model = AnthropicModel(base_url="http://localhost", api_key="k", name=MODEL, stall_timeout=60)
    lease = store.lease(session)
    gc.collect()
    began = time.process_time()
    entries = store.read(session)
    read = time.process_time() - began
    taken_up = Session(session, store, lease, model, Retries())
    taken_up.journal.replay(entries)
    taken_up.transcript.wire()
    spent = time.process_time() - began
    lease.release()
    resumed.read = read  # type: ignore[attr-defined]
    return spent


def by_the_library(lines: list[bytes]) -> float:
    """Seconds for `json.loads` and sha256 over the same lines, chained."""
    import hashlib
    import json

    gc.collect()
    began = time.process_time()
    chain, kept = b"", []
    for line in lines:
        kept.append(json.loads(line))
        chain = hashlib.sha256(chain + line).digest()
    return time.process_time() - began


def test_resume_of_a_long_session(tmp_path: Path) -> None:
    import json

    store, session = journal(tmp_path, 100_000)
    lines = [json.dumps({"seq": seq, "at": at, "record": json.loads(body)}, separators=(",", ":")).encode()
             for seq, at, _kind, body, _chain in store.rows(session)]  # fmt: skip
    ratios, whole, reads = [], [], []
    for _ in range(ROUNDS):
        base, ours = by_the_library(lines), resumed(store, session)
        ratios.append(ours / base)
        whole.append(ours)
        reads.append(resumed.read / base)  # type: ignore[attr-defined]
    print(f"\n  resume of {len(lines)} records: {statistics.median(whole):.2f} s, {statistics.median(ratios):.2f} of "
          f"json.loads + sha256 (read and verified alone {statistics.median(reads):.2f})")  # fmt: skip
    store.close()


@contextmanager
def peer(name: str, url: str, environments: Path) -> Iterator[Callable[[int], float]]:
    """A library in its environment (made if it is not there); call with a number of turns, get milliseconds a turn."""
    python = environments / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", environments / name], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[name]], check=True, capture_output=True)
    log = environments / f"{name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen([python, Path(__file__).with_name("peers.py"), name, url], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)  # fmt: skip
    assert process.stdin and process.stdout

    def measured(turns: int) -> float:
        process.stdin.write(f"{turns}\n")
        process.stdin.flush()
        for line in iter(process.stdout.readline, ""):
            if line.startswith("spent "):
                return float(line.split()[1])
        raise AssertionError(f"{name} ended: see {log}")

    try:
        yield measured
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif("BENCH_PEERS" not in os.environ, reason="set BENCH_PEERS to the folder for the peers' environments")
def test_a_turn_beside_other_libraries(tmp_path: Path) -> None:
    environments = Path(os.environ["BENCH_PEERS"]).resolve()
    found: dict[str, list[float]] = {}
    with model() as url, ExitStack() as stack:
        peers = {name: stack.enter_context(peer(name, url, environments)) for name in PEERS}
        for n in range(ROUNDS):
            for name, loop in LOOPS.items():
                found.setdefault(name, []).append(asyncio.run(a_round(loop, url, tmp_path / f"{n}", TURNS)))
            for name, measured in peers.items():
                found.setdefault(name, []).append(measured(TURNS))
    print(f"\n{TURNS} turns, {ROUNDS} rounds, machine load {os.getloadavg()[0]:.1f}")
    for name, values in found.items():
        shown(name, values, found["bare create"])
