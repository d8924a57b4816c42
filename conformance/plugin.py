"""The pytest plugin: `pytest --harness=NAME` runs the suite's own checks against a harness.

Without that option it does nothing and imports nothing. Select rows by `-k PERM_01` (or `-k "PERM_01 or ALL"`).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HARNESS = "conformance_harness"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    group = parser.getgroup("conformance", "conformance of an agent harness")
    wanted: Mapping[str, Any] = {
        "dest": HARNESS, "metavar": "NAME",
        "help": "the harness to test: a name, a path to .toml or .py, module:Class, or acp:COMMAND",
    }  # fmt: skip
    try:
        group.addoption("--harness", "--conformance-harness", **wanted)
    except (ValueError, argparse.ArgumentError):  # another plugin owns the short name
        group.addoption("--conformance-harness", **wanted)
    group.addoption(
        "--conformance-report", metavar="DIR", default="conformance-report",
        help="where the report is written (default: %(default)s)",
    )  # fmt: skip
    group.addoption(
        "--conformance-profile", choices=("default", "quick", "thorough", "unshrunk"),
        help="how many examples each property is tried on (default: what the adapter says, else default)",
    )  # fmt: skip
    group.addoption(
        "--as-installed", "--conformance-as-installed", action="store_true", dest="conformance_installed",
        help="test the harness as its maker ships it, not in the configuration that its adapter claims for",
    )  # fmt: skip
    group.addoption(
        "--profile-claim", choices=("day-one", "operational"), default="",
        help="claim a profile: what it names must be declared",
    )  # fmt: skip
    group.addoption("--known-failures", metavar="FILE", help="failures that are known, why and until when (TOML)")
    group.addoption(
        "--record", "--conformance-record", action="store_true", dest="conformance_record",
        help="put the suite's sessions on cassette instead of checking anything; the scripted model is recorded",
    )  # fmt: skip
    group.addoption(
        "--record-from", metavar="URL", default="",
        help="with --record: a real model API to record, such as https://api.anthropic.com (key: ANTHROPIC_API_KEY)",
    )  # fmt: skip
    group.addoption(
        "--conformance-cassettes", metavar="DIR",
        help="the folder cassettes are played from (default: those of the suite) or recorded to (default: cassettes)",
    )  # fmt: skip
    group.addoption("--conformance-checks", metavar="DIR", help=argparse.SUPPRESS)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Leave the user's conftest files alone: they belong to the user's tests, which do not run now."""
    early = early_config.known_args_namespace
    if getattr(early, HARNESS, None) and not early.file_or_dir:
        early.noconftest = True


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start the suite, if a harness was named."""
    if config.getoption(HARNESS, None):
        from conformance._pytest.setup import start  # noqa: PLC0415  nothing is imported without --harness

        start(config)
