"""What is made of a model's calls before anybody is asked, sabotaged, and answers that are made more of than they say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec
import pytest
from sabotage import empty, no, off, put

from reference_harness import calls, grants, ground, permissions, pool, registry, rules, session, turn
from reference_harness.errors import StoreFault
from reference_harness.journal import Journal
from reference_harness.permissions import Ruling, Verdict, automatic
from reference_harness.records import Decided
from reference_harness.session import Session
from reference_harness.shell import examining, table
from reference_harness.turn import Turn
from reference_harness.verdicts import Finding

mended = lambda *_, **__: ({"what": "x"}, "")  # noqa: E731 - as the others
reader = lambda _, words: (table.Known(), words[1:])  # noqa: E731 - as above
put("what_is_cut_is_mended", "a call whose arguments are cut", calls, "_arguments", mended)
put("a_refusal_is_passed_over", "a call in a reply that ends in a refusal", calls, "_arguments", mended)
put("excludes_do_not_bind", "each deny and exclude", pool, "excluded", empty)
put("rules_about_programs_do_not_bind", "each deny rule of the policy", rules.Index, "about_words", lambda *_: iter(()))
put("every_program_only_reads", "a shell command that plainly", examining, "known_as", reader)
put("repetition_is_not_seen", "equal calls beyond the limit", Turn, "_too_often", lambda *_: 0)


@off("a call that changes things does not run")
def a_change_is_no_risk(patch: pytest.MonkeyPatch) -> None:
    asks = registry.DESTRUCTIVE, registry.UNKNOWN
    tier = lambda risk: Finding(Verdict.ASK if risk in asks else Verdict.ALLOW, f"tier:{risk}", default=True)  # noqa: E731
    patch.setattr(permissions, "_of_tier", tier)


def _read(patch: pytest.MonkeyPatch, reads: Any) -> None:
    real = registry.read_risk

    def read_risk(annotations: Any, **more: Any) -> str:
        return registry.READ_ONLY if reads(annotations) else real(annotations, **more)

    patch.setattr(registry, "read_risk", read_risk)


@off("a tool that says nothing of its risk")
def who_says_nothing_does_no_harm(patch: pytest.MonkeyPatch) -> None:
    _read(patch, lambda annotations: not annotations)


@off("a tool whose annotations are garbage")
def any_word_is_a_yes(patch: pytest.MonkeyPatch) -> None:
    _read(patch, lambda annotations: isinstance(annotations, Mapping) and annotations.get("readOnlyHint"))


@off("an unknown tool, and a look-alike")
def names_are_guessed(patch: pytest.MonkeyPatch) -> None:
    real = turn.settle_calls

    def settle(*given: Any) -> Any:
        blocks, found = real(*given)
        return blocks, [msgspec.structs.replace(call, tool=call.tool.strip().casefold()) for call in found]

    patch.setattr(turn, "settle_calls", settle)


@off("a deny is stronger than an allow")
def an_allow_is_stronger_than_a_deny(patch: pytest.MonkeyPatch) -> None:
    real = permissions._of_config
    patch.setattr(session, "denied", empty)
    patch.setattr(permissions, "_of_config", lambda *given: [f for f in real(*given) if f.verdict is not Verdict.DENY])


@off("a refused call does not run")
def the_second_question_is_a_yes(patch: pytest.MonkeyPatch) -> None:
    real, refused = turn.answered, set[str]()

    def answered(*given: Any) -> Any:
        made = real(*given)
        if made.digest in refused:
            return msgspec.structs.replace(made, verdict="allow")
        refused.add(made.digest)
        return made

    patch.setattr(turn, "answered", answered)


@off("an `always` does not outlive")
def an_always_holds_for_what_has_become_another(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ground.Book, "is_void", no)
    patch.setattr(Session, "is_changed", no)


@off("a grant that is taken back")
def what_was_granted_is_remembered(patch: pytest.MonkeyPatch) -> None:
    real, seen = grants.Grants.of, dict[str, Any]()

    def of(self: Any, cwd: str) -> Any:
        if found := real(self, cwd):
            seen[cwd] = found
        return seen.get(cwd, ())

    patch.setattr(grants.Grants, "of", of)


@off("a question that was open when the process")
def to_have_asked_is_enough(patch: pytest.MonkeyPatch) -> None:
    real = Turn._allowed

    async def allowed(self: Any, view: Any) -> bool:
        if not view.asked:
            return await real(self, view)
        self.journal.note(Decided(automatic(view.call, Ruling(Verdict.ALLOW, "sabotage"))))
        return True

    patch.setattr(Turn, "_allowed", allowed)


@off("where the journal cannot be written")
def a_journal_that_fails_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    real = Journal.durable

    async def durable(self: Any, *records: Any) -> None:
        try:
            await real(self, *records)
        except StoreFault:
            self._fault = None

    patch.setattr(Journal, "durable", durable)


@off("what is sent to the model")
def what_is_left_out_is_sent(patch: pytest.MonkeyPatch) -> None:
    real = pool.Pool.wire.func

    def wire(self: Any) -> bytes:
        more = {"name": "probe_mutating", "description": "", "input_schema": {"type": "object"}}
        return msgspec.json.encode([*msgspec.json.decode(real(self)), more])

    made = cached_property(wire)
    made.__set_name__(pool.Pool, "wire")
    patch.setattr(pool.Pool, "wire", made)
