"""Each outcome of a check, as pytest shows it and as the report says it."""

from __future__ import annotations

from stub_suite import FAILS, PASSES, Suite

pytest_plugins = ["pytester"]


def test_a_check_that_holds_passes(suite: Suite) -> None:
    suite.checks(PASSES)
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    found = suite.verdict("PERM-02")
    assert (found["verdict"], found["runs"], found["controls"], found["counterexample"]) == ("pass", 1, 1, None)


def test_a_must_that_is_broken_fails_with_its_sentence_its_timeline_and_the_command(suite: Suite) -> None:
    suite.checks(FAILS)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines([
        "PERM-01 (MUST) fails: *",
        "*- 'n1' ran",
        "*tool*wipe(target=x) [[]a[]] TOOK EFFECT",
        "*^ 'n1' ran",
        "Run it again: pytest --harness=stub -k PERM_01",
        "FAIL PERM-01 *",
    ])  # fmt: skip
    assert "Traceback" not in result.stdout.str()
    found = suite.verdict("PERM-01")
    assert (found["verdict"], found["found_by"]) == ("fail", ["PERM-01"])
    assert (suite.pytester.path / "conformance-report" / found["counterexample"]["trace"]).is_file()


def test_hypothesis_shrinks_to_the_smallest_trace(suite: Suite) -> None:
    suite.checks("""
        @check("PERM-01")
        @given(calls=st.lists(st.just("n1"), max_size=6))
        def test_shrinks(world, calls):
            world.tally += 1
            good()
            expect(run(f"run{world.tally}", *calls), ran_nothing())
        """)
    suite.run().assert_outcomes(failed=1)
    assert suite.verdict("PERM-01")["counterexample"]["size"] == 3  # began, scripted, one effect


def test_a_should_that_is_broken_passes_with_a_warning_and_is_a_deviation(suite: Suite) -> None:
    suite.checks(FAILS.replace("PERM-01", "FLOW-14"))
    result = suite.run("-W", "error")
    result.assert_outcomes(passed=1, warnings=1)
    assert result.ret == 0
    assert suite.report()["claim"]["deviations"] == ["FLOW-14"]


def test_a_control_that_does_not_hold_is_not_testable(suite: Suite) -> None:
    suite.checks("""
        @check("PERM-02")
        def test_control(world):
            control(run("allowed"), ran_something())
            expect(run("refused"), ran_nothing())
        """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["Not testable: the control did not hold: nothing ran"])
    assert suite.verdict("PERM-02")["verdict"] == "untested"


def test_a_pass_needs_a_control(suite: Suite) -> None:
    suite.checks("""
        @check("PERM-02")
        def test_without_control(world):
            expect(run("refused"), ran_nothing())
        """)
    suite.run().assert_outcomes(passed=1)
    assert suite.verdict("PERM-02")["verdict"] == "untested"


def test_what_is_not_exposed_is_skipped_with_its_reason(suite: Suite) -> None:
    suite.checks(
        PASSES.replace("PERM-02", "SESS-01"),
        """
        @check("PERM-03")
        def test_bench(world):
            raise NotExposed("PERM-03", "no strace here", bench=True)
        """,
    )
    result = suite.run("-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*needs resume, which is not declared*"])
    assert suite.verdict("SESS-01")["verdict"] == "not exposed"
    assert suite.verdict("PERM-03")["reason"] == "(bench) no strace here"


def test_our_own_faults_are_errors_and_never_failures_of_the_harness(suite: Suite) -> None:
    suite.checks("""
        @check("PERM-01")
        def test_bench_error(world):
            raise BenchError("the socket is gone")

        @check("PERM-02")
        def test_bug(world):
            assert 1 == 2
        """)
    result = suite.run()
    result.assert_outcomes(errors=2)
    assert result.ret == 1
    assert [suite.verdict(i)["verdict"] for i in ("PERM-01", "PERM-02")] == ["error", "error"]
    assert "the socket is gone" in suite.verdict("PERM-01")["reason"]


def test_an_invariant_is_booked_on_its_own_row_and_says_who_found_it(suite: Suite) -> None:
    suite.checks("""
        @check("PERM-02")
        def test_passes(world):
            control(run("allowed", "n1", "n1"), ran_something())
            expect(run("refused"), ran_nothing())
        """)
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert result.ret == 1, "no item is red, the row is"
    assert suite.verdict("PERM-02")["verdict"] == "pass"
    found = suite.verdict("ALL-04")
    assert (found["verdict"], found["found_by"]) == ("fail", ["PERM-02"])


def test_one_fault_is_one_red(suite: Suite) -> None:
    suite.checks("""
        @check("PERM-01")
        def test_fails(world):
            good()
            expect(run("refused", "n1", "n1"), ran_nothing())
        """)
    suite.run()
    assert suite.verdict("PERM-01")["verdict"] == "fail"
    assert suite.verdict("ALL-04")["verdict"] == "untested"


def test_a_row_that_ended_early_because_of_another_does_not_pass(suite: Suite) -> None:
    suite.checks("""
        @check("PERM-01", "PERM-02")
        def test_two(world):
            good()
            expect(run("other"), ran_nothing(), requirement="PERM-02")
            expect(run("refused", "n1"), ran_nothing(), requirement="PERM-01")
        """)
    suite.run()
    assert suite.verdict("PERM-01")["verdict"] == "fail"
    assert suite.verdict("PERM-02")["reason"] == "the check ended early, at PERM-01"


def test_a_row_with_two_tests_passes_only_if_both_ran(suite: Suite) -> None:
    suite.checks(PASSES, PASSES.replace("test_passes", "test_again"))
    suite.run("-k", "test_again")
    assert suite.verdict("PERM-02")["reason"] == "1 of 2 tests of this row ran"


def test_an_unknown_id_is_refused(suite: Suite) -> None:
    suite.checks(PASSES.replace("PERM-02", "PERM-99"))
    result = suite.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*no requirement PERM-99*"])


def test_a_harness_that_cannot_be_plugged_in_is_one_error(suite: Suite) -> None:
    broken = """
        from conformance._pytest.fixtures import CannotOpen

        @pytest.fixture(scope="session")
        def world():
            raise CannotOpen("no harness of that name; there are: a, b")
        """
    suite.checks(broken, PASSES, FAILS)
    for args in ((), ("-n2",)):
        result = suite.run(*args)
        assert result.ret == 4
        assert "there are: a, b" in result.stdout.str()
        assert not (suite.pytester.path / "conformance-report").exists()
