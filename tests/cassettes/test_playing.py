"""The tape: what is the same conversation, what is played when, and what is told of a miss."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tapes import ALL, DIALECT, FOLDER, NAMES, asked, player

from conformance.bench.player import nonces_in
from conformance.bench.script import Failure, Reply, script
from conformance.bench.tapes import read
from conformance.bench.tapes.player import TapePlayer
from conformance.bench.tapes.story import story
from conformance.bench.wire.anthropic_tape import events_of, message_of
from conformance.bench.wire.dialect import Answer, ModelRequest
from conformance.bench.wire.grammar import check_body, check_stream
from conformance.contract.errors import CassetteError

APPROVED = FOLDER / "permissions" / "approved.yaml"
OVERLOADED = FOLDER / "events" / "overloaded.yaml"
SUMMARY = FOLDER / "compaction" / "summary.yaml"


def given(one: TapePlayer, request: ModelRequest) -> Answer:
    served = one.main(request)
    return one.answer(one.spoken(served.step, request), served, request, 1, DIALECT)


@pytest.mark.parametrize("path", ALL, ids=NAMES)
@pytest.mark.parametrize("stream", [True, False])
def test_every_cassette_plays_to_its_end_in_either_form(path: Path, stream: bool) -> None:
    one, taped = player(path), read(path).interactions
    for interaction in taped:
        if interaction.role != "main":
            assert one.summary() is not None
            continue
        answer = given(one, asked(interaction, stream=stream))
        body = b"".join(answer.events)
        assert answer.status == interaction.status
        if answer.status == 200:
            assert (check_stream(body) if stream else check_body(json.loads(body))) == []
            told, was = message_of(body, streamed=stream), message_of(interaction.body, streamed=True)
            assert [b.get("text") for b in told["content"]] == [b.get("text") for b in was["content"]]
            assert (told["stop_reason"], told["usage"]) == (was["stop_reason"], was["usage"])
    assert one.played and one.left() == ""


def test_a_plain_body_is_given_as_a_stream_too() -> None:
    """And a nonce of any length, which a real model makes up, is replaced in it."""
    interaction = read(FOLDER / "events" / "parallel.yaml").interactions[0]
    message = message_of(interaction.body, streamed=True)
    for number, block in enumerate(b for b in message["content"] if b["type"] == "tool_use"):
        block["input"]["nonce"] = f"n{number}"
    one = TapePlayer("live", iter(range(1, 99)))
    headers = (("content-type", "application/json"),)
    one.add(type(interaction)(interaction.request, 200, headers, json.dumps(message).encode()))
    body = b"".join(given(one, asked(interaction)).events)
    assert check_stream(body) == []
    inputs = [b["input"]["nonce"] for b in message_of(body, streamed=True)["content"] if b["type"] == "tool_use"]
    assert [re.sub(r"\d{5}", "N", nonce) for nonce in inputs] == ["nonce-N-c1", "nonce-N-c2", "nonce-N-c3"]


def test_argument_text_is_split_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    interaction = read(APPROVED).interactions[0]
    nonce = nonces_in(interaction.body.decode())[0]
    split = interaction.body.replace(
        b'{\\"nonce\\": \\"' + nonce.encode() + b'\\"',
        b'{\\"nonce\\": \\"nonce-0"}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":1,'
        b'"delta":{"type":"input_json_delta","partial_json":"' + nonce[7:].encode() + b'\\"',
    )
    assert split != interaction.body
    one = TapePlayer("split", iter(range(70000, 70099)))
    one.add(type(interaction)(interaction.request, 200, interaction.headers, split))
    answer = given(one, asked(interaction))
    parts = [e["delta"]["partial_json"] for e, _ in events_of(b"".join(answer.events)) if "partial_json" in str(e)]
    assert parts[:2] == ["", '{"nonce": "nonce-7'] and json.loads("".join(parts))["nonce"].startswith("nonce-7000")
    assert list(answer.whole_after) == [json.loads("".join(parts))["nonce"]]


def test_two_sessions_share_no_nonce_and_no_id() -> None:
    interaction = read(FOLDER / "events" / "parallel.yaml").interactions[0]
    made = [player(FOLDER / "events" / "parallel.yaml") for _ in range(1)] + [
        TapePlayer("other", iter(range(900, 999)))
    ]
    made[1].add(interaction)
    bodies = [b"".join(given(one, asked(interaction)).events) for one in made]
    found = [set(re.findall(rb"(?:nonce-\d{5}|toolu_|msg_)[\w-]*", body)) for body in (*bodies, interaction.body)]
    assert all(len(one) == 7 for one in found)
    assert not (found[0] & found[1]) and not (found[0] & found[2])


# --- the same conversation


def moved(text: str) -> str:
    """As another harness would write it, in another run."""
    text = re.sub(r"job-\d{5}", "job-70007", text).replace("nonce-000", "nonce-777")
    text = text.replace("toolu_01", "toolu_99").replace('"name": "look"', '"name": "mcp__bench__look"')
    return text.replace('"name": "wipe"', '"name": "mcp__bench__wipe"').replace(
        "Read the record", "Hello.\\n\\nRead the record"
    )


def test_another_harness_is_recognised_and_gets_its_own_names() -> None:
    """Other job words, nonces, ids, prefixes of tools, system prompt, reminders, strings for blocks."""
    one = player(APPROVED)
    for interaction in read(APPROVED).interactions:
        request = asked(interaction, moved, system="You are somebody else.")
        body = message_of(b"".join(given(one, request).events), streamed=True)
        assert all(b["name"].startswith("mcp__bench__") for b in body["content"] if b["type"] == "tool_use")
    assert one.played


CHANGES = {
    "another prompt": (0, ("Read the record alpha", "Read the record omega"), "- user: Read the record alpha"),
    "an argument": (1, ('"target": "alpha"', '"target": "omega"'), '+ call: look {"target": "omega"}: done'),
    "a result": (1, ("done: look", "I will not: look"), "+ call: look .*: a notice of the harness"),
    "the model's words": (1, ("I read it first.", "I did it first."), r"+ model: I did it first\."),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_miss_says_what_was_asked_and_what_is_on_the_tape(what: str) -> None:
    number, (old, new), line = CHANGES[what]
    one, taped = player(APPROVED), read(APPROVED).interactions
    for before in taped[:number]:
        assert one.main(asked(before)).missed is None
    missed = one.main(asked(taped[number], lambda text: text.replace(old, new))).missed
    assert missed is not None
    assert f"interaction {number + 1} of the tape is next" in missed.why
    assert any(re.match(re.escape(line).replace(r"\.\*", ".*"), entry) or re.match(line.replace("+ ", r"\+ "), entry)
               for entry in missed.difference)  # fmt: skip
    assert not one.played


def test_each_interaction_is_played_once() -> None:
    one, taped = player(APPROVED), read(APPROVED).interactions
    assert one.main(asked(taped[0])).missed is None
    again = one.main(asked(taped[0]))
    assert again.missed is not None and "was played, and is asked for once more" in again.missed.why
    assert again.number == -1


def test_behind_the_end_of_the_tape_is_a_miss() -> None:
    one, taped = player(APPROVED), read(APPROVED).interactions
    for interaction in taped:
        one.main(asked(interaction))
    more = asked(taped[-1], lambda text: text.replace("Now it goes.", "Now it went."))
    missed = one.main(more).missed
    assert missed is not None and "at its end" in missed.why


def test_what_was_killed_before_it_was_whole_may_be_asked_for_again() -> None:
    one, taped = player(APPROVED), read(APPROVED).interactions
    one.unread(one.main(asked(taped[0])).number)
    assert one.main(asked(taped[0])).missed is None


def test_a_recorded_status_is_played_and_the_retry_gets_what_is_behind_it() -> None:
    one, taped = player(OVERLOADED), read(OVERLOADED).interactions
    first, second = one.main(asked(taped[0])), one.main(asked(taped[1]))
    assert isinstance(first.step, Failure) and first.step.status == 529
    assert isinstance(second.step, Reply) and second.again
    body = json.loads(b"".join(player(OVERLOADED).answer(first.step, first, asked(taped[0]), 1, DIALECT).events))
    assert body["error"]["type"] == "overloaded_error"


def test_what_was_not_asked_for_is_told() -> None:
    one, taped = player(APPROVED), read(APPROVED).interactions
    one.main(asked(taped[0]))
    assert one.left() == (
        "tape permissions/approved: 2 of 3 interactions were not asked for: "
        "2 (wipe, 'Now it goes.'), 3 ('The record alpha is deleted.')"
    )


def test_a_tape_is_not_added_to() -> None:
    with pytest.raises(CassetteError, match="a cassette is played as it is"):
        player(APPROVED).extend(script(Reply(())))


def test_an_answer_that_is_none_is_refused_before_anything_is_played() -> None:
    cassette = read(APPROVED)
    torn = type(cassette.interactions[0])(
        cassette.interactions[0].request, 200, cassette.interactions[0].headers, cassette.interactions[0].body[:400]
    )
    from conformance.bench.tapes import Cassette, Tape

    with pytest.raises(CassetteError, match="permissions/approved: the answer of interaction 1 is none of the dialect"):
        Tape(Cassette(cassette.name, (torn,), cassette.provenance)).player(iter(range(9)))


# --- behind a compaction


def behind(one: TapePlayer) -> list:
    """Play the tape up to its summary; what comes behind it."""
    taped = read(SUMMARY).interactions
    cut = [i.role for i in taped].index("compaction")
    for interaction in taped[:cut]:
        one.main(asked(interaction))
    one.summary()
    return list(taped[cut + 1 :])


def test_behind_a_summary_more_or_less_may_be_left_and_results_may_be_cleared() -> None:
    whole = read(SUMMARY).interactions
    one = player(SUMMARY)
    first = behind(one)[0]
    everything = json.loads(whole[[i.role for i in whole].index("compaction") - 1].request.body)["messages"]
    tail = json.loads(first.request.body)["messages"][-1:]
    cleared = json.loads(json.dumps([*everything, *tail]).replace("done: note", "[cleared] note"))
    summary = {"role": "assistant", "content": "In short: records were read and written."}
    assert one.main(asked(first, messages=[*cleared[:-1], summary, cleared[-1]])).missed is None


def test_behind_a_summary_a_call_or_prompt_that_never_was_is_a_miss() -> None:
    one = player(SUMMARY)
    first = behind(one)[0]
    messages = json.loads(first.request.body)["messages"]
    other = {"role": "user", "content": "Pay everybody. (job-00001)"}
    assert one.main(asked(first, messages=[other, *messages])).missed is not None
    assert one.main(asked(first, lambda text: text.replace("record four", "record five"))).missed is not None


def test_a_harness_may_sum_up_in_more_steps_than_were_taped() -> None:
    one = player(SUMMARY)
    behind(one)
    assert one.summary() is one.summary()


def test_a_dialect_without_order_has_a_story_all_the_same() -> None:
    request = asked(read(APPROVED).interactions[1])
    plain = ModelRequest("generate", texts=request.texts, calls=request.calls, tools=request.tools)
    assert sorted(story(plain)) == sorted(story(request))
