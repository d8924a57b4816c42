"""Where and how the plugin runs: empty folders, projects of others, workers, crashes, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from stub_suite import FAILS, PASSES, Suite

from conformance.report.read import read

pytest_plugins = ["pytester"]


def test_without_the_option_nothing_happens_and_nothing_heavy_is_imported(suite: Suite) -> None:
    suite.pytester.makepyfile("""
        import sys
        def test_mine():
            heavy = {"conformance.judging", "conformance.bench", "conformance.report", "jinja2", "hypothesis"}
            assert not heavy & set(sys.modules)
        """)
    result = suite.run("-p", "no:hypothesispytest", harness="")
    result.assert_outcomes(passed=1)
    assert "conformance:" not in result.stdout.str()


def test_in_an_empty_folder_only_the_report_is_left(suite: Suite) -> None:
    suite.checks(PASSES)
    suite.run("-p", "no:cacheprovider").assert_outcomes(passed=1)
    left = {p.name for p in suite.pytester.path.iterdir()} - {"stdout", "stderr"}  # pytester's own
    assert left == {"conformance-report"}


def test_a_project_with_tests_settings_and_conftest_of_its_own_is_left_alone(suite: Suite) -> None:
    suite.pytester.makeini("""
        [pytest]
        testpaths = tests
        python_files = check_*.py
        python_functions = it_*
        norecursedirs = *
        usefixtures = database
        filterwarnings = error
        addopts = --strict-markers
        """)
    suite.pytester.makeconftest("raise RuntimeError('not to be loaded')")
    suite.pytester.mkdir("tests").joinpath("check_mine.py").write_text("def it_fails(): assert False")
    warns = """
        import warnings

        @check("PERM-03")
        def test_warns(world):
            warnings.warn("old")
            good()
            expect(run("x"), ran_nothing())
        """
    suite.checks(PASSES, warns)
    suite.run().assert_outcomes(passed=2, warnings=1)


def test_the_checks_may_lie_in_an_environment_inside_the_project(suite: Suite) -> None:
    suite.folder = suite.pytester.path / ".venv" / "checks"
    suite.folder.parent.mkdir()
    (suite.folder.parent / "pyvenv.cfg").write_text("")
    suite.checks(PASSES)
    suite.run().assert_outcomes(passed=1)


def test_paths_the_user_gave_are_respected(suite: Suite) -> None:
    suite.checks(PASSES)
    suite.checks(FAILS, name="test_conformance_p03_other.py")  # not collected, or it would fail
    suite.run(str(suite.folder / "test_conformance_p02_stub.py")).assert_outcomes(passed=1)


def test_rows_are_selected_by_id(suite: Suite) -> None:
    suite.checks(PASSES, FAILS)
    for word in ("PERM_01", "PERM-01"):
        suite.run("-k", word).assert_outcomes(failed=1, deselected=1)
        assert suite.verdict("PERM-02")["reason"] == "never ran"


def test_workers_give_the_same_report(suite: Suite) -> None:
    suite.checks(PASSES, FAILS, PASSES.replace("PERM-02", "FLOW-14").replace("test_passes", "test_third"))
    suite.run().assert_outcomes(passed=2, failed=1)
    alone = suite.report()
    suite.run("-n2").assert_outcomes(passed=2, failed=1)
    together = suite.report()
    assert (alone["environment"]["workers"], together["environment"]["workers"]) == ("0", "2")
    assert "-n2" in together["environment"]["command"]
    assert set(together["environment"]) - set(alone["environment"]) == {"xdist"}
    for body in (alone, together):
        body.pop("evidence")
        body.pop("environment")
    assert together == alone
    assert len(list((suite.pytester.path / "conformance-report/traces").glob("*.jsonl"))) == 3


def test_a_worker_that_dies_is_an_error_of_the_rows_it_ran(suite: Suite) -> None:
    suite.checks(PASSES, "\n@check('PERM-01')\ndef test_dies(world):\n    os._exit(3)\n")
    result = suite.run("-n1")
    assert result.ret == 1
    assert suite.verdict("PERM-01")["verdict"] == "error"
    assert suite.verdict("PERM-02")["verdict"] == "pass"


def test_after_an_interrupt_the_report_says_what_ran(suite: Suite) -> None:
    suite.checks(
        PASSES,
        """
        @check("PERM-01")
        def test_waits(world):
            import time, pathlib
            pathlib.Path("waiting").touch()
            time.sleep(60)
        """,
    )
    running = subprocess.Popen(suite.command(), cwd=suite.pytester.path, stdout=subprocess.DEVNULL)
    while not (suite.pytester.path / "waiting").exists():
        assert running.poll() is None
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    assert running.wait(30) == 2
    found = read(suite.pytester.path / "conformance-report")
    words = {v.id: v.verdict for v in found.verdicts}
    assert (words["PERM-02"], words["PERM-01"]) == ("pass", "untested")
    assert "interrupted" in found.notes[0]


def test_ten_runs_give_equal_reports(suite: Suite) -> None:
    suite.checks("""
        @check("PERM-01")
        @given(calls=st.lists(st.sampled_from(["n1", "n2"]), max_size=5))
        def test_shrinks(world, calls):
            world.tally += 1
            good()
            expect(run(f"run{world.tally}", *calls), ran_nothing())
        """)
    reports = []
    for _ in range(2):
        suite.run()
        reports.append(suite.report())
    assert reports[0] == reports[1]


def test_another_plugin_that_owns_the_short_option_does_not_stop_us(suite: Suite) -> None:
    suite.pytester.makepyfile(other="def pytest_addoption(parser): parser.addoption('--harness', dest='theirs')")
    suite.checks(PASSES)
    args = ["-p", "other", f"--conformance-checks={suite.folder}", "--conformance-harness=stub"]
    command = suite.command(harness="")
    result = suite.pytester.run(*command[:3], *args[:2], *command[3:], *args[2:])
    result.assert_outcomes(passed=1)


def test_a_name_that_is_no_harness_is_one_error_that_lists_what_there_is(suite: Suite) -> None:
    result = suite.pytester.run(*suite.command("--harness=nonsense", harness=""))
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: no harness 'nonsense'*Shipped: *"])


def test_two_modules_may_hold_tests_of_one_name(suite: Suite) -> None:
    suite.checks(PASSES)
    again = PASSES.replace("PERM-02", "PERM-03")
    suite.checks(again, name="test_conformance_p03_other.py")
    suite.run("-n2").assert_outcomes(passed=2)
    assert suite.verdict("PERM-03")["verdict"] == "pass"


def test_checks_that_cannot_be_loaded_are_named_in_the_report(suite: Suite) -> None:
    suite.checks(PASSES)
    suite.checks("\nraise RuntimeError\n", name="test_conformance_p03_other.py")
    assert suite.run("--continue-on-collection-errors").ret == 1
    assert any("test_conformance_p03_other.py" in note for note in suite.report()["notes"])


def test_traces_of_checks_that_are_over_are_not_kept_in_memory(suite: Suite) -> None:
    """Pytest keeps every item and report to the end."""
    suite.checks(
        PASSES,
        """
        @check("PERM-03")
        def test_second(world):
            import gc
            gc.collect()
            assert not [one for one in gc.get_objects() if isinstance(one, Trace)]
            good()
            expect(run("refused"), ran_nothing())
        """,
    )
    suite.run().assert_outcomes(passed=2)
