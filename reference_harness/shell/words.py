"""The words of a command, as the shell would hand them over: quotes and escapes undone, the unknown marked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node

_IN_STRING = re.compile(r"\\([$`\"\\\n])")
_IN_WORD = re.compile(r"\\(.)", re.DOTALL)
_ANSI = re.compile(r"\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,8}|[0-7]{1,3}|[abeEfnrtv\\'\"?])")
_ANSI_SIGNS = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_GLOB = re.compile(r"(?<!\\)(?:\\\\)*[*?\[]")
_BRACES = re.compile(r"(?<!\\)[{}]")
PIPE = "/dev/fd/63"  # what a process substitution hands over


class Word(NamedTuple):
    """`text` None: nobody knows before it runs. `glob`: the shell replaces it by the files it matches."""

    text: str | None
    glob: bool = False
    raw: str = ""

    def translated(self, table: Mapping[int, str]) -> Word:
        """The word with other characters, as `str.translate` takes them."""
        return Word(None if self.text is None else self.text.translate(table), self.glob, self.raw.translate(table))


def read_word(node: Node) -> Word:
    """The word that a node stands for."""
    raw = (node.text or b"").decode()
    text, glob = _decode(node, raw)
    if text is not None and "\0" in text:
        text = None
    return Word(text, glob, raw)


def _decode(node: Node, raw: str) -> tuple[str | None, bool]:
    if node.type == "command_name" and node.child_count == 1:
        node = node.children[0]
    decoder = _DECODERS.get(node.type)
    return decoder(node, raw) if decoder else (None, False)


def _plain(_node: Node, raw: str) -> tuple[str | None, bool]:
    if _BRACES.search(raw) and raw not in ("{", "}", "{}"):
        return None, False  # {a,b} is several words
    if "$" in raw.replace("\\$", ""):
        return None, False
    if raw.startswith("~") and raw != "~" and not raw.startswith("~/"):
        return None, False  # another user's home, or a folder of the past
    return _IN_WORD.sub(lambda found: "" if found[1] == "\n" else found[1], raw), bool(_GLOB.search(raw))


def _string(node: Node, raw: str) -> tuple[str | None, bool]:
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


def _joined(node: Node, raw: str) -> tuple[str | None, bool]:
    if sum(child.end_byte - child.start_byte for child in node.children) != len(raw.encode()):
        return None, False
    parts = [_decode(child, (child.text or b"").decode()) for child in node.children]
    texts = [text for text, _ in parts]
    if any(
        text is None or child.type == "process_substitution" for text, child in zip(texts, node.children, strict=True)
    ):
        return None, False
    if any(child.type == "word" and set("{}") & set((child.text or b"").decode()) for child in node.children):
        return None, False  # a brace expansion that is spread over its parts
    return "".join(text or "" for text in texts), any(glob for _, glob in parts)


_DECODERS: Mapping[str, Callable[[Any, str], tuple[str | None, bool]]] = {
    "word": _plain, "number": _plain, "variable_name": _plain, "test_operator": _plain, "string": _string,
    "concatenation": _joined, "raw_string": lambda _node, raw: (raw[1:-1], False),
    "ansi_c_string": lambda _node, raw: (_ansi(raw[2:-1]), False),
    "process_substitution": lambda _node, _raw: (PIPE, False),
}  # fmt: skip
