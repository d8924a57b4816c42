"""The one family of errors. A message says what happened and what to do next, and never holds a key."""

import math
from collections.abc import Iterable

UNPRICED = (  # raising the limit would not help
    "what a model without a price uses is not known in money. Give its price under [prices] in harness.toml, take a "
    "model that has one (HARNESS_MODEL), or go on under another limit (--cost none --tokens N)"
)


def amount(limit: str, value: float) -> str:
    """So much of a limit, in words: 3 turns, $0.5, 90 s of time."""
    match limit:
        case "cost":
            return f"${value:.4g}"
        case "time":
            return f"{round(value, 1):,.10g} s of time"
    return f"{value:,.0f} {limit}"


def near(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """What a word that is none of the known ones may mean: "is it X?", else `otherwise`, else all of them."""
    import difflib  # only where something is wrong

    names = list(known)
    found = difflib.get_close_matches(word, names, 1)
    return f"is it {found[0]}?" if found else otherwise or f"known are {', '.join(names)}"


class HarnessFault(Exception):  # noqa: N818 - a fault is what it is called throughout
    """Base of every error this package raises on purpose."""


class UsageFault(HarnessFault):
    """The caller asked for something that cannot be: bad setting, busy session, unknown id."""


class StoreFault(HarnessFault):
    """The journal could not be read or written. Nothing further takes effect in the session."""


class ModelFault(HarnessFault):
    """A model request ended without a whole reply.

    `retryable`: the same request may be sent again. `wait`: seconds the provider asked for.
    `too_long`: the conversation does not fit into the model.
    """

    def __init__(self, message: str, *, retryable: bool = False, wait: float = 0.0, too_long: bool = False) -> None:
        super().__init__(message)
        self.too_long = too_long
        self.retryable = retryable
        self.wait = wait


class LimitHit(HarnessFault):
    """A limit of the session does not allow the next step.

    `used`: with what that step needs, where that is known; infinite where nobody knows it.
    """

    def __init__(self, limit: str, allowed: float, used: float) -> None:
        told = f"the limit of {amount(limit, allowed)} "
        if math.isfinite(used):
            told += f"is reached ({amount(limit, used)} used or needed): raise it, go on"
        else:
            told += f"cannot be kept: {UNPRICED}"
        super().__init__(told)
        self.limit = limit
        self.allowed = allowed
        self.used = used

    @property
    def more(self) -> float:
        """So much more lets the next step go: the limit once again, or twice what is missing; 0 if nothing does."""
        if not math.isfinite(self.used):
            return 0.0
        return max(self.allowed, 2 * (self.used - self.allowed)) or 1.0


class ToolFault(HarnessFault):
    """A tool did nothing, and says why. The model is told."""
