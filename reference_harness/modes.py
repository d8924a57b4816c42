"""The modes: what happens to a call that no rule of the operator covers.

Only a person sets one: the operator, an option, or the client of an ACP session, among those that the operator allows.
From strict to loose: `plan` changes nothing, `ask` asks, `auto` lets mild changes inside the workspace through and
still asks to read outside of it, `bypass` asks for nothing that no rule asks for. A deny, a rule that asks, and doubt
hold in every mode.
"""

from __future__ import annotations

from enum import IntEnum

MEANING = {
    "ask": "asks about what changes something",
    "plan": "changes nothing",
    "auto": "asks about all but mild changes inside the workspace",
    "bypass": "asks about nothing that no rule asks about",
}
MODES = tuple(MEANING)
DEFAULT = "ask"


class Weight(IntEnum):
    """What a call could do, as far as it is understood."""

    READS = 0
    MILD = 1  # changes files inside the workspace, and nothing that runs by itself later
    HEAVY = 2  # anything else, and what is not understood


def refuses(mode: str, weight: Weight) -> bool:
    """Whether the mode refuses the call whatever allows it."""
    return mode == "plan" and weight is not Weight.READS


def lets_through(mode: str, weight: Weight) -> bool:
    """Whether the mode lets a call through that would ask by default."""
    return mode == "bypass" or (mode == "auto" and weight <= Weight.MILD)


def asks_outside(mode: str) -> bool:
    """Whether a call asks nevertheless that reads outside the workspace."""
    return mode != "bypass"
