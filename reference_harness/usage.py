"""What a request used: the provider's numbers where they are sane, an estimate where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reference_harness.records import Usage

if TYPE_CHECKING:
    from reference_harness.model import Meter

BYTES_PER_TOKEN = 4
ABSURD = 50_000_000  # tokens no single request can have
_KINDS = {
    "input": "input_tokens", "output": "output_tokens",
    "cache_read": "cache_read_input_tokens", "cache_write": "cache_creation_input_tokens",
}  # fmt: skip


def settle_usage(reports: Iterable[Any], sent: int, received: int) -> Usage:
    """One request's usage from the provider's cumulative reports; `sent` and `received` are bytes.

    The largest number of each kind counts, since reports are cumulative. Where passes (`iterations`) are told,
    their sum counts if it is larger. A total without input or output is replaced by an estimate.
    """
    best = dict.fromkeys(_KINDS, 0)
    nonsense = False
    for report in reports:
        counted, bad = _counted(report)
        nonsense |= bad
        best = {kind: max(best[kind], counted[kind]) for kind in _KINDS}
    estimated = nonsense or not (best["input"] + best["cache_read"] + best["cache_write"]) or not best["output"]
    if estimated:
        best["output"] = max(best["output"], received // BYTES_PER_TOKEN + 1)
        missing = sent // BYTES_PER_TOKEN - best["cache_read"] - best["cache_write"]
        best["input"] = max(best["input"], missing)
    return Usage(**best, estimated=estimated)


def settle_lost(meter: Meter, sent: int) -> Usage:
    """The usage of a request that gave no whole reply: an estimate if it may have been worked on and nobody says."""
    return settle_usage(meter.reports, sent, meter.received) if meter.reports or meter.taken else Usage()


def sane_count(tokens: int) -> int | None:
    """The input of a request as a provider counted it; None where that cannot be."""
    return tokens if 0 < tokens <= ABSURD else None


def _counted(report: Any) -> tuple[dict[str, int], bool]:
    if not isinstance(report, Mapping):
        return dict.fromkeys(_KINDS, 0), True
    top, bad = _kinds(report)
    passes = report.get("iterations")
    if isinstance(passes, list) and passes:
        summed = [_kinds(one) for one in passes if isinstance(one, Mapping)]
        total = {kind: sum(counts[kind] for counts, _ in summed) for kind in _KINDS}
        if sum(total.values()) > sum(top.values()):
            return total, bad
    return top, bad


def _kinds(report: Mapping[str, Any]) -> tuple[dict[str, int], bool]:
    counts = {kind: report.get(name) for kind, name in _KINDS.items()}
    bad = any(value is not None and not _sane(value) for value in counts.values())
    return {kind: int(value or 0) if _sane(value) else 0 for kind, value in counts.items()}, bad


def _sane(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= ABSURD
