"""A disk that is full, for the report, for the bench or for the traces: the run ends, and says what it could not do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from runs import AFTER, BEFORE, CLEAN, Place, Run, goes_wild

SOON = 40  # seconds
LARGE = """
@check("PERM-02")
def test_1_large(world):
    calls = script(reply(call("c1", "wipe", target="a" * 400_000)), reply("Done."))
    refused, allowed = world.twin(calls, answers=(REFUSE, ALLOW))
    control(allowed, ran_once_each(["c1"]))
    expect(refused, ran_nothing(["c1"]))
"""
# $0: where a small disk comes; $1: how small; $2: where all that is on it in the end is copied to.
MOUNT = (
    'mount -t tmpfs -o size="$1" tmpfs "$0" || exit 77; to="$2"; shift 2; "$@"; code=$?; cp -a "$0" "$to"; exit $code'
)


@pytest.fixture(scope="module")
def namespaces() -> None:
    """Whether this user may mount a disk of its own; said aloud where not."""
    done = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted in a namespace here: {done.stderr.decode().strip()}")


def on_small_disk(place: Place, folder: Path, size: str, *options: str) -> Run:
    """A run to whose end `folder` is a disk of that size; what is on it is copied to `place.root/kept`."""
    folder.mkdir(exist_ok=True)
    return place.start(
        *options, wrap=("unshare", "-rm", "sh", "-c", MOUNT, str(folder), size, str(place.root / "kept"))
    )


@pytest.mark.usefixtures("namespaces")
def test_traces_that_do_not_fit_are_left_out_and_it_is_said(place: Place) -> None:
    place.write(LARGE)
    run = on_small_disk(place, place.cwd / "out", "900k", "--conformance-report=out")
    assert run.ended(SOON) == 3, run.said
    kept = place.root / "kept"
    report = run.report(kept)
    assert {v.id for v in report.verdicts if v.verdict == "pass"} == {"PERM-02"}
    assert report.evidence.kept == 0
    assert [n for n in report.notes if "traces of this run could not be written" in n and "No space left" in n]
    assert "could not be written" in run.said
    assert "Traceback" not in run.said
    assert not list(kept.rglob("*.new"))
    assert place.left() == CLEAN


@pytest.mark.usefixtures("namespaces")
def test_a_report_that_does_not_fit_goes_elsewhere_and_it_is_said(place: Place) -> None:
    place.write(BEFORE)
    run = on_small_disk(place, place.cwd / "out", "32k", "--conformance-report=out")
    assert run.ended(SOON) == 3, run.said
    assert not (place.root / "kept" / "report.json").exists()
    (elsewhere,) = place.tmp.iterdir()
    assert f"report: {elsewhere}/index.html" in run.said.replace("\n", "")
    report = run.report(elsewhere)
    assert {v.id for v in report.verdicts if v.verdict == "pass"} == {"PERM-02"}
    assert report.evidence.kept > 0
    assert place.left() == {**CLEAN, "temporary": [elsewhere.name]}


def test_a_report_that_fits_nowhere_is_told_in_the_terminal(place: Place) -> None:
    """Every file ends at 24 kB: the traces of the run fit, the report does not, wherever it goes."""
    place.write(BEFORE)
    run = place.start(wrap=("sh", "-c", 'ulimit -f 48; exec "$0" "$@"'))
    assert run.ended(SOON) == 3, run.said
    assert "NO REPORT could be written" in run.said
    assert "of the MUST rows in scope 1 held" in run.said.replace("\n", " ")
    assert not (place.cwd / "conformance-report" / "report.json").exists()
    assert place.left() == CLEAN


def test_an_older_report_does_not_stand_in_for_one_that_could_not_be_written(place: Place) -> None:
    place.write(BEFORE)
    assert place.start().ended(SOON) == 0
    assert (place.cwd / "conformance-report" / "report.json").exists()
    place.start(wrap=("sh", "-c", 'ulimit -f 48; exec "$0" "$@"')).ended(SOON)
    assert [p.name for p in (place.cwd / "conformance-report").rglob("*") if p.is_file()] == []


@pytest.mark.usefixtures("namespaces")
def test_a_harness_that_fills_the_disk_is_not_judged_meanwhile(place: Place) -> None:
    place.write(BEFORE, goes_wild("fill"), AFTER)
    run = on_small_disk(place, place.scratch, "24m")
    assert run.ended(SOON) == 1, run.said
    found = run.verdicts()
    verdict, reason = found.pop("PERM-03")
    assert verdict == "error"
    assert "is full" in reason
    assert "CONFORMANCE_SCRATCH" in reason
    assert found == {"PERM-02": ("pass", ""), "PERM-04": ("pass", "")}
    assert list((place.root / "kept").iterdir()) == []
    assert place.left() == CLEAN


@pytest.mark.usefixtures("namespaces")
def test_a_disk_that_is_full_from_the_beginning_is_one_message(place: Place) -> None:
    place.write(BEFORE, AFTER)
    run = on_small_disk(place, place.scratch, "200k")
    assert run.ended(SOON) == 4, run.said
    assert "is full" in run.said
    assert run.said.count("CONFORMANCE_SCRATCH") <= 2
    assert not (place.cwd / "conformance-report").exists()
    assert place.left() == CLEAN


@pytest.mark.usefixtures("namespaces")
def test_traces_that_cannot_be_kept_while_the_checks_run_are_told(place: Place) -> None:
    place.write(BEFORE, LARGE.replace("PERM-02", "PERM-04").replace("test_1", "test_3"))
    run = on_small_disk(place, place.tmp, "600k")
    assert run.ended(SOON) == 3, run.said
    report = run.report()
    assert {v.id for v in report.verdicts if v.verdict == "pass"} == {"PERM-02", "PERM-04"}
    assert [n for n in report.notes if n.startswith("Some traces could not be kept") and "No space left" in n]
    assert 0 < report.evidence.kept < report.evidence.judged
    assert place.left() == CLEAN
