"""For all tests: Ctrl-C is what it is in a terminal, and no example fails for the slowness of a busy machine."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture(scope="session", autouse=True)
def sigint_is_not_ignored() -> None:
    """A shell starts its background jobs with SIGINT ignored; tests of Ctrl-C need the way of a terminal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
