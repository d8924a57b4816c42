"""A cassette that cannot be read says which file, what is wrong, and what to do."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest
import yaml
from tapes import ALL, FOLDER, NAMES

from conformance.bench.tapes import Interaction, Provenance, read, tape
from conformance.bench.tapes.foreign import recordings
from conformance.bench.tapes.write import KEYS, keys_in, write
from conformance.bench.wire.dialect import HttpRequest
from conformance.checks.scenes import SCENES
from conformance.contract.errors import CassetteError
from conformance.judging import NotExposed
from conformance.trace import Trace

WHOLE = (FOLDER / "permissions" / "approved.yaml").read_text(encoding="utf-8")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "permissions" / "odd.yaml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path


WRONG = {
    "cut in the middle of a quoted text": (WHOLE[: len(WHOLE) // 2], "no whole YAML"),
    "cut between two interactions": (WHOLE[: WHOLE.rindex("- request:")], "cut off"),
    "cut before its version": (WHOLE[: WHOLE.rindex("version:")], "cut off"),
    "an interaction is gone": (
        WHOLE[: WHOLE.rindex("- request:")] + WHOLE[WHOLE.index("metadata:") :], "2 interactions, .* speaks of 3"
    ),
    "a tag that makes objects": (f"x: !!python/object/apply:os.system ['true']\n{WHOLE}", "only plain YAML is read"),
    "a tag of another recorder": (WHOLE.replace("  request:", "  request: !ruby/object:X", 1).replace(
        "- request:", "- request: !ruby/object:X", 1), "only plain YAML is read"),
    "another version": (WHOLE.replace("version: 1", "version: 2"), "version 2, and version 1 is read"),
    "Ruby": ("http_interactions: []\nrecorded_with: VCR 6.2\n", "a cassette of Ruby's VCR"),
    "something else": ("- a\n- b\n", "no list of interactions"),
    "no provenance": (WHOLE.replace("metadata:", "something:"), "does not say where it comes from"),
    "a later provenance": (WHOLE.replace("format: 1", "format: 9"), "provenance has format 9, this version reads 1"),
    "provenance with a strange key": (WHOLE.replace("    format: 1", "    format: 1\n    mood: good"), "mood"),
    "the body in the place of its string": (WHOLE.replace("      string: ", "      text: ", 1), "interaction 1 .*string"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, what: str) -> None:
    text, problem = WRONG[what]
    path = written(tmp_path, text)
    with pytest.raises(CassetteError, match=problem) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: "), "it names the file"
    assert "--record" in message or "vcrpy" in message, "it says what to do"
    assert "\n" not in message


def test_no_tag_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(CassetteError):
        read(written(tmp_path, f"x: !!python/object/apply:os.mkdir ['{mark}']\n"))
    assert not mark.exists()


def test_a_missing_file_names_those_there_are() -> None:
    with pytest.raises(CassetteError, match=r"no such cassette; there are .*permissions/approved"):
        tape(FOLDER, "permissions/no_such", "anthropic")


def test_without_pyyaml_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(NotExposed, match=r"pip install 'harness-conformance\[cassettes\]'") as caught:
        read(ALL[0])
    assert caught.value.bench, "a limit of the installation, nothing of the harness"


def test_a_folder_of_foreign_recordings_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONFORMANCE_RECORDINGS", raising=False)
    with pytest.raises(NotExposed, match="CONFORMANCE_RECORDINGS names no folder"):
        recordings("anthropic")
    monkeypatch.setenv("CONFORMANCE_RECORDINGS", str(tmp_path))
    with pytest.raises(CassetteError, match=r"golden\.jsonl: cannot be read .*must name a folder of recordings"):
        recordings("anthropic")


def test_a_harness_of_another_dialect_is_not_accused() -> None:
    with pytest.raises(NotExposed, match="speaks anthropic, the harness openai-chat"):
        tape(FOLDER, "permissions/approved", "openai-chat")


def test_compressed_bodies_and_bare_header_values_are_understood(tmp_path: Path) -> None:
    body = yaml.safe_load(WHOLE)
    response = body["interactions"][0]["response"]
    plain = response["body"]["string"].encode()
    response["body"]["string"] = gzip.compress(plain)
    response["headers"] |= {"content-encoding": ["gzip"], "cache-control": "no-cache"}
    found = read(written(tmp_path, yaml.safe_dump(body))).interactions[0]
    assert (found.body, dict(found.headers)["cache-control"]) == (plain, "no-cache")


# --- what is shipped


def test_every_scene_is_on_cassette_and_nothing_else_is() -> None:
    assert sorted(scene.name for scene in SCENES) == NAMES


@pytest.mark.parametrize("scene", SCENES, ids=NAMES and [scene.name for scene in SCENES])
def test_a_cassette_says_where_it_comes_from_and_what_must_hold(scene) -> None:
    given = read(FOLDER / f"{scene.name}.yaml").provenance
    assert given.source.startswith("the scripted model of harness-conformance") and "no real API" in given.source
    assert given.harness and given.recorded and given.suite and given.model
    said = [(one["requirement"], one["predicate"], one["params"]) for one in given.holds]
    assert said == [(scene.requirement, p.name, dict(p.params)) for p in scene.holds]


@pytest.mark.parametrize("scene", SCENES, ids=[scene.name for scene in SCENES])
def test_the_control_of_a_scene_is_not_true_of_an_empty_run(scene) -> None:
    assert [message for one in scene.control for _, message in one(Trace(()))]


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_no_credential_and_nothing_of_a_machine_stands_in_a_cassette(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert keys_in(text) == []
    assert not any(word in text for word in ("/dev/shm", "/tmp/", "127.0.0.1", "x-api-key", "authorization", "cookie"))
    for one in yaml.safe_load(text)["interactions"]:
        assert set(one["request"]["headers"]) <= {"accept", "anthropic-beta", "anthropic-version", "content-type"}
        assert set(one["response"]["headers"]) <= {
            "cache-control", "content-type", "request-id", "retry-after", "x-should-retry",
        }  # fmt: skip


SHAPES = ["sk-ant-api03-" + "a1" * 20, "sk-proj-" + "B2" * 12, "AIza" + "x" * 35, "ghp_" + "c" * 36, "AKIA" + "Z" * 16,
          "Bearer " + "t0k" * 8, "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0NTY3"]  # fmt: skip


@pytest.mark.parametrize("key", SHAPES)
def test_the_search_finds_keys_of_many_shapes(key: str) -> None:
    assert KEYS.search(f'{{"text": "it is {key}."}}')


# --- writing

GIVEN = Provenance("nobody", "2026-01-01", "anthropic", "m", "h 1", "s", ["main"], [])


def interaction(body: str, answer: str = "{}", **headers: str) -> Interaction:
    request = HttpRequest("POST", "/v1/messages", {"content-type": "application/json", **headers}, body.encode())
    return Interaction(request, 200, (("content-type", "application/json"), ("set-cookie", "a=b")), answer.encode())


def test_only_what_is_allowed_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x" / "y.yaml"
    one = interaction(
        '{"model": "m", "metadata": {"user_id": "somebody"}, "system": "in /dev/shm/hc-1/h2/w"}',
        **{"authorization": "Bearer abc", "x-api-key": "abc", "cookie": "c=d", "user-agent": "u"},
    )
    write(path, [one], GIVEN, origin="http://nobody.invalid", places=["/dev/shm/hc-1"])
    text = path.read_text(encoding="utf-8")
    assert not any(word in text for word in ("Bearer", "abc", "c=d", "a=b", "somebody", "/dev/shm", "user-agent"))
    assert "in /home/user/h2/w" in text
    assert read(path).interactions[0].request.headers == {"content-type": "application/json"}


@pytest.mark.parametrize("where", ["request", "response"])
def test_a_known_key_in_a_body_is_never_written(tmp_path: Path, where: str) -> None:
    path = tmp_path / "x" / "y.yaml"
    told = '{"text": "the key is plain-looking"}'
    one = interaction(told) if where == "request" else interaction("{}", told)
    with pytest.raises(CassetteError, match="not written: what looks like a credential") as caught:
        write(path, [one], GIVEN, origin="http://nobody.invalid", secrets=["plain-looking"])
    assert not path.exists()
    assert "plain-looking" not in str(caught.value)


def test_without_vcrpy_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vcr.serialize", None)
    with pytest.raises(CassetteError, match=r"pip install 'harness-conformance\[record\]'"):
        write(tmp_path / "x.yaml", [], GIVEN, origin="http://nobody.invalid")
