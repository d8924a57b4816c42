"""What a reply asks for, made fit to be run and to be sent back: ids that are unique, arguments that are an object."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import msgspec

from reference_harness.model import RawCall, Reply, text_of
from reference_harness.records import Call
from reference_harness.registry import digest_of
from reference_harness.transcript import WIRE_NAME
from reference_harness.words import CUT, CUT_BY_LENGTH, NOT_OBJECT, REFUSAL

_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TEXT = msgspec.Raw(b'"text"')
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def settle_calls(reply: Reply, used: Container[str]) -> tuple[list[msgspec.Raw], list[Call]]:
    """Blocks that can go back to the model, and the calls with the reason why one of them can never run.

    Ids that are unusable or were used before are renamed, in the block as well, so that each call has its one
    result. Empty text blocks are dropped: no provider takes them back. What need not change stays as it came.
    """
    blocks = list(reply.blocks)
    calls: list[Call] = []
    taken: set[str] = set()
    for raw in reply.calls:
        id_ = _fresh_id(raw.id, used, taken)
        taken.add(id_)
        arguments, defect = _arguments(raw.arguments, reply.stop, last=raw.block == len(blocks) - 1)
        name = raw.tool if WIRE_NAME.fullmatch(raw.tool) else "unusable_name"
        blocks[raw.block] = _mended(blocks[raw.block], raw, id_, name, usable=not defect)
        calls.append(Call(id_, raw.tool, arguments, digest_of(arguments), defect))
    return [_raw(block) for block in blocks if not _is_blank(block)], calls


def _mended(block: Any, raw: RawCall, id_: str, name: str, *, usable: bool) -> Any:
    """The block with what has to be another: id, name, or an input that is no object."""
    changes: dict[str, Any] = {} if (id_, name) == (raw.id, raw.tool) else {"id": id_, "name": name}
    if not usable or not raw.arguments.strip():
        changes["input"] = {}
    elif isinstance(block, dict):
        changes["input"] = msgspec.Raw(raw.arguments.encode())
    if not changes:
        return block
    fields = block if isinstance(block, dict) else _fields.decode(block)
    return {**fields, **changes}


def _raw(block: Any) -> msgspec.Raw:
    return block if isinstance(block, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(block))


def _is_blank(block: Any) -> bool:
    fields = block if isinstance(block, dict) else _fields.decode(block)
    kind = fields.get("type")
    return kind in ("text", _TEXT) and not text_of(block).strip()


def _fresh_id(id_: str, used: Container[str], taken: Container[str]) -> str:
    base = id_ if _ID.fullmatch(id_) else "toolu_renamed"
    candidate, n = base, 1
    while candidate in used or candidate in taken:
        n += 1
        candidate = f"{base[:100]}_{n}"
    return candidate


def _arguments(spelled: str, stop: str, *, last: bool) -> tuple[dict[str, Any], str]:
    """The arguments, or {} with the reason why the call can never run."""
    if stop == "refusal":
        return {}, REFUSAL
    if last and stop in ("max_tokens", "model_context_window_exceeded"):
        return {}, CUT_BY_LENGTH
    if not spelled.strip():
        return {}, ""
    try:
        value = msgspec.json.decode(spelled)
        spelled.encode()
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return {}, CUT
    return (value, "") if isinstance(value, dict) else ({}, NOT_OBJECT)
