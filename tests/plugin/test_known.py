"""Known failures: they count, they do not fail a build, and they fail it once they pass."""

from __future__ import annotations

import pytest
from stub_suite import FAILS, PASSES, Suite

pytest_plugins = ["pytester"]


def entry(requirement: str, expires: str = "2999-01-01") -> str:
    """One entry of the file."""
    return f'[[failure]]\nid = "{requirement}"\nreason = "known"\nlink = "#1"\nexpires = {expires}\n'


def test_a_known_failure_is_expected_and_still_counts_against_the_claim(suite: Suite) -> None:
    suite.checks(PASSES, FAILS)
    (suite.pytester.path / "known-failures.toml").write_text(entry("PERM-01"))
    result = suite.run()
    result.assert_outcomes(passed=1, xfailed=1)
    assert result.ret == 0
    assert suite.report()["claim"]["counts"]["MUST"]["fail"] == 1
    assert suite.report()["known_failures"][0]["state"] == "holds"
    result.stdout.fnmatch_lines(["known PERM-01 *"])


def test_one_known_row_does_not_hide_another(suite: Suite) -> None:
    suite.checks(FAILS, FAILS.replace("PERM-01", "PERM-03").replace("test_fails", "test_more"))
    (suite.pytester.path / "mine.toml").write_text(entry("PERM-01"))
    suite.run("--known-failures=mine.toml").assert_outcomes(failed=1, xfailed=1)


def test_a_known_failure_that_passes_fails_the_session(suite: Suite) -> None:
    suite.checks(PASSES)
    (suite.pytester.path / "known-failures.toml").write_text(entry("PERM-02"))
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["STALE PERM-02 *"])


def test_a_known_failure_that_did_not_run_is_not_stale(suite: Suite) -> None:
    suite.checks(PASSES, FAILS)
    (suite.pytester.path / "known-failures.toml").write_text(entry("PERM-01"))
    assert suite.run("-k", "PERM_02").ret == 0


def test_an_expired_entry_shields_nothing(suite: Suite) -> None:
    suite.checks(FAILS)
    (suite.pytester.path / "known-failures.toml").write_text(entry("PERM-01", "2020-01-01"))
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["EXPIRED PERM-01 *"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (entry("PERM-99"), "there is no requirement PERM-99"),
        (entry("PERM-01").replace("reason", "why"), "`reason` is missing"),
        (entry("PERM-01") + 'extra = "x"\n', "unknown key `extra`"),
        (entry("PERM-01", '"2999-01-01"'), "must be a date"),
        (entry("PERM-01") * 2, "twice"),
        ("[[failure]\n", "is no TOML"),
        ('failures = "x"\n', "unknown key `failures`"),
    ],
)
def test_a_wrong_file_is_one_clear_error(suite: Suite, text: str, says: str) -> None:
    suite.checks(PASSES)
    (suite.pytester.path / "known-failures.toml").write_text(text)
    result = suite.run()
    assert result.ret == 4
    assert says in result.stderr.str()
    assert "known-failures.toml" in result.stderr.str()
