"""An adapter that lacks what every adapter needs is refused when it is loaded, before anything is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conformance.contract.errors import AdapterError
from conformance.host.loading import load_adapter

NEW_SESSION = "    async def new_session(self, session):\n        return 'one'\n"
PROMPT = "    async def prompt(self, session, text, turn):\n        return None\n"


def written(folder: Path, *methods: str) -> str:
    path = folder / "mine.py"
    path.write_text(
        "from conformance.contract import Adapter\nclass Mine(Adapter):\n    name = 'm'\n" + "".join(methods)
    )
    return str(path)


def test_an_adapter_with_both_is_loaded(tmp_path: Path) -> None:
    assert load_adapter(written(tmp_path, NEW_SESSION, PROMPT)).name == "m"


@pytest.mark.parametrize("named", ["", ":Mine"])
@pytest.mark.parametrize(
    ("methods", "lacks"),
    [((NEW_SESSION,), ["prompt"]), ((PROMPT,), ["new_session"]), ((), ["new_session", "prompt"]),
     ((NEW_SESSION, "    prompt = 3\n"), ["prompt"])],
)  # fmt: skip
def test_file_class_what_is_missing_and_the_remedy_are_told(
    tmp_path: Path, methods: tuple[str, ...], lacks: list[str], named: str
) -> None:
    place = written(tmp_path, *methods) + named
    with pytest.raises(AdapterError) as told:
        load_adapter(place)
    message = str(told.value)
    assert message.startswith(f"{place}: class Mine lacks {' and '.join(f'`{name}`' for name in lacks)}, ")
    assert all(f"`async def {name}(self, " in message for name in lacks)
    assert "\n" not in message


def test_a_module_beside_the_adapter_is_imported_and_never_in_the_place_of_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "installed")])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (tmp_path / "own_agent.py").write_text("NAME = 'own'\n")
    (tmp_path / "hypothesis.py").write_text("raise RuntimeError('not the library')\n")
    (tmp_path / "spread.py").write_text("raise RuntimeError('nor this one')\n")
    (tmp_path / "installed" / "spread").mkdir(parents=True)
    (tmp_path / "installed" / "spread" / "part.py").write_text("")
    place = written(tmp_path, NEW_SESSION, PROMPT)
    source = Path(place).read_text()
    Path(place).write_text(
        f"import hypothesis\nimport own_agent\nimport spread.part\n{source.replace(repr('m'), 'own_agent.NAME')}"
    )
    assert load_adapter(place).name == "own"
