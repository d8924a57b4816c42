"""The normative table: what a harness MUST and SHOULD do, frozen per revision.

One TOML file a primitive holds the rows, `rules.toml` how they are read. `table()` is the way in:

    >>> from conformance.requirements import table
    >>> row = table().rows["PERM-01"]
    >>> row.level, row.family, row.primitive, row.exposed_by(frozenset())
    ('MUST', 'PERM', 2, True)

Everything is checked on load, so that whoever holds a `Table` need not check anything again.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

from conformance.contract.errors import ConformanceError
from conformance.contract.vocabulary import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from importlib.resources.abc import Traversable

__all__ = [
    "LIMIT",
    "Beyond",
    "Capability",
    "Excluded",
    "Family",
    "Fault",
    "Posture",
    "Profile",
    "Requirement",
    "RequirementError",
    "Rule",
    "Table",
    "load",
    "table",
]

Level = Literal["MUST", "SHOULD"]
Witness = Literal["wire", "journal", "approvals", "files", "process", "claim"]
Shown = Literal["acp", "manifest", "extension"]
Kind = Literal["choice", "subset"]

LIMIT: Final = "limit"
"""The word in `needs` that any one of the limits satisfies: turns, tokens, calls, cost, time."""


class RequirementError(ConformanceError, ValueError):
    """The table contradicts itself or cannot be read; the message names every place, a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One row: a sentence that holds or does not, read as "it MUST (SHOULD) hold that ..." (RFC 2119)."""

    id: str
    """Family and number, `PERM-03`; never used again with another meaning."""
    level: Level
    sentence: str
    reason: str
    """Which harm the row prevents, in one sentence."""
    witnesses: tuple[Witness, ...]
    """Who has to see it; `claim` is the harness's own word and always compared with another witness."""
    needs: tuple[tuple[str, ...], ...]
    """Alternatives, each a set of capabilities that must all be declared; empty = every harness."""
    how: str
    """The control, and how the situation is brought about."""
    postures: tuple[str, ...]
    """Names of the declared choices on which the expected outcome depends."""
    primitive: int
    """0 (everywhere) to 12; the file the row stands in."""
    note: str = ""
    """A clarification that binds like the sentence (reading rule 15)."""
    pending: bool = False
    """No check exists yet: the row is reported as untested."""

    @property
    def family(self) -> str:
        """The letters of the id."""
        return self.id.partition("-")[0]

    def exposed_by(self, declared: frozenset[str]) -> bool:
        """Whether these declared capabilities bring the row into scope; if not, it is "not exposed"."""
        return _satisfied(self.needs, declared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How the rows are read; `number` counts from 1 and is cited."""

    number: int
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The rows that share the letters of their id, and what is said of all of them at once."""

    name: str
    primitive: int
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Something that a harness may or may not have; declared by its adapter, then probed."""

    name: str
    shown: Shown
    """By ACP itself, by a word in the manifest or adapter, or by an extension or adapter method."""
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """A choice between behaviours that are all permitted; some are weaker, and the claim says so."""

    name: str
    kind: Kind
    """One of the values, or any subset of them."""
    values: tuple[str, ...]
    """The values; `<angle brackets>` stand for one that the adapter fills in."""
    weak: tuple[str, ...]
    meaning: str
    rows: tuple[str, ...]
    """Ids of the rows it governs, in the order of the table."""
    per: str = ""
    """For what a value is declared ("mode", "option"); empty = once."""
    lifetimes: tuple[str, ...] = ()
    """For grants: how long one may live, declared beside the value."""

    def is_weak(self, value: str) -> bool:
        """Whether a declared value is a weaker one; one that is not listed fills the angle brackets."""
        filled_in = value not in self.values + self.lifetimes
        return value in self.weak or (filled_in and any(weak.startswith("<") for weak in self.weak))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A name that a claim may carry if enough is declared; `needs` is read as in a `Requirement`."""

    name: str
    meaning: str
    needs: tuple[tuple[str, ...], ...]
    types: tuple[str, ...]
    """Agent types that must exist, by these names or as declared equivalents."""

    def claimable_with(self, declared: frozenset[str]) -> bool:
        """Whether these declared capabilities are enough to claim the profile."""
        return _satisfied(self.needs, declared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """An id that went, kept so that it is not used again."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beyond:
    """Something that no row judges, and why not."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A class of faults seen in the field, and the rows that look for it."""

    name: str
    meaning: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One revision, whole and checked. All mappings keep the order of the files and cannot be changed."""

    revision: str
    rows: Mapping[str, Requirement]
    """Id -> row; primitive by primitive, in each family by number."""
    rules: tuple[Rule, ...]
    families: Mapping[str, Family]
    capabilities: Mapping[str, Capability]
    postures: Mapping[str, Posture]
    profiles: Mapping[str, Profile]
    excluded: Mapping[str, Excluded]
    beyond: tuple[Beyond, ...]
    faults: Mapping[str, Fault]


@cache
def table() -> Table:
    """Return the table that this version of the suite judges by."""
    return load(files(__name__))


def load(folder: Traversable) -> Table:
    """Read `rules.toml` and every `p*.toml` of a folder. Raises `RequirementError` if anything is wrong."""
    book = _read(folder / _BOOK)
    names = sorted(entry.name for entry in folder.iterdir() if fnmatch(entry.name, "p*.toml"))
    sheets = {name: _read(folder / name) for name in names}
    _refuse(_bad_headers({_BOOK: book, **sheets}))
    rows = [row for sheet in sheets.values() for row in _rows(sheet)]
    found = Table(
        revision=book["revision"],
        rows=_index(rows, "id"),
        rules=tuple(_entries(Rule, book, "rule")),
        families=_index(_entries(Family, book, "family"), "name"),
        capabilities=_index(_entries(Capability, book, "capability"), "name"),
        postures=_index(_entries(Posture, book, "posture"), "name"),
        profiles=_index(_entries(Profile, book, "profile"), "name"),
        excluded=_index(_entries(Excluded, book, "excluded"), "id"),
        beyond=tuple(_entries(Beyond, book, "beyond")),
        faults=_index(_entries(Fault, book, "fault"), "name"),
    )
    _refuse(_contradictions(found))
    return found


# --- reading -------------------------------------------------------------------------------------

_T = TypeVar("_T")

_BOOK: Final = "rules.toml"
_BOOK_HEADS: Final = ("revision",)
_BOOK_SECTIONS: Final = (
    "rule", "family", "capability", "posture", "profile", "excluded", "beyond", "fault",
)  # fmt: skip
_SHEET_HEADS: Final = ("revision", "primitive", "title")
_SHEET_SECTIONS: Final = ("requirement",)


def _satisfied(needs: tuple[tuple[str, ...], ...], declared: frozenset[str]) -> bool:
    words = declared | {LIMIT} if declared & LIMITS else declared - {LIMIT}
    return not needs or any(words.issuperset(alternative) for alternative in needs)


def _read(source: Traversable) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise RequirementError(f"{source.name}: cannot be read: {fault}") from fault


def _rows(sheet: Mapping[str, Any]) -> Iterator[Requirement]:
    return _entries(Requirement, sheet, "requirement", primitive=sheet["primitive"])


def _entries(cls: type[_T], sheet: Mapping[str, Any], key: str, **given: int) -> Iterator[_T]:
    """Make one value for each `[[key]]` of a file."""
    for number, entry in enumerate(sheet[key], start=1):
        where = f"{key} {entry.get('id') or entry.get('name') or number}"
        whole = {**entry, **given}
        _refuse(f"{where}: {fault}" for fault in _misfits(cls, whole))
        yield cls(**{word: _frozen(value) for word, value in whole.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _index(entries: Iterable[_T], key: str) -> Mapping[str, _T]:
    found: dict[str, _T] = {}
    for entry in entries:
        name = getattr(entry, key)
        if name in found:
            raise RequirementError(f"{name}: stands in the table twice")
        found[name] = entry
    return MappingProxyType(found)


# --- checking: each function yields what is wrong, in words ----------------------------------------


def _refuse(faults: Iterable[str]) -> None:
    if found := list(faults):
        raise RequirementError("\n".join(found))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_alternatives(value: Any) -> bool:
    return isinstance(value, list) and all(_is_texts(inner) and inner for inner in value)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(inner, dict) for inner in value)


_SHAPES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "str": ("a text that is not empty", _is_text),
    "int": ("a number", lambda value: type(value) is int),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "tuple[str, ...]": ("a list of different texts", _is_texts),
    "tuple[Witness, ...]": ("a list of different texts", _is_texts),
    "tuple[tuple[str, ...], ...]": ("a list of lists of texts", _is_alternatives),
}


def _misfits(cls: type[Any], entry: Mapping[str, Any]) -> Iterator[str]:
    """Compare an entry with the fields of its class: their names, and the shape of each value."""
    known = {field.name: field for field in fields(cls)}
    yield from (f"unknown key `{key}`" for key in entry if key not in known)
    for name, field in known.items():
        shape, fits = _SHAPES.get(str(field.type), _SHAPES["str"])
        if name in entry and not fits(entry[name]):
            yield f"`{name}` must be {shape}, not {entry[name]!r}"
        if name not in entry and field.default is MISSING:
            yield f"`{name}` is missing"


def _bad_headers(sheets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Look at the top level of each file: a misspelt section would else drop its rows in silence."""
    expected = sheets[_BOOK].get("revision")
    for name, sheet in sheets.items():
        if not _is_text(sheet.get("revision")) or sheet["revision"] != expected:
            yield f"{name}: revision {sheet.get('revision')!r}, where {_BOOK} says {expected!r}"
        heads, sections = (_BOOK_HEADS, _BOOK_SECTIONS) if name == _BOOK else (_SHEET_HEADS, _SHEET_SECTIONS)
        yield from _strange(f"{name}: key", sheet, heads + sections)
        yield from (f"{name}: `{key}` must be [[{key}]]" for key in sections if not _is_tables(sheet.get(key)))
        if name != _BOOK and not name.startswith(f"p{sheet.get('primitive'):0>2}_"):
            yield f"{name}: `primitive` must be the number in the file's name, not {sheet.get('primitive')!r}"


def _contradictions(found: Table) -> Iterator[str]:
    for row in found.rows.values():
        yield from (f"{row.id}: {fault}" for fault in _row_faults(row, found))
    for posture in found.postures.values():
        yield from (f"posture {posture.name}: {fault}" for fault in _posture_faults(posture, found))
    for capability in found.capabilities.values():
        yield from _strange(f"capability {capability.name}: shown", (capability.shown,), get_args(Shown))
    for profile in found.profiles.values():
        yield from _strange(f"profile {profile.name}: capability", _named_in(profile.needs), found.capabilities)
    for fault in found.faults.values():
        yield from _strange(f"fault class {fault.name}: row", fault.rows, found.rows)


def _row_faults(row: Requirement, found: Table) -> Iterator[str]:
    if row.id in found.excluded:
        yield "an excluded id is not used again"
    if not row.witnesses:
        yield "a row needs a witness"
    yield from _strange("level", (row.level,), get_args(Level))
    yield from _strange("witness", row.witnesses, get_args(Witness))
    yield from _strange("capability", _named_in(row.needs), {*found.capabilities, LIMIT})
    yield from _strange("posture", row.postures, found.postures)
    yield from _strange(f"family of primitive {row.primitive}", (row.family,), _families(found, row.primitive))


def _posture_faults(posture: Posture, found: Table) -> Iterator[str]:
    yield from _strange("kind", (posture.kind,), get_args(Kind))
    yield from _strange("weak value", posture.weak, posture.values + posture.lifetimes)
    naming = tuple(row.id for row in found.rows.values() if posture.name in row.postures)
    if posture.rows != naming:
        yield f"says that it governs {', '.join(posture.rows)}, but is named by {', '.join(naming) or 'no row'}"


def _strange(what: str, words: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    allowed = list(known)
    for word in words:
        if word not in allowed:
            near = get_close_matches(str(word), allowed, n=3) or allowed[:8]
            yield f"{what} {word!r} is unknown; there is {', '.join(near)}"


def _named_in(needs: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple(word for alternative in needs for word in alternative)


def _families(found: Table, primitive: int) -> list[str]:
    return [family.name for family in found.families.values() if family.primitive == primitive]
