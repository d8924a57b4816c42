"""`pytest --record`: from the scripted model, and from a provider over real HTTP; then what was recorded is played."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from provider import KEY, PREFIX, provider
from tapes import FOLDER

from conformance.bench.homes import API_KEY
from conformance.bench.script import NONCE
from conformance.bench.tapes import read, tape
from conformance.bench.world import World
from conformance.checks.scenes import APPROVED
from conformance.invariants.tapes import asked_only_what_is_taped, tape_played
from conformance.trace import Noted, TapeMissed, ToolEntered

MINIATURE = "conformance.saboteurs.miniature:Miniature"


def suite(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user gives it, in an empty folder."""
    bare = {name: value for name, value in os.environ.items() if name != "ANTHROPIC_API_KEY"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", f"--harness={MINIATURE}", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder, env=bare | environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_the_scripted_model_is_recorded_and_said_to_be_it(tmp_path: Path) -> None:
    done = suite(tmp_path, "--record", "-k", "approved or overloaded")
    assert done.returncode == 0, done.stdout
    made = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.yaml"))
    assert made == ["cassettes/events/overloaded.yaml", "cassettes/permissions/approved.yaml"]
    found = read(tmp_path / made[1])
    assert found.provenance.source.startswith("the scripted model") and found.provenance.harness == "miniature 1"
    assert not (tmp_path / "conformance-report").exists(), "nothing was judged"
    assert "cassettes/permissions/approved.yaml" in done.stdout
    played = suite(tmp_path, "--conformance-cassettes", "cassettes", "-k", "PERM_01 and recorded")
    assert played.returncode == 0 and "1 passed" in played.stdout, played.stdout


def test_a_provider_is_recorded_with_the_users_key_and_without_writing_it(tmp_path: Path) -> None:
    with provider() as there:
        done = suite(tmp_path, "--record", "--record-from", there.url, "-k", "approved", ANTHROPIC_API_KEY=KEY)
    assert done.returncode == 0, done.stdout
    assert [one["path"] for one in there.seen] == [f"{PREFIX}/v1/messages"] * 3
    assert all(KEY in str(one["headers"]) and API_KEY not in str(one) for one in there.seen)
    path = tmp_path / "cassettes" / "permissions" / "approved.yaml"
    text = path.read_text(encoding="utf-8")
    assert not any(word in text for word in (KEY, API_KEY, "private", "x-api-key", "authorization"))
    assert read(path).provenance.source == f"the model API at {there.url}"
    assert f"uri: {there.url}/v1/messages" in text
    played = suite(tmp_path, "--conformance-cassettes", "cassettes", "-k", "PERM_01 and recorded")
    assert played.returncode == 0 and "1 passed" in played.stdout, played.stdout


def test_a_provider_is_asked_over_tls_and_only_if_its_certificate_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
    with provider(authority) as there:
        asked = ("--record", "--record-from", there.url, "-k", "approved")
        refused = suite(tmp_path, *asked, ANTHROPIC_API_KEY=KEY)
        assert refused.returncode == 1 and there.seen == [], refused.stdout
        assert "certificate verify failed" in " ".join(refused.stdout.split())
        done = suite(tmp_path, *asked, ANTHROPIC_API_KEY=KEY, SSL_CERT_FILE=str(tmp_path / "trusted.pem"))
    assert done.returncode == 0, done.stdout
    assert len(there.seen) == 3
    path = tmp_path / "cassettes" / "permissions" / "approved.yaml"
    assert read(path).provenance.source == f"the model API at {there.url}"


def test_what_no_provider_can_be_asked_for_is_left_out(tmp_path: Path) -> None:
    with provider() as there:
        done = suite(tmp_path, "--record", "--record-from", there.url, "-k", "overloaded", "-rs", ANTHROPIC_API_KEY=KEY)
    assert "no provider can be asked to be overloaded" in " ".join(done.stdout.split())
    assert there.seen == [] and not list(tmp_path.rglob("*.yaml"))


def test_a_session_on_which_does_not_hold_what_must_hold_is_not_written(tmp_path: Path) -> None:
    """Here the provider refuses the key."""
    with provider() as there:
        done = suite(tmp_path, "--record", "--record-from", there.url, "-k", "approved", ANTHROPIC_API_KEY="another")
    assert done.returncode == 1
    assert "permissions/approved is not written: " in done.stdout
    assert not list(tmp_path.rglob("*.yaml"))


def test_a_provider_without_a_key_is_refused_at_once(tmp_path: Path) -> None:
    done = suite(tmp_path, "--record", "--record-from", "https://example.invalid")
    assert done.returncode == 4
    assert "set ANTHROPIC_API_KEY" in done.stdout + done.stderr


def test_a_provider_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = suite(tmp_path, "--record", "--record-from", "http://127.0.0.1:9", "-k", "approved", ANTHROPIC_API_KEY=KEY)
    assert done.returncode == 1
    assert "http://127.0.0.1:9: gave no answer to record" in " ".join(done.stdout.split())


# --- over the wire, in a world


@pytest.fixture(scope="module")
def world():
    made = World.open(MINIATURE, Path.cwd())
    yield made
    made.close()


def test_a_miss_ends_the_turn_is_observed_and_fails_the_check(world: World) -> None:
    with world.episode(tape(FOLDER, APPROVED.name, "anthropic")) as episode:
        assert episode.prompt("Delete everything.").stop == "end_turn"
        trace = episode.trace
        run = episode._run
    (missed,) = trace.of(TapeMissed)
    assert "- user: Read the record alpha" in "\n".join(missed.difference)
    assert "+ user: Delete everything." in missed.difference
    (message,) = [text for _, text in asked_only_what_is_taped()(trace)]
    assert "interaction 1 of the tape is next" in message and "+ user: Delete everything." in message
    assert trace.of(ToolEntered) == []
    assert len(list(tape_played()(trace))) == 1 + 3, "the miss, and each interaction"
    notes = [o.text for o in run.stage.recorder.observations if isinstance(o, Noted)]
    assert any(text.startswith("tape permissions/approved: 3 of 3 interactions were not asked for") for text in notes)
    assert any("the scripted model of harness-conformance" in text for text in notes), "the trace says what was played"


def test_a_tape_may_be_played_again_and_shares_nothing(world: World) -> None:
    nonces = []
    for _ in range(2):
        with world.episode(tape(FOLDER, APPROVED.name, "anthropic"), answers=APPROVED.answers) as episode:
            episode.prompt(APPROVED.prompts[0])
            trace = episode.trace
        assert [*asked_only_what_is_taped()(trace), *tape_played()(trace)] == []
        nonces.append({call["arguments"][NONCE] for call in trace.scripted().values()})
    assert len(nonces[0]) == 2 and not nonces[0] & nonces[1]
