"""What a harness does as its maker ships it, read off two traces. No verdict rests on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conformance.invariants.facts import entries, main_requests, questions
from conformance.trace import Trace

WORDS = {
    "unasked": "runs without asking",
    "asked": "asks before",
    "not run": "does not run",
}


def habits(configuration: str, kinds: Trace, endless: Trace, rounds: int) -> dict[str, Any]:
    """What becomes of a call of each kind, and after how many requests a model that never ends is stopped.

    `kinds` holds one call of each risk, all allowed; `endless` one call in each of `rounds` replies. The answer is
    JSON: `configuration`, `unasked`, `asked`, `not run` (kinds of risk, in the order of the calls), `stopped_after`
    (requests, None = not stopped), `sentence`.
    """
    found: dict[str, list[str]] = {"unasked": [], "asked": [], "not run": []}
    for call in kinds.scripted().values():
        nonce = call["nonce"]
        ran = bool(entries(kinds, nonce))
        found["not run" if not ran else "asked" if questions(kinds, nonce) else "unasked"].append(call["risk"])
    requests = len(main_requests(endless))
    stopped = requests if requests <= rounds else None
    return {"configuration": configuration, **found, "stopped_after": stopped,
            "sentence": _sentence(found, stopped, rounds)}  # fmt: skip


def _sentence(found: dict[str, list[str]], stopped: int | None, rounds: int) -> str:
    parts = [f"{words} {_listed(found[key])} calls" for key, words in WORDS.items() if found[key]]
    end = f"stops a model that never ends after {stopped} requests" if stopped is not None else (
        f"does not stop a model that never ends within {rounds} requests"
    )  # fmt: skip
    return "; ".join([*parts, end]) + "."


def _listed(kinds: Sequence[str]) -> str:
    names = [kind.replace("_", "-") for kind in kinds]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
