"""What is done to a run: answers to questions, and kills at boundaries ("no kill" is the simplest value)."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from conformance.bench.plan import At


def answer_vectors(size: int) -> st.SearchStrategy[list[bool]]:
    """One yes or no for each call of a batch."""
    return st.lists(st.booleans(), min_size=size, max_size=size)


def kills(boundaries: Sequence[At], *, max_size: int = 2) -> st.SearchStrategy[list[At]]:
    """Up to so many kills at these boundaries; shrinking drops kills first."""
    return st.lists(st.sampled_from(list(boundaries)), max_size=max_size, unique=True) if boundaries else st.just([])
