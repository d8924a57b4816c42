"""Calls that the scripted model makes: lawful arguments of the canary tools, in batches, never two alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from conformance.bench.script import ToolCall

TOOLS_OF: Mapping[str, tuple[str, ...]] = {
    "destructive": ("wipe", "pay"),
    "unknown": ("mystery",),
    "mutating": ("note", "put"),
    "read_only": ("look",),
}

# Characters that have broken harnesses: line separators, controls, astral, right-to-left, combining.
_ODD = "\u2028\u2029\u0085\u200b\u202e\u0301\U0001f4a5é'\"\\\n\t{}[]<>$`"


def texts(max_size: int = 20) -> st.SearchStrategy[str]:
    """Texts as arguments hold them: plain words first, odd characters among them, no lone surrogates, no NUL."""
    plain = st.characters(min_codepoint=97, max_codepoint=122)
    return st.text(st.one_of(plain, st.sampled_from(_ODD)), max_size=max_size)


def arguments() -> st.SearchStrategy[dict[str, Any]]:
    """Arguments that fit the canaries' schema (the nonce is added when the script is put to a session)."""
    amount = st.integers(min_value=0, max_value=10**6)
    return st.fixed_dictionaries({"target": texts()}, optional={"amount": amount})


def batches(risk: str = "destructive", *, min_size: int = 1, max_size: int = 3) -> st.SearchStrategy[list[ToolCall]]:
    """Batches of calls of one risk, labelled c1, c2, …; their arguments always differ."""
    return _labelled(
        st.lists(st.tuples(st.sampled_from(TOOLS_OF[risk]), arguments()), min_size=min_size, max_size=max_size)
    )


def mixed_batches(*, min_size: int = 1, max_size: int = 4) -> st.SearchStrategy[list[ToolCall]]:
    """Batches of calls of every risk."""
    every = [tool for tools in TOOLS_OF.values() for tool in tools]
    return _labelled(st.lists(st.tuples(st.sampled_from(every), arguments()), min_size=min_size, max_size=max_size))


def _labelled(drawn: st.SearchStrategy[list[tuple[str, dict[str, Any]]]]) -> st.SearchStrategy[list[ToolCall]]:
    return drawn.map(lambda pairs: [ToolCall(f"c{i}", tool, {**given, "target": f"{i} {given['target']}"})
                                    for i, (tool, given) in enumerate(pairs, 1)])  # fmt: skip
