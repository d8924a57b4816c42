"""Streams of a reply: every lawful form of it (EVNT-12), as the wire's grammar allows."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from conformance.bench.script import Style

PLAIN = Style(pings=())
FORMS: Mapping[str, Style] = {
    "pings": Style(pings=(0, 2, 2, 3, 5, 7, 9, 11)),
    "padded": Style(pad=37),
    "arguments split": Style(json_splits=tuple(range(1, 120))),
    "arguments split once": Style(json_splits=(3,)),
    "text split": Style(text_split=1),
    "byte by byte": Style(writes="every", text_split=2, json_splits=(5, 20)),
    "unknown event": Style(unknown_event=True),
    "retry-after on 200": Style(headers={"retry-after": "7"}),
    "late usage": Style(late_input=True),
    "all at once": Style(pings=(2, 4, 6), pad=9, json_splits=(1, 2, 30), text_split=3, unknown_event=True,
                         headers={"retry-after": "1"}, late_input=True, writes=(1, 90, 91, 300)),
}  # fmt: skip


def styles() -> st.SearchStrategy[Style]:
    """Any lawful form; the plain one is the simplest. Byte by byte is among FORMS: it takes thousands of writes."""
    places = st.lists(st.integers(0, 12), max_size=4).map(tuple)
    offsets = st.lists(st.integers(1, 200), max_size=6).map(tuple)
    cuts = st.lists(st.integers(1, 2500), max_size=20).map(tuple)
    return st.builds(
        Style, pings=places, pad=st.integers(0, 40), json_splits=offsets, text_split=st.integers(0, 4),
        writes=cuts, unknown_event=st.booleans(), late_input=st.booleans(),
        headers=st.sampled_from(({}, {"retry-after": "7"}, {"retry-after-ms": "20", "x-should-retry": "true"})),
    )  # fmt: skip
