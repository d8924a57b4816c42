"""The report as a frozen value, and the JSON it is written as."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema

from conformance import __version__
from conformance.contract.errors import ConformanceError
from conformance.judging import Booking, Claim, Verdict

FORMAT = 1  # of report.json; raise it together with a migration and a golden file


class ReportError(ConformanceError):
    """A report cannot be written or read; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True)
class HarnessFacts:
    """What was tested: `configuration` is the one claimed for, `capabilities` and `postures` as declared."""

    name: str
    version: str = "unknown"
    configuration: str = "default"
    capabilities: tuple[str, ...] = ()
    postures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """A known failure as this run met it. `state`: "holds", "expired", "stale" or "not met"."""

    id: str
    reason: str
    link: str
    expires: str
    state: str


@dataclass(frozen=True)
class Evidence:
    """The traces beside the report: how many were judged, how many kept, and the digest of their index."""

    judged: int = 0
    kept: int = 0
    index: str = ""


@dataclass(frozen=True)
class Report:
    """One run of the suite against one harness. `quiet_windows`: [{requirement, name, seconds}].

    `as_installed`: what the harness does without the configuration claimed for (see
    `conformance.invariants.installed.habits`), empty where that was not looked at. No verdict rests on it.
    """

    revision: str
    harness: HarnessFacts
    claim: Claim
    verdicts: tuple[Verdict, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    seed: str = ""
    known_failures: tuple[Known, ...] = ()
    quiet_windows: tuple[Mapping[str, Any], ...] = ()
    evidence: Evidence = Evidence()
    notes: tuple[str, ...] = ()
    as_installed: Mapping[str, Any] = field(default_factory=dict)
    suite: str = __version__

    def to_json(self) -> dict[str, Any]:
        """The document of `schema.json`; `complete` comes last, so that a cut report is seen."""
        return {
            "format": FORMAT,
            "revision": self.revision,
            "suite": {"version": self.suite},
            "harness": _plain(vars(self.harness)),
            "environment": dict(self.environment),
            "claim": _plain(vars(self.claim)),
            "verdicts": [verdict_to_json(v) for v in self.verdicts],
            "seed": self.seed,
            "known_failures": [vars(k) for k in self.known_failures],
            "quiet_windows": [dict(w) for w in self.quiet_windows],
            "evidence": vars(self.evidence),
            "notes": list(self.notes),
            "as_installed": dict(self.as_installed),
            "complete": True,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Report:
        """The inverse of `to_json`, for a document that fits the schema."""
        claim = _tuples(body["claim"], "deviations", "weak_postures", "missing")
        return cls(
            revision=body["revision"],
            harness=HarnessFacts(**_tuples(body["harness"], "capabilities")),
            claim=Claim(**claim),
            verdicts=tuple(verdict_from_json(v) for v in body["verdicts"]),
            environment=body["environment"],
            seed=body["seed"],
            known_failures=tuple(Known(**k) for k in body["known_failures"]),
            quiet_windows=tuple(body["quiet_windows"]),
            evidence=Evidence(**body["evidence"]),
            notes=tuple(body["notes"]),
            as_installed=body["as_installed"],
            suite=body["suite"]["version"],
        )


def trace_file(digest: str) -> str:
    """The path of a trace below the report's folder, from its SHA-256."""
    return f"traces/{digest[:16]}.jsonl"


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """One verdict. `counterexample` is null or {trace, digest, seq, message, size}."""
    found = verdict.counterexample
    shown = found and {
        "trace": trace_file(found.digest), "digest": found.digest, "seq": found.seq,
        "message": found.message, "size": found.size,
    }  # fmt: skip
    return {**vars(verdict), "found_by": list(verdict.found_by), "counterexample": shown}


def verdict_from_json(body: Mapping[str, Any]) -> Verdict:
    """The inverse of `verdict_to_json`."""
    found = body["counterexample"]
    found_by = tuple(body["found_by"])
    shown = found and Booking(body["id"], found["message"], found["seq"], found["digest"], found["size"], found_by)
    return Verdict(**{**body, "found_by": found_by, "counterexample": shown})


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    text = files("conformance.report").joinpath("schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def misfits(body: Any) -> list[str]:
    """Where a document breaks the schema, in words; empty if it fits."""
    found = jsonschema.Draft202012Validator(schema()).iter_errors(body)
    return [f"{error.json_path}: {error.message}" for error in found]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def _tuples(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {k: tuple(v) if k in names and isinstance(v, Sequence) else v for k, v in values.items()}
