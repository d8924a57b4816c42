"""The normative table is whole, agrees with itself, and the loader refuses one that does not."""

from __future__ import annotations

import doctest
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

import conformance.requirements as subject
from conformance.contract.vocabulary import CAPABILITIES, LIMITS, POSTURES
from conformance.requirements import Requirement, RequirementError, load, table

FOLDER = Path(subject.__file__).parent
ROWS = tuple(table().rows.values())

MUST = {
    "ALL": 9, "REG": 8, "PERM": 29, "SHEL": 9, "SESS": 10, "FLOW": 8, "BUDG": 11,
    "EVNT": 8, "SLOG": 3, "VERI": 4, "POOL": 5, "COMP": 11, "AUDT": 7, "TYPE": 7,
}  # fmt: skip
SHOULD = {
    "REG": 2, "PERM": 2, "SHEL": 1, "SESS": 1, "FLOW": 5, "BUDG": 2,
    "EVNT": 3, "SLOG": 1, "VERI": 1, "COMP": 2, "TYPE": 1,
}  # fmt: skip
EVERY_HARNESS = {"ALL": 9, "REG": 6, "PERM": 6, "FLOW": 6, "BUDG": 1, "EVNT": 9, "VERI": 1, "POOL": 1}

CHECKED = {
    "ALL": "01 02 03 04 06 07 08 09 11",
    "REG": "02 04 05 06",
    "PERM": "01 02 03 04 05 07 10 12 21 23 29",
    "SESS": "01 02 05 07 08 13",
    "FLOW": "01 02 03 08 10",
    "BUDG": "01 02 03 04 05 07 09",
    "EVNT": "01 03 05 12",
    "POOL": "01 02",
    "COMP": "02 03 04 05 07 08 13",
}


def exposed(*shown: str) -> list[Requirement]:
    declared = frozenset(name for name, capability in table().capabilities.items() if capability.shown in shown)
    return [row for row in ROWS if row.exposed_by(declared)]


# --- the table -----------------------------------------------------------------------------------


def test_the_levels_are_counted_as_published() -> None:
    counted = Counter((row.family, row.level) for row in ROWS)
    assert counted == {(f, "MUST"): n for f, n in MUST.items()} | {(f, "SHOULD"): n for f, n in SHOULD.items()}
    assert (sum(MUST.values()), sum(SHOULD.values())) == (129, 21)


def test_what_each_way_to_plug_in_exposes_is_counted_as_published() -> None:
    assert Counter(row.family for row in exposed()) == EVERY_HARNESS
    assert len(exposed("acp")) == 74
    assert sum(row.level == "MUST" for row in exposed("acp")) == 61
    assert len(exposed("acp", "manifest")) == 126
    assert len(exposed("acp", "manifest", "extension")) == len(ROWS) == 150


def test_ids_are_unique_and_stand_in_order() -> None:
    families = list(table().families)
    ids = [row.id for row in ROWS]
    assert all(re.fullmatch(r"[A-Z]{3,4}-\d\d", row) for row in ids)
    assert ids == sorted(set(ids), key=lambda row: (families.index(row.partition("-")[0]), row))
    assert [row.primitive for row in ROWS] == sorted(row.primitive for row in ROWS)


def test_every_primitive_has_its_file() -> None:
    assert {row.primitive for row in ROWS} == set(range(13))
    assert {row.family for row in ROWS} == set(table().families)


def test_every_row_has_a_reason_of_its_own() -> None:
    assert [row.id for row in ROWS if len(row.reason) < 30] == []
    assert [reason for reason, n in Counter(row.reason for row in ROWS).items() if n > 1] == []


def test_sentences_and_reasons_are_sentences() -> None:
    texts = [text for row in ROWS for text in (row.sentence, row.reason)]
    assert [text for text in texts if not text.endswith(".") or text != text.strip() or "  " in text] == []
    assert len({row.sentence for row in ROWS}) == len(ROWS)


def test_exactly_the_rows_with_a_check_are_not_pending() -> None:
    checked = {f"{family}-{number}" for family, numbers in CHECKED.items() for number in numbers.split()}
    assert {row.id for row in ROWS if not row.pending} == checked
    assert len(checked) == 55


def test_postures_exist_and_name_their_rows_in_return() -> None:
    for row in ROWS:
        for name in row.postures:
            assert row.id in table().postures[name].rows


def test_a_posture_that_a_row_speaks_of_governs_it() -> None:
    for row in ROWS:
        spoken_of = {name for name in table().postures if f"`{name}`" in row.sentence + row.how}
        assert spoken_of <= set(row.postures), row.id


def test_rows_that_texts_refer_to_exist() -> None:
    known = {*table().rows, *table().excluded}
    texts = [text for row in ROWS for text in (row.sentence, row.how, row.note)]
    texts += [rule.text for rule in table().rules] + [gone.reason for gone in table().excluded.values()]
    named = {name for text in texts for name in re.findall(r"\b[A-Z]{3,4}-\d\d\b", text)}
    assert named - known == set()


def test_rules_are_numbered_and_every_fault_class_has_a_row() -> None:
    assert [rule.number for rule in table().rules] == list(range(1, 16))
    assert len(table().faults) == 62
    assert all(fault.rows for fault in table().faults.values())


def test_the_words_are_those_of_the_contract() -> None:
    assert set(table().capabilities) == CAPABILITIES
    for name, posture in table().postures.items():
        assert POSTURES[name] in (None, posture.values), name


# --- what it means -------------------------------------------------------------------------------


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(subject).failed == 0


def test_the_table_is_read_once_and_cannot_be_changed() -> None:
    assert table() is table()
    with pytest.raises(TypeError):
        table().rows["PERM-01"] = ROWS[0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("row", "declared", "in_scope"),
    [
        ("ALL-01", "", True),
        ("PERM-21", "approve", False),
        ("PERM-21", "approve resume", True),
        ("PERM-17", "files", True),
        ("PERM-17", "shell", True),
        ("PERM-17", "path_rules", False),
        ("BUDG-02", "turns", False),
        ("BUDG-02", "cost", True),
        ("BUDG-03", "resume", False),
        ("BUDG-05", "time", False),
        ("BUDG-05", "time resume", True),
        ("BUDG-03", "limit", False),
    ],
)
def test_a_row_is_exposed_by_what_is_declared(row: str, declared: str, in_scope: bool) -> None:
    assert table().rows[row].exposed_by(frozenset(declared.split())) is in_scope


def test_any_limit_is_a_limit() -> None:
    assert all(table().rows["BUDG-12"].exposed_by(frozenset({limit})) for limit in LIMITS)


def test_profiles_are_claimable_with_what_they_name() -> None:
    day_one, operational = table().profiles.values()
    basics = frozenset({"approve", "resume", "registry", "workflow", "events", "log", "verify"})
    assert not day_one.claimable_with(basics)
    assert day_one.claimable_with(basics | {"turns"})
    assert day_one.claimable_with(basics | {"tokens"})
    assert not operational.claimable_with(basics | {"turns"})
    assert operational.claimable_with(CAPABILITIES)


@pytest.mark.parametrize(
    ("posture", "value", "weak"),
    [
        ("rule_order", "strictest", False),
        ("rule_order", "last", True),
        ("always_scope", "project", False),
        ("always_scope", "user", True),
        ("stall_timeout", "30", False),
        ("stall_timeout", "none", True),
        ("unlimited", "0", True),
        ("unlimited", "none", False),
    ],
)
def test_a_posture_knows_its_weak_values(posture: str, value: str, weak: bool) -> None:
    assert table().postures[posture].is_weak(value) is weak


# --- the loader refuses --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for source in FOLDER.glob("*.toml"):
        shutil.copy(source, tmp_path)
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_an_unchanged_copy_loads(folder: Path) -> None:
    assert load(folder) == table()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        pytest.param("p01_registry", '"REG-02"', '"REG-01"', "REG-01: stands in the table twice", id="duplicate id"),
        pytest.param("p01_registry", '"wire"', '"wyre"', "REG-01: witness 'wyre' is unknown", id="witness"),
        pytest.param("p01_registry", '["claim", "journal", "wire"]', "[]", "REG-01: a row needs a witness", id="none"),
        pytest.param(
            "p01_registry",
            '[["registry"]]',
            '[["registri"]]',
            "REG-01: capability 'registri' is unknown",
            id="capability",
        ),
        pytest.param("p01_registry", '"always_scope"', '"scope"', "REG-09: posture 'scope' is unknown", id="posture"),
        pytest.param("p01_registry", '"MUST"', '"MAY"', "REG-01: level 'MAY' is unknown", id="level"),
        pytest.param("p01_registry", '"REG-06"', '"REG-07"', "REG-07: an excluded id is not used again", id="excluded"),
        pytest.param("p01_registry", '"REG-06"', '"RAG-06"', "family of primitive 1 'RAG' is unknown", id="family"),
        pytest.param(
            "p01_registry", '"REG-06"', '"SLOG-06"', "family of primitive 1 'SLOG' is unknown", id="other file"
        ),
        pytest.param("p01_registry", "pending = true", 'pending = "yes"', "`pending` must be true or", id="shape"),
        pytest.param("p01_registry", "pending = true", "pend = true", "REG-01: unknown key `pend`", id="row key"),
        pytest.param("p01_registry", 'level = "MUST"', "", "REG-01: `level` is missing", id="missing key"),
        pytest.param("p01_registry", '[["registry"]]', "[[", "p01_registry.toml: cannot be read", id="syntax"),
        pytest.param("p01_registry", '[["registry"]]', '"registry"', "`needs` must be a list of lists", id="needs"),
        pytest.param("p01_registry", '[["registry"]]', "[[]]", "`needs` must be a list of lists", id="empty needs"),
        pytest.param("p01_registry", "2026.11", "2025.01", "p01_registry.toml: revision '2025.01'", id="revision"),
        pytest.param("p01_registry", "primitive = 1", "primitive = 2", "the number in the file's name", id="primitive"),
        pytest.param("p01_registry", "[[requirement]]", "[[requirment]]", "key 'requirment' is unknown", id="section"),
        pytest.param("rules", 'name = "Day One"', 'name = "Operational"', "Operational: stands in the", id="profile"),
        pytest.param(
            "rules",
            '["approve", "resume", "turns"',
            '["approval"',
            "Day One: capability 'approval' is unknown",
            id="needed",
        ),
        pytest.param("rules", 'shown = "acp"', 'shown = "ACP"', "approve: shown 'ACP' is unknown", id="shown"),
        pytest.param("rules", 'kind = "choice"', 'kind = "any"', "tier_source: kind 'any' is unknown", id="kind"),
        pytest.param("rules", 'weak = ["adapter"]', 'weak = ["x"]', "tier_source: weak value 'x' is", id="weak"),
        pytest.param("rules", '["PERM-10", "PERM-23"]', '["PERM-10"]', "posture on_reject: says that it", id="governs"),
        pytest.param(
            "rules", '["PERM-08", "PERM-24"]', '["PERM-98"]', "fault class A1: row 'PERM-98' is unknown", id="fault"
        ),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_place(
    folder: Path, file: str, old: str, new: str, message: str
) -> None:
    change(folder / f"{file}.toml", old, new)
    with pytest.raises(RequirementError, match=re.escape(message)):
        load(folder)


def test_a_section_of_the_wrong_shape_is_refused(folder: Path) -> None:
    (folder / "p07_log.toml").write_text('revision = "2026.11"\nprimitive = 7\nrequirement = "none"\n')
    with pytest.raises(RequirementError, match=re.escape("p07_log.toml: `requirement` must be [[requirement]]")):
        load(folder)


def test_a_folder_without_rules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequirementError, match=r"rules\.toml: cannot be read"):
        load(tmp_path)


def test_one_error_names_every_place(folder: Path) -> None:
    change(folder / "p01_registry.toml", '"always_scope"', '"scope"')
    change(folder / "p07_log.toml", '"SHOULD"', '"MAY"')
    with pytest.raises(ValueError, match="REG-09") as caught:
        load(folder)
    assert "SLOG-05: level 'MAY' is unknown" in str(caught.value)
