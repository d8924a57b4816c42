"""The one family of errors. A message says what happened and what to do next, and never holds a key."""

import math

UNPRICED = (  # raising the limit would not help
    "what a model without a price uses is not known in money. Add its price to prices.json, take a model that has one "
    "(HARNESS_MODEL), or go on under another limit (--cost none --tokens N)"
)


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
    """A limit of the session does not allow the next step. `used` is infinite where nobody knows it."""

    def __init__(self, limit: str, allowed: float, used: float) -> None:
        told = f"the limit of {allowed:g} {limit} is reached ({used:g} used or needed): raise it, go on"
        super().__init__(told if used < math.inf else f"the limit of {allowed:g} {limit} cannot be kept: {UNPRICED}")
        self.limit = limit
        self.allowed = allowed
        self.used = used


class ToolFault(HarnessFault):
    """A tool did nothing, and says why. The model is told."""
