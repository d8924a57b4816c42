"""Ids, signatures and sealed thinking of the scripted model: shaped like the real ones, and reproducible.

All are derived by hashing, so that a rule can tell from a request alone whether a block came back unchanged.
Shapes: `msg_01` + 22, `toolu_01` + 22, `req_01` + 22 letters and digits (recorded streams, 2024-06 to 2026-08).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import string

_ALPHABET = string.digits + string.ascii_letters
_MARK = b"\x12\x84\x03scripted model"  # real signatures begin with byte 0x12 too
_SHORTEST_REAL = 64  # bytes; the shortest recorded signature is longer


def _alnum(seed: str, length: int) -> str:
    number = int.from_bytes(hashlib.sha512(seed.encode()).digest(), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def message_id(seed: str) -> str:
    """The id of a message, 28 characters."""
    return "msg_01" + _alnum(f"message/{seed}", 22)


def request_id(seed: str) -> str:
    """The id of a request, 28 characters."""
    return "req_01" + _alnum(f"request/{seed}", 22)


def tool_id(seed: str, index: int, *, thought: bool) -> str:
    """The id of the call at this block index, 30 characters; it remembers whether its reply began with thinking."""
    stem = _alnum(f"tool/{seed}/{index}", 18)
    return f"toolu_01{stem}{_alnum(f'{stem}/{thought}', 4)}"


def reply_had_thought(call_id: str) -> bool:
    """Whether this is an id of ours, from a reply that began with a thinking block."""
    stem, check = call_id[8:26], call_id[26:]
    return call_id.startswith("toolu_01") and check == _alnum(f"{stem}/{True}", 4)


def signature(text: str) -> str:
    """The signature of a thinking block with this text (base64)."""
    return base64.b64encode(_MARK + hashlib.sha512(b"thinking/" + _bytes(text)).digest()).decode()


def sealed(text: str) -> str:
    """The data of a redacted thinking block for this text (base64)."""
    digest = hashlib.sha512(b"redacted/" + _bytes(text)).digest()
    return base64.b64encode(_MARK + digest + hashlib.sha256(_MARK + digest).digest()).decode()


def signature_holds(sent: str, text: str) -> bool:
    """Whether a signature can be genuine: ours for exactly this text, or of the shape of a real one."""
    if sent == signature(text):
        return True
    raw = _decoded(sent)
    return raw[:1] == b"\x12" and len(raw) >= _SHORTEST_REAL and not raw.startswith(_MARK)


def seal_holds(sent: str) -> bool:
    """Whether redacted data can be genuine: ours and untouched, or of the shape of real data."""
    raw = _decoded(sent)
    if raw.startswith(_MARK):
        return hashlib.sha256(raw[:-32]).digest() == raw[-32:]
    return raw[:1] == b"\x12" and len(raw) >= _SHORTEST_REAL


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
