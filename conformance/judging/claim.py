"""The conformance claim, computed from the verdicts: two words, one sentence, no score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.judging.verdicts import VERDICTS, Verdict
from conformance.requirements import Posture, Table, table

PROFILES = {"day-one": "Day One", "operational": "Operational"}  # option -> name in the table


@dataclass(frozen=True)
class Claim:
    """`status` is "conforms" or "partial"; `counts` {level: {verdict: rows}}; `deviations` the SHOULDs that failed.

    `weak_postures` are "name = value" of declared choices that the table marks as weaker.
    """

    status: str
    profile: str
    counts: Mapping[str, Mapping[str, int]]
    sentence: str
    deviations: tuple[str, ...] = ()
    weak_postures: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default=())


def claim(
    verdicts: Sequence[Verdict],
    profile: str = "",
    postures: Mapping[str, Any] | None = None,
    *,
    capabilities: Iterable[str] = (),
    requirements: Table | None = None,
) -> Claim:
    """The claim these verdicts allow. `profile` is "", "day-one" or "operational".

    "conforms" needs zero failed, untested and error among the MUSTs, at least one pass, and what the profile names.
    """
    book = requirements or table()
    declared = frozenset(capabilities)
    counts = _counts(verdicts)
    missing = _missing(profile, declared, book)
    musts = counts["MUST"]
    good = musts["pass"] > 0 and not (musts["fail"] or musts["untested"] or musts["error"] or missing)
    weak = weak_postures(postures or {}, book)
    deviations = tuple(v.id for v in verdicts if v.level == "SHOULD" and v.verdict == "fail")
    tail = f" {_weak_words(weak)}" if weak else ""
    scope = f"profile {PROFILES.get(profile, profile)}" if profile else _for(declared)
    text = _conforms(verdicts, scope, book) if good else _partial(verdicts, _for(declared), book)
    if missing:
        text += f" Profile {PROFILES.get(profile, profile)} cannot be claimed without {', '.join(missing)}."
    if deviations:
        text += f" Deviations from SHOULD rows: {', '.join(deviations)}."
    sentence = text + _unscored(verdicts) + tail
    return Claim("conforms" if good else "partial", profile, counts, sentence, deviations, weak, missing)


def weak_postures(postures: Mapping[str, Any], requirements: Table | None = None) -> tuple[str, ...]:
    """The declared choices that the table marks as weaker, as "name = value"."""
    book = (requirements or table()).postures
    return tuple(
        f"{name} = {value}"
        for name, declared in sorted(postures.items()) if name in book
        for value in dict.fromkeys(_flat(declared)) if _is_weak(book[name], value)
    )  # fmt: skip


def _is_weak(posture: Posture, value: Any) -> bool:
    return isinstance(value, str | int | float) and posture.is_weak(str(value))


def _flat(value: Any) -> Iterator[Any]:
    """The single values of a posture that is declared per mode or option."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, str) or not isinstance(value, Iterable):
        yield value
        return
    for inner in value:
        yield from _flat(inner)


def _counts(verdicts: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    found = Counter((v.level, v.verdict) for v in verdicts)
    return {level: {word: found[level, word] for word in VERDICTS} for level in ("MUST", "SHOULD")}


def _missing(profile: str, declared: frozenset[str], book: Table) -> tuple[str, ...]:
    if not profile:
        return ()
    wanted = book.profiles[PROFILES.get(profile, profile)]
    if wanted.claimable_with(declared):
        return ()
    nearest = min((sorted(set(needs) - declared) for needs in wanted.needs), key=len)
    return tuple(nearest)


def _conforms(verdicts: Sequence[Verdict], scope: str, book: Table) -> str:
    n = _number(verdicts, "pass")
    return f"Conforms to revision {book.revision} for {scope}: every MUST in scope holds ({n})."


def _partial(verdicts: Sequence[Verdict], scope: str, book: Table) -> str:
    parts = [f"of the MUST rows in scope {_number(verdicts, 'pass')} held"]
    parts += [f"{n} {words}" for word, words in _BAD.items() if (n := _number(verdicts, word))]
    return f"Partial for revision {book.revision}, {scope}: {', '.join(parts)}."


_BAD = {"fail": "failed", "untested": "were not tested", "error": "ended in an error of the suite or adapter"}


def _for(declared: frozenset[str]) -> str:
    return "declared capabilities " + ", ".join(sorted(declared)) if declared else "no declared capability"


def _number(verdicts: Iterable[Verdict], word: str) -> int:
    return sum(v.level == "MUST" and v.verdict == word for v in verdicts)


def _unscored(verdicts: Iterable[Verdict]) -> str:
    n = _number(verdicts, "not scored")
    return f" {n} MUST rows have no check in this version and are not scored." if n else ""


def _weak_words(weak: Sequence[str]) -> str:
    return f"Weaker choices declared: {', '.join(weak)}."
