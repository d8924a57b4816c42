"""The search for a smaller example ends in time, and what it had found is the verdict."""

from __future__ import annotations

from stub_suite import Suite

pytest_plugins = ["pytester"]

KNOWN = '[[failure]]\nid = "PERM-01"\nreason = "why"\nlink = "#1"\nexpires = 2999-01-01\n'
ENDLESS = """
import contextlib
from conformance.checks.check import SMALLER
from conformance.checks.check import check as real

@pytest.fixture(scope="session")
def world():
    harness = SimpleNamespace(name="stub", version="1.0", configuration="strict", notes=(), patience=10.0,
                              capabilities=frozenset({"approve", "turns"}), posture={"budget_basis": "after"})
    yield SimpleNamespace(harness=harness, tally=0, used_warm=False, given_up=0, fresh=0,
                          fresh_life=contextlib.nullcontext)

def found(world, calls):
    world.used_warm = True
    world.tally += 1
    good()
    expect(run(f"run{world.tally}", *calls), ran_nothing())
"""


def test_it_ends_after_a_bounded_number_of_examples_and_the_smallest_is_told(suite: Suite) -> None:
    suite.checks(ENDLESS, """
        @real("PERM-01")
        @given(calls=st.lists(st.integers(0, 10**9).map(str), min_size=3, max_size=40))
        def test_shrinks(world, calls):
            found(world, calls)
            assert world.tally <= SMALLER + 10

        @pytest.fixture(autouse=True, scope="session")
        def bounded(world):
            yield
            assert 3 < world.tally <= SMALLER + 5, world.tally
        """)  # fmt: skip
    result = suite.run()
    result.assert_outcomes(failed=1)
    found = suite.verdict("PERM-01")
    assert (found["verdict"], found["counterexample"]["size"]) == ("fail", 5)
    assert "Traceback" not in result.stdout.str()


def test_just_the_first_failure_is_tried_in_a_life_of_its_own(suite: Suite) -> None:
    suite.checks(ENDLESS, """
        @real("PERM-01")
        @given(calls=st.lists(st.just("n1"), min_size=1, max_size=6))
        def test_shrinks(world, calls):
            found(world, calls)

        @pytest.fixture(autouse=True, scope="session")
        def counted(world):
            lives = []
            world.fresh_life = lambda: lives.append(1) or contextlib.nullcontext()
            yield
            assert lives == [1]
        """)  # fmt: skip
    suite.run().assert_outcomes(failed=1)
    assert suite.verdict("PERM-01")["counterexample"]["size"] == 3


def test_a_known_failure_is_not_made_smaller_again(suite: Suite) -> None:
    suite.checks(ENDLESS, """
        @real("PERM-01")
        @given(calls=st.lists(st.just("n1"), min_size=1, max_size=40))
        def test_long(world, calls):
            found(world, calls)

        @pytest.fixture(autouse=True, scope="session")
        def counted(world):
            yield
            with open("tried", "a") as tried:
                tried.write(f"{world.tally} ")
        """)  # fmt: skip
    for known in ("", KNOWN):
        (suite.pytester.path / "known-failures.toml").write_text(known)
        suite.run()
    tried = [int(count) for count in (suite.pytester.path / "tried").read_text().split()]
    assert tried[0] > 2
    assert tried[1] == 3, "the first that fails, once more in a life of its own, and once more for Hypothesis"
    assert suite.verdict("PERM-01")["verdict"] == "fail"


def test_a_property_that_draws_in_its_middle_ends_its_search_too(suite: Suite) -> None:
    suite.checks(ENDLESS, """
        @real("PERM-01")
        @given(data=st.data(), calls=st.lists(st.just("n1"), min_size=1, max_size=9))
        def test_draws(world, data, calls):
            data.draw(st.integers(0, 10**9))
            found(world, calls)
            data.draw(st.integers())

        @real("PERM-03")
        @given(data=st.data(), calls=st.lists(st.just("n1"), max_size=9))
        def test_goes_further_when_played_again(world, data, calls):
            data.draw(st.integers(0, 9))
            world.used_warm = True
            world.tally += 1
            good()
            if calls and not world.fresh:
                expect(run(f"run{world.tally}", *calls), ran_nothing())
            data.draw(st.integers(0, 9))

        @pytest.fixture(autouse=True, scope="session")
        def lives(world):
            @contextlib.contextmanager
            def fresh():
                world.fresh = 1
                yield
                world.fresh = 0
            world.fresh_life = fresh
        """)  # fmt: skip
    for known in ("", KNOWN):
        (suite.pytester.path / "known-failures.toml").write_text(known)
        suite.run()
        found = {row: suite.verdict(row)["verdict"] for row in ("PERM-01", "PERM-03")}
        assert found == {"PERM-01": "fail", "PERM-03": "fail"}


def test_turns_that_were_given_up_are_counted_in_a_note(suite: Suite) -> None:
    suite.checks(ENDLESS, """
        @real("PERM-02")
        def test_hangs(world):
            good()
            world.given_up += 2
            expect(run("refused"), ran_nothing())

        @real("PERM-02")
        def test_hangs_again(world):
            good()
            world.given_up += 1
            expect(run("refused"), ran_nothing())
        """)  # fmt: skip
    result = suite.run()
    result.assert_outcomes(passed=2)
    assert any(note.startswith("3 turns did not end") for note in suite.report()["notes"])
    result.stdout.fnmatch_lines(["note: 3 turns did not end*10 s of silence*"])
