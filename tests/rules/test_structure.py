"""The shape of the project: who imports whom, how long files are, what may stand in them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

import pytest
from tree import PACKAGES, Import, imports, module_of, part_of, python_files, text, tracked

from conformance.cli import load_judges
from conformance.requirements import table
from conformance.resolve import script_metadata
from conformance.saboteurs.matrix import saboteurs

LONGEST = 400  # lines of a Python file

# part -> the parts it may import, besides itself. Later in the table = nearer to the user.
# `root` is conformance/__init__.py, which imports nothing.
LAYERS: Mapping[str, set[str]] = {
    "root": set(),
    "trace": set(),
    "contract": set(),
    "host": {"contract"},
    "requirements": {"contract"},
    "environments": {"contract"},
    "resolve": {"contract"},
    "judging": {"trace", "contract", "requirements"},
    "invariants": {"trace", "judging"},
    "bench": {"contract", "trace", "judging", "resolve", "environments"},
    "strategies": {"bench", "contract", "trace"},
    "checks": {"bench", "contract", "invariants", "judging", "strategies", "trace"},
    "report": {"contract", "judging", "requirements", "root", "trace"},
    "saboteurs": set(),
    "saboteurs.harnesses": {"contract", "saboteurs"},
    "saboteurs.matrix": {"requirements", "saboteurs", "saboteurs.harnesses"},
    "smoke": {"bench", "contract", "requirements", "resolve", "trace"},
    "scaffold": {"contract", "resolve"},
    "_pytest": {"bench", "contract", "judging", "report", "requirements", "resolve", "root", "smoke"},
    "plugin": {"_pytest"},
    "cli": {"contract", "report", "resolve", "root"},
}
# Of these parts only some modules may be imported by some others.
NARROW: Mapping[tuple[str, str], set[str]] = {
    ("judging", "contract"): {"conformance.contract.errors"},
    ("report", "contract"): {"conformance.contract.errors"},
    ("bench", "judging"): {"conformance.judging"},
}
STANDARD_LIBRARY_ONLY = ("conformance/contract", "conformance/host", "conformance/trace", "conformance/scaffold")
INSIDE = ("conformance/bench/inside.py", "conformance/bench/stdio_door.py")  # they run in foreign interpreters
FACES = {"_pytest", "plugin", "cli"}

ours = imports("conformance")


def crossing(found: list[Import]) -> list[tuple[str, str, Import]]:
    """Imports from one part of the suite to another."""
    pairs = [(part_of(module_of(one.file)), part_of(one.module), one) for one in found]
    return [(here, there, one) for here, there, one in pairs if there and here != there]


def test_every_part_has_its_place() -> None:
    parts = {part_of(module_of(path)) for path in python_files("conformance")}
    assert parts <= set(LAYERS), "a new part of the suite: say in LAYERS what it may import"


def test_parts_import_only_what_lies_below_them() -> None:
    wrong = [str(one) for here, there, one in crossing(ours) if there not in LAYERS.get(here, set())]
    assert wrong == []


def test_some_parts_are_reached_by_one_door_only() -> None:
    wrong = [
        str(one) for here, there, one in crossing(ours) if one.module not in NARROW.get((here, there), {one.module})
    ]
    assert wrong == []


def test_the_bench_takes_one_word_of_judging() -> None:
    """A check that cannot run here says so in the bench; nothing else there knows of verdicts."""
    taken = re.compile(r"(?m)^\s*from conformance\.judging import (.*)$")
    found = {name for path in python_files("conformance/bench") for name in taken.findall(text(path))}
    assert found <= {"NotExposed"}


def test_nothing_imports_the_faces() -> None:
    wrong = [str(one) for here, there, one in crossing(ours) if there in FACES and here not in FACES]
    assert wrong == []


def test_the_suite_and_the_reference_harness_know_nothing_of_each_other() -> None:
    assert [str(one) for one in ours if one.module.split(".")[0] in ("reference_harness", "adapters")] == []
    theirs = imports("reference_harness")
    assert [str(one) for one in theirs if one.module.split(".")[0] in ("conformance", "adapters")] == []


def test_an_adapter_knows_its_harness_and_the_contract() -> None:
    wrong = [one for one in imports("adapters") if part_of(one.module) not in ("", "contract")]
    assert [str(one) for one in wrong] == []


def test_a_python_adapter_is_short_and_pins_its_harness() -> None:
    for path in python_files("adapters"):
        source = text(path)
        requirements, _ = script_metadata(source, str(path))
        assert len(source.splitlines()) <= 200
        assert [one for one in requirements if "==" not in one] == []


@pytest.mark.parametrize("place", STANDARD_LIBRARY_ONLY)
def test_what_follows_an_adapter_needs_the_standard_library_only(place: str) -> None:
    found = imports(place)
    assert found
    strange = [
        str(one) for one in found if not part_of(one.module) and one.module.split(".")[0] not in sys.stdlib_module_names
    ]
    assert strange == []


@pytest.mark.parametrize("path", INSIDE)
def test_what_runs_in_a_foreign_interpreter_imports_nothing_of_ours(path: str) -> None:
    assert [str(one) for one in imports(path) if one.module.split(".")[0] not in sys.stdlib_module_names] == []


def test_the_host_takes_nothing_of_the_suite_but_the_contract_that_runs_on_python_3_10() -> None:
    """`tomllib` came with 3.11: the modules that read manifests are for the suite alone."""
    read, queue = set[str](), ["conformance.contract", "conformance.host"]
    by_module = {module_of(path): path for path in python_files("conformance/contract", "conformance/host")}
    queue += [module for module in by_module if module.startswith("conformance.host")]
    while queue:
        module = queue.pop()
        if module in read or module not in by_module:
            continue
        read.add(module)
        queue += [one.module for one in imports(by_module[module])]
    assert "conformance.contract.manifest" not in read


def test_packages_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for here, there, _ in crossing(ours):
        graph.setdefault(here, set()).add(there)
    assert circle(graph) == []


def test_modules_do_not_import_each_other_in_circles() -> None:
    """Imports for types only, and those inside functions, are no circle at run time; the others are."""
    graph: dict[str, set[str]] = {}
    for one in [*ours, *imports("reference_harness")]:
        if part_of(one.module) and not one.typing_only and is_at_top(one):
            graph.setdefault(module_of(one.file), set()).add(one.module)
    assert circle(graph) == []


def is_at_top(one: Import) -> bool:
    """Whether the import begins its line."""
    return not text(one.file).splitlines()[one.line - 1].startswith((" ", "\t"))


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle in a graph, as the nodes on the way; [] if there is none."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for there in sorted(graph.get(node, set()) - {node}):
            if found := walk(there, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_no_file_is_too_long() -> None:
    lengths = {path: text(path).count("\n") for path in python_files()}
    assert {path: n for path, n in lengths.items() if n > LONGEST} == {}


def test_packages_say_who_they_are_and_little_else() -> None:
    assert text("conformance/__init__.py").count("\n") <= 10
    assert list(imports("conformance/__init__.py")) == []


# A folder of somebody's machine. /home/user and /tmp/x are examples; so is the user's own ~.
OF_A_MACHINE = re.compile(
    r"(?<![\w.{}~-])/(?:work|root|Users)/[\w.-]+|(?<![\w.{}~-])/home/(?!user\b|me\b|you\b)[\w.-]+"
)
GENERATED = ("cassettes/",)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    here = "tests/rules/test_structure.py"
    wrong = [
        f"{path}:{number}: {found.group()}"
        for path in tracked() if path != here
        for number, line in enumerate(text(path).splitlines(), 1) if (found := OF_A_MACHINE.search(line))
    ]  # fmt: skip
    assert wrong == []


def test_every_package_carries_its_types() -> None:
    assert all(f"{package}/py.typed" in tracked() for package in PACKAGES)


# --- requirements, checks, saboteurs


def marked() -> set[str]:
    """The rows that a check stands for."""
    mark = re.compile(r"(?m)^@check\(([^)]*)\)")
    lines = [found for path in python_files("conformance/checks") for found in mark.findall(text(path))]
    return {row for line in lines for row in re.findall(r'"([A-Z]+-\d+)"', line)}


def scored() -> set[str]:
    """The rows that are not pending."""
    return {row.id for row in table().rows.values() if not row.pending}


def watched() -> set[str]:
    """The rows that an invariant of every run stands for."""
    load_judges()
    rows = re.compile(r"(?m)^@invariant\(\s*\"([A-Z]+-\d+)\"")
    return {row for path in python_files("conformance/invariants") for row in rows.findall(text(path))}


def test_every_scored_row_has_a_check() -> None:
    assert sorted(scored() - marked()) == []


def test_every_check_stands_for_rows_that_are_scored() -> None:
    assert sorted(marked() - scored()) == []


def test_every_scored_row_has_a_saboteur() -> None:
    failed = {row for one in saboteurs() for row in one.fails}
    assert sorted(scored() - failed) == []


def test_every_saboteur_fails_rows_that_are_scored_and_says_why() -> None:
    found = saboteurs()
    assert sorted({row for one in found for row in one.fails} - scored()) == []
    assert [one.where for one in found if not (one.fails and one.because and one.says)] == []
