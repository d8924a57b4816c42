"""The words of a command, as the shell would hand them over: quotes and escapes undone, the unknown marked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node

_IN_STRING = re.compile(r"\\([$`\"\\\n])")
_IN_WORD = re.compile(r"\\(.)", re.DOTALL)
# Bytes beyond ASCII (\\xc0) are left out: what they spell depends on their neighbours, so they are not known.
_ANSI = re.compile(
    r"\\(x[0-7]?[0-9a-fA-F](?![0-9a-fA-F])|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,8}|[01]?[0-7]{1,2}(?![0-7])|[abeEfnrtv\\'\"?])"
)
_ANSI_SIGNS = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_GLOB = re.compile(r"(?<!\\)(?:\\\\)*[*?\[]")
_BRACES = re.compile(r"(?<!\\)[{}]")
PIPE = "/dev/fd/63"  # what a process substitution hands over


class Word(NamedTuple):
    """`text` None: nobody knows before it runs. `glob`: the shell replaces it by the files it matches."""

    text: str | None
    glob: bool = False
    raw: str = ""


def text_at(node: Node, source: bytes) -> str:
    """What the source has where the node is. The node's own text may be a stand-in: see `reading`."""
    return source[node.start_byte : node.end_byte].decode("utf-8", "replace")


def read_word(node: Node, source: bytes) -> Word:
    """The word that a node stands for."""
    raw = text_at(node, source)
    text, glob = _decode(node, source) if node.is_named else (raw if raw != "$" else None, False)
    if text is not None and "\0" in text:
        text = None
    return Word(text, glob, raw)


def _decode(node: Node, source: bytes) -> tuple[str | None, bool]:
    if node.type == "command_name" and node.child_count == 1:
        node = node.children[0]
    decoder = _DECODERS.get(node.type)
    return decoder(node, source) if decoder else (None, False)


def _plain(node: Node, source: bytes) -> tuple[str | None, bool]:
    raw = text_at(node, source)
    if _BRACES.search(raw) and raw not in ("{", "}", "{}"):
        return None, False  # {a,b} is several words
    if "$" in raw.replace("\\$", ""):
        return None, False
    if raw.startswith("~") and raw != "~" and not raw.startswith("~/"):
        return None, False  # another user's home, or a folder of the past
    return _IN_WORD.sub(lambda found: "" if found[1] == "\n" else found[1], raw), bool(_GLOB.search(raw))


def _string(node: Node, source: bytes) -> tuple[str | None, bool]:
    raw = text_at(node, source)
    if not raw.startswith('"') or any(child.type not in ("string_content", '"') for child in node.children):
        return None, False
    return _IN_STRING.sub(lambda found: "" if found[1] == "\n" else found[1], raw[1:-1]), False


def _ansi(body: str) -> str | None:
    left = _ANSI.sub("", body)
    return None if "\\" in left else _ANSI.sub(_ansi_sign, body)


def _ansi_sign(found: re.Match[str]) -> str:
    sign = found[1]
    if sign[0] in "xuU" and len(sign) > 1:
        return chr(min(int(sign[1:], 16), 0xFFFD))
    return chr(int(sign, 8) % 256) if sign.isdigit() else _ANSI_SIGNS.get(sign, sign)


def _joined(node: Node, source: bytes) -> tuple[str | None, bool]:
    children = node.children
    if sum(child.end_byte - child.start_byte for child in children) != node.end_byte - node.start_byte:
        return None, False
    if any(child.type == "word" and set("{}") & set(text_at(child, source)) for child in children):
        return None, False  # a brace expansion that is spread over its parts
    parts = [_decode(child, source) for child in children]
    if any(text in (None, PIPE) for text, _ in parts):
        return None, False
    return "".join(text or "" for text, _ in parts), any(glob for _, glob in parts)


_DECODERS: Mapping[str, Callable[[Any, bytes], tuple[str | None, bool]]] = {
    "word": _plain, "number": _plain, "variable_name": _plain, "test_operator": _plain, "string": _string,
    "concatenation": _joined, "raw_string": lambda node, source: (text_at(node, source)[1:-1], False),
    "ansi_c_string": lambda node, source: (_ansi(text_at(node, source)[2:-1]), False),
    "process_substitution": lambda _node, _source: (PIPE, False),
}  # fmt: skip
