"""What a command line would run: every simple command in it, at any depth, and what cannot be known.

tree-sitter-bash reads the text. It takes more than the shell takes, and some things otherwise: whatever it might read
otherwise than the shell is a doubt, and a doubt asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from reference_harness.shell.operators import UNSURE, unsure
from reference_harness.shell.words import Word, read_word, text_at

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

LONGEST = 64 * 1024  # bytes of a command that is read at all
DEEPEST = 8  # shells within shells
# Two words to one reader, one to the other.
_SPLIT_WORD = re.compile(r"[^\s]\\\n|\\\n[^\s]|\\\n\s*#|(?:^|[\s;|&({`!])\\[ \t]")
# The grammar's scanner reads beyond its tables at characters beyond ASCII, and may take the process with it. To the
# shell they are letters like others, so the parser gets a letter for each of their bytes; words are of the source.
_STAND_IN = bytes(byte if byte < 0x80 else ord("u") for byte in range(256))
_TOKENS = re.compile(r"[\w./+-]+")
_RESERVED = frozenset({
    "!", "{", "}", "((", "[[", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if",
    "in", "select", "then", "until", "while",
})  # fmt: skip
_BLANKS = re.compile(rb"(?:[ \t]|\\\n)*")  # what may be between the words of one command
_SIGNS_OF_TEST = frozenset({"=", "==", "!=", "!", "-a", "-o", "]"})
_HARMLESS_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_MAGIC_NAMES = frozenset({"path", "fpath", "cdpath", "manpath", "module_path", "histchars", "argv", "prompt", "psvar"})
_SETTINGS = frozenset({"LC_ALL", "LANG", "LC_CTYPE", "LC_COLLATE", "TZ", "NO_COLOR", "COLUMNS", "TERM"})
_NAMED = re.compile(r"\$(?:[A-Za-z_]\w*|[\d*@#?$!-])", re.ASCII)
_NUMBERS_ALONE = re.compile(r"\$\(\([0-9\s+*/%()<>=!&|^~?:-]*\)\)")
_EXPANSION = re.compile(r"\$\{#?[A-Za-z_][A-Za-z0-9_]*\}")
# What the shell runs or inserts in a here-document whose end is not quoted; the grammar does not see all of it.
_LIVE = re.compile(r"`|\$[({\[]")
_UNSEEN = re.compile(r"(?<!\\)(?:\\\\)*(?:`|\$[({\[])")  # the same in text, with no backslash before it
_BEFORE_COMMENT = re.compile(rb"|(?s:[^\\])?[ \t\n;|&()]")
_ANSI_STRING = re.compile(r"\$'(?:[^'\\]|\\.)*'", re.DOTALL)
_NUMBERS = frozenset({"-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v", "-R"})

# Nodes that only hold others together. What is neither here nor handled below is not understood.
_PLAIN = frozenset({
    "program", "list", "pipeline", "subshell", "do_group", "redirected_statement", "comment",
    "if_statement", "elif_clause", "else_clause", "while_statement", "case_statement", "case_item",
    "negated_command", "command_name", "number", "string", "raw_string", "ansi_c_string",
    "concatenation", "variable_name", "special_variable_name", "command_substitution",
    "process_substitution", "file_descriptor", "heredoc_body", "heredoc_content", "heredoc_end",
    "heredoc_redirect", "herestring_redirect", "unary_expression", "binary_expression", "parenthesized_expression",
    "test_operator", "brace_expression",
})  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A simple command that would run."""

    words: tuple[Word, ...]

    @property
    def texts(self) -> tuple[str | None, ...]:
        """The words alone."""
        return tuple(word.text for word in self.words)


@dataclass
class Reading:
    """All that a line would do, as far as can be known. `looped`: commands that may run more than once."""

    text: str
    commands: list[Command] = field(default_factory=list)
    writes: list[Word] = field(default_factory=list)
    reads: list[Word] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    tests: int = 0
    looped: bool = False
    opaque: bool = False  # there is a part that nobody can read: its text counts as anything it names

    def doubt(self, why: str, *, opaque: bool = False) -> None:
        """Note what is not understood."""
        self.doubts.append(why)
        self.opaque |= opaque

    @property
    def tokens(self) -> list[str]:
        """Whatever in the text could be the name of a program, a file or an option."""
        return _TOKENS.findall(self.text.replace("\\\n", "").replace("\\", "").replace("''", "").replace('""', ""))


@lru_cache(maxsize=1)
def _parser() -> Parser:
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def read(text: str) -> Reading:
    """Read a command line. Never raises: what goes wrong is a doubt."""
    reading = Reading(text)
    if len(text) > LONGEST or len(text.encode("utf-8", "replace")) > LONGEST:
        reading.doubt(f"it is longer than {LONGEST} bytes", opaque=True)
        return reading
    if strange := _strange(text):
        reading.doubt(f"it holds a character that is not plain text (U+{ord(strange):04X})", opaque=True)
    if _SPLIT_WORD.search(text):
        reading.doubt("a line break or a blank that may be within a word", opaque=True)
    try:
        source = text.encode("utf-8", "replace")
        root = _parser().parse(source.translate(_STAND_IN)).root_node
    except ImportError:
        reading.doubt("tree-sitter-bash is not installed", opaque=True)
        return reading
    if root.has_error:
        reading.doubt("it cannot be parsed", opaque=True)
    _Walk(reading, source).all(root)
    if not (reading.commands or reading.doubts or reading.tests):
        reading.doubt("it runs nothing that is known")
    return reading


def _strange(text: str) -> str:
    """A character that no one can see, or that some take for a blank and others do not; empty if there is none."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return ""
    return next(sign for sign in text if sign not in "\t\n" and not sign.isprintable())


class _Walk:
    """One pass over the tree, without recursion: what is nested is no reason to fail."""

    def __init__(self, reading: Reading, source: bytes) -> None:
        self.reading = reading
        self._source = source
        self._called: set[str] = set()  # within functions

    def _text(self, node: Node | None) -> str:
        return text_at(node, self._source) if node is not None else ""

    def all(self, root: Node) -> None:
        stack = [(root, False)]
        while stack:
            node, within = stack.pop()
            self._one(node)
            if within and node.type == "command_name":
                self._called.add(read_word(node, self._source).text or "")
            within = within or node.type == "function_definition"
            stack.extend((child, within) for child in reversed(node.named_children))
        if self._called & self.reading.functions:
            self.reading.doubt("a function that calls one, and may never end")

    def _one(self, node: Node) -> None:
        handler = getattr(self, "_" + node.type, None) if node.type in _HANDLED else None
        if handler is not None:
            handler(node)
        elif node.type not in _PLAIN:
            self.reading.doubt(f"{node.type.replace('_', ' ')} is not understood", opaque=node.is_error)
        if node.type == "while_statement":
            self.reading.looped = True

    def _command(self, node: Node) -> None:
        words = [read_word(child, self._source) for child in _fields(node, "name", "argument")]
        if words:
            self.reading.commands.append(Command(tuple(words)))
            self._astray([word.raw for word in words[:4]])
        ends = [(a.end_byte, b.start_byte) for a, b in pairwise(node.children)]
        if not all(_BLANKS.fullmatch(self._source, *gap) for gap in ends):
            self.reading.doubt("a command over several lines", opaque=True)

    def _astray(self, raws: list[str]) -> None:
        """The grammar does not know what follows `time` and the like, and may see another end than the shell does."""
        if _RESERVED & {raws[0], *(raws[1:] if raws[0] in ("time", "coproc") else ())}:
            self.reading.doubt("a word of the shell where a program is named", opaque=True)

    def _test_command(self, node: Node) -> None:
        self.reading.tests += 1
        operators = {self._text(each) for each in _below(node, "test_operator")}
        if operators & _NUMBERS or not re.match(r"\[\[?\s", self._text(node)):
            self.reading.doubt("a test that calculates")
        if node.children[0].type == "[":
            self._test_program(list(_leaves(node)))

    def _test_program(self, parts: list[Node]) -> None:
        """To the shell `[` is a program among others, so a sign that the grammar takes for its own is the shell's."""
        if any(not (part.is_named or part.type in _SIGNS_OF_TEST) for part in parts):
            self.reading.doubt("a test that the shell takes for more than one", opaque=True)
        if unsure([read_word(part, self._source) for part in parts]):
            self.reading.doubt(UNSURE)

    def _variable_assignment(self, node: Node) -> None:
        name = node.child_by_field_name("name")
        known = name is not None and name.type == "variable_name" and _is_plain_name(self._text(name), node)
        if not known:
            self.reading.doubt(f"it sets {self._text(name)[:40] if name else 'something'}")

    def _for_statement(self, node: Node) -> None:
        self.reading.looped = True
        values = [read_word(child, self._source) for child in _fields(node, "value")]
        self.reading.reads += [word for word in values if word.glob]  # the names of what is there are read
        name = self._text(node.child_by_field_name("variable"))
        if not _is_plain_name(name, node):
            self.reading.doubt(f"it sets {name[:40]}")
        if node.children[0].type == "select":
            self.reading.doubt("select asks whoever is at the terminal")

    def _declaration_command(self, node: Node) -> None:
        self.reading.doubt(f"{self._text(node).split(None, 1)[0]} changes the shell", opaque=True)

    def _unset_command(self, _node: Node) -> None:
        self.reading.doubt("unset changes the shell")

    def _expansion(self, node: Node) -> None:
        if not _EXPANSION.fullmatch(self._text(node)):
            self.reading.doubt("an expansion that may do more than insert a value")

    def _simple_expansion(self, node: Node) -> None:
        if not _NAMED.fullmatch(self._text(node)):  # the grammar takes `$`, a line break and a word for one
            self.reading.doubt("a $ that stands for itself", opaque=True)

    def _arithmetic_expansion(self, node: Node) -> None:
        if not _NUMBERS_ALONE.fullmatch(self._text(node)):  # quotes quote nothing in it
            self.reading.doubt("a calculation with more than numbers", opaque=True)

    def _array(self, _node: Node) -> None:
        self.reading.doubt("an array")

    def _compound_statement(self, node: Node) -> None:
        if self._text(node).startswith("(("):  # to the shell it may as well be a subshell in a subshell
            self.reading.doubt("a calculation, or commands in brackets", opaque=True)

    def _heredoc_start(self, node: Node) -> None:
        if not self._text(node).isascii():
            self.reading.doubt("a here-document whose end is not plain", opaque=True)

    def _heredoc_redirect(self, node: Node) -> None:
        """What no node of the body stands for is text, and must be text to the shell as well."""
        parts = {child.type: child for child in reversed(node.children)}
        start, body = parts.get("heredoc_start"), parts.get("heredoc_body", parts.get("heredoc_end"))
        line = self._source[start.end_byte : body.start_byte].rstrip(b" \t") if start and body else b"?"
        if line.find(b"\n") != len(line) - 1 or not self._ends(parts.get("heredoc_end"), self._text(start)):
            self.reading.doubt("a here-document that may begin or end elsewhere", opaque=True)
        if start and body and not set("\\'\"") & set(self._text(start)) and _LIVE.search(self._between(body)):
            self.reading.doubt("a here-document in which something may run", opaque=True)

    def _ends(self, end: Node | None, start: str) -> bool:
        """Whether the shell sees the end of a here-document there, too: the word alone on its line."""
        if end is None:
            return False
        before, after = self._source[: end.start_byte], self._source[end.end_byte :]
        alone = before.rstrip(b"\t").endswith(b"\n") and after[:1] in (b"", b"\n")
        return alone and self._text(end).lstrip("\t") == re.sub(r"[\\'\"]", "", start)

    def _between(self, node: Node) -> str:
        """The text of a node without what its parts stand for."""
        parts = [child for child in node.named_children if child.type != "heredoc_content"]
        starts = [node.start_byte, *(part.end_byte for part in parts)]
        ends = [*(part.start_byte for part in parts), node.end_byte]
        return b" ".join(self._source[a:b] for a, b in zip(starts, ends, strict=True)).decode("utf-8", "replace")

    def _comment(self, node: Node) -> None:
        before = self._source[max(0, node.start_byte - 2) : node.start_byte]
        if not _BEFORE_COMMENT.fullmatch(before):  # to the shell it is in the middle of a word
            self.reading.doubt("a # that may be within a word", opaque=True)

    def _ansi_c_string(self, node: Node) -> None:
        if not _ANSI_STRING.fullmatch(self._text(node)):  # the grammar takes every \\' for a quote within
            self.reading.doubt("a quoted text that may end elsewhere", opaque=True)

    def _extglob_pattern(self, node: Node) -> None:
        if set("$`<>") & set(self._text(node)):  # the grammar takes it for text where the shell may substitute
            self.reading.doubt("a pattern in which something may run", opaque=True)

    def _word(self, node: Node) -> None:
        if _UNSEEN.search(self._text(node)):
            self.reading.doubt("a word in which something may run", opaque=True)

    _string_content = _word

    def _command_substitution(self, node: Node) -> None:
        text = self._text(node)
        if text.startswith("`") and "\\" in text:  # the shell undoes it once more before it reads what is within
            self.reading.doubt("a backslash between backticks", opaque=True)

    def _function_definition(self, node: Node) -> None:
        name = node.child_by_field_name("name")
        self.reading.functions.add(self._text(name) if name else "")
        self.reading.looped = True

    def _file_redirect(self, node: Node) -> None:
        signs = [child.type for child in node.children if not child.is_named]
        targets = [read_word(child, self._source) for child in _fields(node, "destination")]
        sign = signs[0] if signs else ""
        if len(signs) != 1 or len(targets) != 1 or sign not in _SIGNS:
            self.reading.doubt("a redirection that is not understood", opaque=True)
        elif sign in ("<&", ">&", "<&-", ">&-") and (targets[0].text or "").rstrip("-").isdigit():
            return
        elif sign == "<":
            self.reading.reads += targets
        else:
            self.reading.writes += targets


_SIGNS = frozenset({"<", ">", ">>", "&>", "&>>", ">|", "<&", ">&"})
_HANDLED = frozenset({
    "command", "test_command", "variable_assignment", "declaration_command", "unset_command", "expansion",
    "arithmetic_expansion", "array", "function_definition", "file_redirect", "compound_statement", "heredoc_start",
    "for_statement", "heredoc_redirect", "command_substitution", "ansi_c_string",
    "comment", "simple_expansion", "extglob_pattern", "word", "string_content",
})  # fmt: skip


def _is_plain_name(name: str, node: Node) -> bool:
    """Whether setting a variable of this name changes nothing but what `$name` inserts."""
    if node.parent is not None and node.parent.type == "command":
        return name in _SETTINGS
    return bool(_HARMLESS_NAME.fullmatch(name)) and name not in _MAGIC_NAMES


def _below(node: Node, *types: str) -> Iterable[Node]:
    stack = list(node.named_children)
    while stack:
        each = stack.pop()
        if each.type in types:
            yield each
        stack.extend(each.named_children)


def _leaves(node: Node) -> Iterable[Node]:
    """The words of a test in brackets, and its signs."""
    for child in node.children:
        if child.type in ("unary_expression", "binary_expression", "parenthesized_expression"):
            yield from _leaves(child)
        elif child.type != "[":
            yield child


def _fields(node: Node, *names: str) -> list[Node]:
    return [child for i, child in enumerate(node.children) if node.field_name_for_child(i) in names]
