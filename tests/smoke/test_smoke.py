"""What a smoke test says of an adapter that works, and of one that declares more, or less, than it serves."""

from __future__ import annotations

import json
from pathlib import Path

from programs import Ran, conformance

import conformance as conformance_package
from conformance.scaffold import write

MINIATURE = "conformance.saboteurs.miniature:Miniature"


def part(ran: Ran, title: str) -> str:
    """The lines below a title."""
    _, _, rest = ran.out.partition(f"\n{title}")
    lines = rest.splitlines()[1:]
    end = next((n for n, line in enumerate(lines) if not line.startswith("  ")), len(lines))
    return "\n".join(lines[:end])


def of_template(tmp_path: Path, **changes: str) -> Ran:
    """Smoke a Python adapter made by `init`, with some of its text replaced: old => new."""
    path, _ = write("made", tmp_path, Path(), python=True)
    text = path.read_text()
    for old, new in (pair.split(" => ") for pair in changes.values()):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return conformance("smoke", path.name, cwd=tmp_path)


def test_the_miniature_shows_all_that_it_declares(tmp_path: Path) -> None:
    ran = conformance("smoke", MINIATURE, cwd=tmp_path)
    assert ran.code == 0, ran.all
    shown = part(ran, "Can show:")
    for capability in ("approve", "always", "callable", "resume", "replay", "sessions", "turns", "tokens", "calls",
                       "pool", "compact", "keep_last"):  # fmt: skip
        assert f"\n  {capability} " in f"\n{shown}"
    assert "8 of 8 in the first model request: look," in ran.out
    assert "look ran once by the callable door, not asked about" in ran.out
    assert "allowed, it ran; refused, it did not run" in ran.all
    assert "taken up by session/continue: the call was asked about again, and run" in ran.all
    assert "override `workflow`" in part(ran, "Cannot show")
    assert f"next: pytest --harness={MINIATURE}" in ran.out
    assert list(tmp_path.iterdir()) == []


def test_the_written_adapter_works_and_says_what_is_missing(tmp_path: Path) -> None:
    ran = of_template(tmp_path)
    assert ran.code == 0, ran.all
    assert "approve" in part(ran, "Can show:")
    assert "override `load_session`" in part(ran, "Cannot show")
    assert "Warnings:" not in ran.out


def test_what_is_declared_and_not_served_fails(tmp_path: Path) -> None:
    ran = of_template(tmp_path, more='"approve", => "approve", "always", "turns", "pool", "keep_last", "hooks",')
    assert ran.code == 1
    missing = part(ran, "Declared, but NOT SERVED:")
    assert "options offered: allow_once, reject_once" in missing
    assert "turns = 2 had NO effect: 7 model requests" in missing
    assert "look was to be left out" in missing
    assert "keep_last" in missing
    assert "hooks" in part(ran, "Declared, and not to be seen")
    assert "4 to mend" in ran.out


def test_what_is_served_and_undeclared_is_a_warning(tmp_path: Path) -> None:
    ran = of_template(tmp_path, fewer='frozenset({"approve", "callable", "sessions"}) => frozenset({"callable"})')
    assert ran.code == 0
    assert "served, but undeclared (wipe was asked about)" in " ".join(part(ran, "Warnings:").split())


def test_tools_that_do_not_arrive_are_a_problem(tmp_path: Path) -> None:
    ran = of_template(tmp_path, none="for t in self.tools.values() => for t in []")
    assert ran.code == 1
    assert "0 of 8 in the first model request: none" in ran.out
    assert "these tools of the bench are not in the first model request" in part(ran, "Problems:")
    assert "Traceback" not in ran.all


def test_a_gate_that_does_not_hold_is_told_but_left_to_its_rows(tmp_path: Path) -> None:
    ran = of_template(tmp_path, gate="not (await turn.ask(call)).allowed => not (await turn.ask(call))")
    assert ran.code == 0
    assert "rows PERM-01 and PERM-02 will fail" in part(ran, "Warnings:")


SERVED = """
harness = "served"
command = ["{python}", "HOST", "serve", "--adapter", "ADAPTER"]
dialect = "anthropic"

[tools]
name = "mcp__{server}__{tool}"

[env]
CONFORMANCE_SETUP = """  # the adapter served as a harness that speaks ACP


def test_the_name_of_tools_on_the_wire_must_be_as_the_manifest_says(tmp_path: Path) -> None:
    path, _ = write("made", tmp_path, Path(), python=True)
    host = Path(conformance_package.__file__).parent / "host" / "__main__.py"
    fields = ("model_url", "api_key", "model", "home", "workspace", "state_dir")
    setup = json.dumps({name: f"{{{name}}}" for name in fields} | {"dialect": "anthropic"})
    manifest = SERVED.replace("HOST", str(host)).replace("ADAPTER", str(path)) + f"'{setup}'\n"
    (tmp_path / "served.toml").write_text(manifest)
    ran = conformance("smoke", "served.toml", cwd=tmp_path)
    assert ran.code == 1, ran.all
    assert "key `tools.name`: says 'mcp__canary__look', the model sees 'look'" in ran.all
    assert 'Write name = "{tool}"' in ran.all
