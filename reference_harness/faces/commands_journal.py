"""The commands that read the journal: log (everything) and audit (the decisions). They change nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from typing import Any

from reference_harness.children import family
from reference_harness.errors import UsageFault, near
from reference_harness.faces import options, output, when
from reference_harness.faces.commands_work import find
from reference_harness.harness import Harness
from reference_harness.printable import visible
from reference_harness.stores import verify_chain

_LEFT_TO_JSON = ("digest", "argumentsHash", "definition", "fingerprint")
_BY = ("tool", "handler", "who", "agent", "worker")  # what decisions are found by, besides the decision itself
_WIDE = 160  # characters of a record's fields that are shown


def add(commands: Any) -> None:
    """Add the commands."""
    log = options.command(commands, "log", _log, "read the system log; `log verify` checks its hash chain")
    log.add_argument(
        "about", nargs="*", metavar="verify|SESSION", help="`verify` checks that no record was edited or dropped"
    )
    log.add_argument("--kind", action="append", default=[], help="a record's kind, or a group such as decision, crash")
    log.add_argument(
        "--head", default="", metavar="HASH", help="of verify: that this record, noted before, is still there"
    )
    log.add_argument("--schema", action="store_true", help="print the JSON Schema of the event stream")
    audit = options.command(commands, "audit", _audit, "query the decisions")
    audit.add_argument("session", nargs="?", default=argparse.SUPPRESS, help="the same as --session")
    for name in ("decision", *_BY):
        audit.add_argument(f"--{name}")
    audit.add_argument("--denied", action="store_true", help="the same as --decision deny")
    for parser in (log, audit):
        parser.add_argument("--session", help="and the agents it started: its id, the beginning of it, or `last`")
        options.add_span(parser)
        parser.add_argument("--limit", type=options.count, help="at most so many")
        options.add_json(parser)


def _log(given: argparse.Namespace) -> int:
    from reference_harness import events, log

    if given.schema:
        print(json.dumps(events.schema(), indent=1, sort_keys=True))  # noqa: T201 - a command prints
        return 0
    harness = Harness()
    check, given.session = _about(given)
    if check:
        return _verify_chain(harness, given)
    asked = _asked(given, {"kinds": log.kinds(given.kind)})
    rows = _of_family(harness, given, lambda more: log.query(harness.store, asked | more))
    _print(harness, _first(rows, given.limit), ("session", "seq", "at", "kind"), as_json=given.json)
    return 0


def _about(given: argparse.Namespace) -> tuple[bool, str | None]:
    """Whether the chain is to be checked, and the session that is meant, if one is named."""
    check = given.about[:1] == ["verify"]
    named = given.about[check:] + ([given.session] if given.session else [])
    if len(named) > 1:
        raise UsageFault("name one session, as in  harness log verify last")
    return check, named[0] if named else None


def _audit(given: argparse.Namespace) -> int:
    from reference_harness import audit

    harness = Harness()
    asked = {name: value for name in _BY if (value := getattr(given, name))}
    decision = given.decision or ("deny" if given.denied else None)
    asked = _asked(given, asked | ({"decision": decision} if decision else {}))
    rows = iter(_first(_of_family(harness, given, lambda more: audit.query(harness.store, asked | more)), given.limit))
    found = list(islice(rows, 1))
    _print(harness, chain(found, rows), ("sessionId", "seq", "at", "decision", "tool"), as_json=given.json)
    if not found:
        _tell_unknown(asked, audit.query(harness.store, {}))
    return 0


def _tell_unknown(asked: Mapping[str, Any], every: Iterable[Mapping[str, Any]]) -> None:
    """Say of which tool, person or agent that was asked for no decision is on record at all."""
    decisions = list(every)
    for name in ("tool", "who", "agent"):
        known = sorted({str(row[name]) for row in decisions if row[name]})
        if known and name in asked and asked[name] not in known:
            told = near(asked[name], known)
            sys.stderr.write(f"harness: no decision on record has the {name} {visible(asked[name])}: {visible(told)}\n")


def _first(rows: Iterable[Mapping[str, Any]], limit: int | None) -> Iterable[Mapping[str, Any]]:
    for number, row in enumerate(rows):
        if limit is not None and number >= limit:
            return
        yield row


def _of_family(
    harness: Harness, given: argparse.Namespace, query: Callable[[dict[str, Any]], Iterator[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """The rows of every session; of one that is named, and of the agents it started, in the order of time."""
    if not given.session:
        return query({})
    named = family(harness.store, find(harness, given.session))
    return merge(*(query({"sessionId": id_}) for id_ in named), key=itemgetter("at"))


def _asked(given: argparse.Namespace, more: dict[str, Any]) -> dict[str, Any]:
    if given.since is not None and given.until is not None and given.since > given.until:
        since, until = when.shown(given.since), when.shown(given.until)
        raise UsageFault(f"nothing can be since {since} and until {until}: the span ends before it begins")
    return more | {name: value for name in ("since", "until") if (value := getattr(given, name)) is not None}


def _print(harness: Harness, rows: Iterable[Mapping[str, Any]], head: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        output.json_lines(rows)
        return
    size, id_ = output.enough(harness.store.sessions()), head[0]
    shown = [dict(row) | {"at": when.shown(row["at"]), id_: row[id_][:size], "": _rest(row, head)} for row in rows]
    output.table(shown, (*head[:-1], head[-1], ""), "nothing is on record that fits")


def _rest(row: Mapping[str, Any], head: tuple[str, ...]) -> str:
    text = " ".join(_fields({name: value for name, value in row.items() if name not in head}))
    return text if len(text) <= _WIDE else text[:_WIDE] + "…"


def _fields(row: Mapping[str, Any]) -> Iterator[str]:
    """name=value, inner objects unfolded and last, for a long line is cut; digests are left to --json."""
    inner = {name: value for name, value in row.items() if isinstance(value, Mapping) and name != "arguments"}
    for name, value in row.items():
        if name not in (*inner, *_LEFT_TO_JSON) and value not in ("", None, [], {}):
            yield f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
    for value in inner.values():
        yield from _fields(value)


def _verify_chain(harness: Harness, given: argparse.Namespace) -> int:
    if given.head and not given.session:
        raise UsageFault("--head is the hash of a record of one session: name it with --session")
    ids = [find(harness, given.session)] if given.session else harness.store.sessions()
    rows = [_checked(harness, id_, given.head.lower()) for id_ in ids]
    if given.json:
        output.json_lines(rows)
    else:
        output.table(rows, ("session", "records", "chain", "head"), "there are no sessions yet")
    return 0 if all(row["chain"] == "whole" for row in rows) else 1


def _checked(harness: Harness, session: str, head: str) -> dict[str, Any]:
    found = verify_chain(harness.store, session, head)
    return {"session": session, "records": found.records, "chain": found.because or "whole", "head": found.head}
