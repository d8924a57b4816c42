"""Ids and sealed reasoning of the scripted model on the Responses wire: shaped like the real ones, and reproducible.

Shapes: `resp_`, `msg_`, `rs_`, `fc_` + 48 hexadecimal digits, `call_` + 24 letters and digits, `req_` + 32 hexadecimal
digits (recorded answers, 2025-05 to 2026-05).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import string

_ALPHABET = string.digits + string.ascii_letters
_HEAD = b"\x80\x00\x00\x00\x00"  # real encrypted content is a Fernet token: version 0x80, then a time of eight bytes
_MARK = b"scripted model"
_SHORTEST_REAL = 64  # bytes; the shortest recorded one is longer


def _hex(seed: str, length: int) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()[:length]


def item_id(prefix: str, seed: str) -> str:
    """The id of a response ("resp") or of an item of its output ("msg", "rs", "fc")."""
    return f"{prefix}_{_hex(f'{prefix}/{seed}', 48)}"


def request_id(seed: str) -> str:
    """The id of a request, 36 characters."""
    return f"req_{_hex(f'request/{seed}', 32)}"


def _alnum(seed: str, length: int) -> str:
    number = int.from_bytes(hashlib.sha512(seed.encode()).digest(), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def call_id(seed: str, *, odd: bool) -> str:
    """The id by which a call and its result belong together, 29 characters; it remembers whether its name was `odd`."""
    stem = _alnum(f"call/{seed}", 20)
    return f"call_{stem}{_alnum(f'{stem}/{odd}', 4)}"


def said_oddly(sent: str) -> bool:
    """Whether this is an id of ours, of a call whose name no tool may have."""
    stem, check = sent[5:25], sent[25:]
    return sent.startswith("call_") and check == _alnum(f"{stem}/{True}", 4)


def sealed(text: str) -> str:
    """The encrypted content of a reasoning item of this text."""
    digest = hashlib.sha512(b"reasoning/" + text.encode("utf-8", "surrogatepass")).digest()
    body = _HEAD + _MARK + digest
    return base64.urlsafe_b64encode(body + hashlib.sha256(body).digest()).decode()


def seal_holds(sent: str) -> bool:
    """Whether encrypted content can be genuine: ours and untouched, or of the shape of a real one."""
    raw = _decoded(sent)
    if raw.startswith(_HEAD + _MARK):
        return hashlib.sha256(raw[:-32]).digest() == raw[-32:]
    return raw[:1] == _HEAD[:1] and len(raw) >= _SHORTEST_REAL


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
