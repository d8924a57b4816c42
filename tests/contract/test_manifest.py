"""A manifest is read whole or refused with one message: file, key, remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.contract import Compaction, Config, Limits
from conformance.contract.errors import ManifestError
from conformance.contract.launch import Launch, launch, merge
from conformance.contract.manifest import SETTINGS, Setting, load_manifest, parse_manifest

HEAD = 'harness = "x"\ncommand = ["x", "--acp"]\ndialect = "anthropic"\n'
PLACES = {"model_url": "http://m", "api_key": "k", "model": "mm", "home": "/h", "workspace": "/w", "state_dir": "/s",
          "python": "/py", "install": "/i"}  # fmt: skip
FULL = """
harness = "claude-code"
version = "2.1"
configuration = "ask"
command = ["{install}/node_modules/.bin/agent", "--model", "{model}"]
dialect = "anthropic"
model = "big"
env = { URL = "{model_url}", KEY = "{api_key}" }
patience = 60
capabilities = ["approve", "turns"]
[posture]
on_reject = "continue"
default_limit = 50
[install]
npm = ["@scope/agent@1.2.3", "plain@0.1.0-rc.1"]
pip = ["mcp>=2"]
packages = ["reference_harness"]
say = "Install it by hand."
[fork]
entry = "pkg.mod:serve"
preload = "pkg:warm"
[files]
"{home}/.x/settings.json" = { model = "{model}", list = ["{workspace}", 3] }
"{state_dir}/plain.txt" = "home={home} {not a placeholder}"
[auth]
method = "api-key"
[modes]
ask = "default"
auto = "yolo"
[tools]
door = "http"
via = "session/new"
name = "mcp__{server}__{tool}"
[config.turns]
meta = { path = "claudeCode.options.maxTurns" }
[config.deny]
args = ["--deny", "{value}"]
meta = true
[requests]
compaction = ["summari[sz]e"]
side = ["title"]
child = ["sub-?agent"]
[compact]
prompt = "/compact"
[installed]
configuration = "as it comes"
env = { URL = "{model_url}" }
ask = "yolo"
[installed.files]
"{home}/.x/settings.json" = { model = "{model}" }
"""


def test_everything_a_manifest_can_say_is_read() -> None:
    manifest = parse_manifest(FULL, "f.toml")
    assert (manifest.harness, manifest.version, manifest.configuration) == ("claude-code", "2.1", "ask")
    assert manifest.install.npm == ("@scope/agent@1.2.3", "plain@0.1.0-rc.1")
    assert (manifest.fork.entry, manifest.fork.preload) == ("pkg.mod:serve", "pkg:warm")
    assert manifest.posture == {"on_reject": "continue", "default_limit": 50}
    assert (manifest.auth, manifest.modes) == ("api-key", {"ask": "default", "auto": "yolo"})
    assert manifest.tools.wire_name("canary", "wipe") == "mcp__canary__wipe"
    assert manifest.config["turns"] == Setting(meta="claudeCode.options.maxTurns")
    assert manifest.config["deny"] == Setting(args=("--deny", "{value}"), meta="")
    roles = [manifest.requests.role(t) for t in ("please\nsummarize", "a title", "subagent", "hello")]
    assert roles == ["compaction", "side", "child", ""]
    assert manifest.compact_prompt == "/compact"


def test_four_keys_are_enough() -> None:
    manifest = parse_manifest(HEAD, "f.toml")
    assert (manifest.patience, manifest.fork, manifest.config) == (10.0, None, {})


# key named, what else stands in the message, and the manifest
WRONG = [
    ("f.toml: harness:", "missing", 'command = ["x"]\ndialect = "anthropic"'),
    ("f.toml: harness:", "must not be empty", 'harness = ""\ncommand = ["x"]\ndialect = "anthropic"'),
    ("f.toml: command:", "missing", 'harness = "x"\ndialect = "anthropic"'),
    ("f.toml: command:", "missing", 'harness = "x"\ncommand = []\ndialect = "anthropic"'),
    ("f.toml: command:", "must be a list, is a string", 'harness = "x"\ncommand = "x"\ndialect = "anthropic"'),
    (
        "f.toml: command[1]:",
        "must be a string, is a number",
        'harness = "x"\ncommand = ["x", 1]\ndialect = "anthropic"',
    ),
    ("f.toml: dialect:", "Did you mean 'anthropic'?", 'harness = "x"\ncommand = ["x"]\ndialect = "antropic"'),
    ("f.toml: comand:", "Did you mean 'command'?", 'harness = "x"\ncomand = ["x"]\ndialect = "anthropic"'),
    ("f.toml: zzz:", "Known here: auth, capabilities", HEAD + "zzz = 1"),
    ("f.toml: not TOML:", "line 4", HEAD + "model = \npatience = 1"),
    ("f.toml: patience:", "at most 60", HEAD + "patience = 61"),
    ("f.toml: patience:", "more than 0", HEAD + "patience = 0"),
    ("f.toml: patience:", "must be a number", HEAD + 'patience = "10"'),
    ("f.toml: patience:", "must be a number", HEAD + "patience = true"),
    ("f.toml: capabilities:", "Did you mean 'approve'?", HEAD + 'capabilities = ["aprove"]'),
    ("f.toml: capabilities:", "must be a list", HEAD + 'capabilities = "approve"'),
    ("f.toml: posture.onreject:", "Did you mean 'on_reject'?", HEAD + '[posture]\nonreject = "continue"'),
    ("f.toml: posture.on_reject:", "Did you mean 'continue'?", HEAD + '[posture]\non_reject = "continues"'),
    ("f.toml: posture.on_reject:", "must be a string", HEAD + "[posture]\non_reject = 3"),
    ("f.toml: env.URL:", "unknown placeholder {modelurl}", HEAD + 'env = { URL = "{modelurl}" }'),
    ("f.toml: env.URL:", "Did you mean 'model_url'?", HEAD + 'env = { URL = "{modelurl}" }'),
    ("f.toml: env.URL:", "Known: api_key, home, install", HEAD + 'env = { URL = "{modelurl}" }'),
    ("f.toml: env.URL:", "must be a string", HEAD + "env = { URL = 3 }"),
    ("f.toml: env.URL:", "in [config.NAME] only", HEAD + 'env = { URL = "{value}" }'),
    ("f.toml: install.npm:", "is not pinned", HEAD + '[install]\nnpm = ["x"]'),
    ("f.toml: install.npm:", "is not pinned", HEAD + '[install]\nnpm = ["@s/x@latest"]'),
    ("f.toml: install.npn:", "Did you mean 'npm'?", HEAD + '[install]\nnpn = ["x@1.0.0"]'),
    (
        "f.toml: install.npm:",
        "missing, but a template uses {install}",
        'harness = "x"\ncommand = ["{install}/x"]\ndialect = "anthropic"',
    ),
    ("f.toml: fork.entry:", "missing", HEAD + '[fork]\npreload = "a:b"'),
    ("f.toml: fork.entry:", "module:function", HEAD + '[fork]\nentry = "a.b"'),
    ("f.toml: fork.preload:", "module:function", HEAD + '[fork]\nentry = "a:b"\npreload = "a b"'),
    ("f.toml: files./etc/x:", "below one of {home}/", HEAD + '[files]\n"/etc/x" = ""'),
    ("f.toml: files.{home}/../x:", "below one of", HEAD + '[files]\n"{home}/../x" = ""'),
    ("f.toml: files.{hom}/x:", "Did you mean 'home'?", HEAD + '[files]\n"{hom}/x" = ""'),
    ("f.toml: files.{home}/x:", "a string (the text) or a table", HEAD + '[files]\n"{home}/x" = 3'),
    (
        "f.toml: files.{home}/x.a.b[0]:",
        "unknown placeholder {odd}",
        HEAD + '[files]\n"{home}/x" = { a = { b = ["{odd}"] } }',
    ),
    ("f.toml: auth.method:", "missing", HEAD + "[auth]"),
    ("f.toml: modes.safe:", "Known here: ask, auto, plan", HEAD + '[modes]\nsafe = "x"'),
    ("f.toml: modes:", "must be a table", HEAD + 'modes = "x"'),
    ("f.toml: tools.door:", "Use one of: http, stdio", HEAD + '[tools]\ndoor = "pipe"'),
    ("f.toml: tools.via:", "session/new", HEAD + '[tools]\nvia = "flag"'),
    ("f.toml: tools.name:", "lacks {tool}", HEAD + '[tools]\nname = "{server}"'),
    ("f.toml: tools.name:", "unknown placeholder {home}", HEAD + '[tools]\nname = "{home}{tool}"'),
    ("f.toml: config.turn:", "Did you mean 'turns'?", HEAD + "[config.turn]\nmeta = true"),
    ("f.toml: config.turns:", "says no way", HEAD + "[config.turns]"),
    ("f.toml: config.turns:", "says no way", HEAD + "[config.turns]\nmeta = false"),
    ("f.toml: config.turns:", "neither {value} nor {values}", HEAD + '[config.turns]\nargs = ["--max"]'),
    ("f.toml: config.turns.arg:", "Did you mean 'args'?", HEAD + '[config.turns]\narg = ["{value}"]'),
    ("f.toml: config.turns.args[0]:", "unknown placeholder {val}", HEAD + '[config.turns]\nargs = ["{val}"]'),
    ("f.toml: config.turns.meta:", "must be a table", HEAD + '[config.turns]\nmeta = "a.b"'),
    ("f.toml: config.turns.meta.path:", "missing", HEAD + "[config.turns]\nmeta = {}"),
    ("f.toml: config.turns.meta.path:", "empty step", HEAD + '[config.turns]\nmeta = { path = "a..b" }'),
    ("f.toml: requests.side[0]:", "no regular expression", HEAD + '[requests]\nside = ["("]'),
    ("f.toml: requests.titles:", "Known here: child, compaction, side", HEAD + '[requests]\ntitles = ["x"]'),
    ("f.toml: compact.prompt:", "missing", HEAD + "[compact]"),
]


@pytest.mark.parametrize(("key", "words", "text"), WRONG, ids=[f"{n}-{w[0][8:-1]}" for n, w in enumerate(WRONG)])
def test_each_fault_is_told_with_file_key_and_remedy(key: str, words: str, text: str) -> None:
    with pytest.raises(ManifestError) as told:
        parse_manifest(text, "f.toml")
    assert str(told.value).startswith(key)
    assert words in str(told.value)


def test_a_file_that_is_not_there_is_told_with_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("")
    with pytest.raises(ManifestError, match=r"no such file; .toml files beside it: other.toml"):
        load_manifest(tmp_path / "one.toml")
    with pytest.raises(ManifestError, match="no such folder"):
        load_manifest(tmp_path / "nowhere" / "one.toml")


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(tmp_path / "x.toml")
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(tmp_path)


def test_a_life_gets_command_environment_and_files_with_every_template_filled_in() -> None:
    life = launch(parse_manifest(FULL, "f.toml"), PLACES)
    assert life.argv == ("/i/node_modules/.bin/agent", "--model", "mm")
    assert life.env == {"URL": "http://m", "KEY": "k"}
    assert life.files["/s/plain.txt"] == "home=/h {not a placeholder}"
    assert life.files["/h/.x/settings.json"] == '{\n  "model": "mm",\n  "list": [\n    "/w",\n    3\n  ]\n}\n'
    assert life.meta == {}


def way(name: str, ways: str, **config: Any) -> Launch:
    return launch(parse_manifest(f"{HEAD}[config.{name}]\n{ways}", "f.toml"), PLACES, Config(**config))


def test_a_list_is_given_once_for_each_item_or_all_at_once() -> None:
    deny = ("bash", "wipe")
    assert way("deny", 'args = ["--deny", "{value}"]', deny=deny).argv[2:] == ("--deny", "bash", "--deny", "wipe")
    assert way("deny", 'args = ["--deny={values}"]', deny=deny).argv[2:] == ("--deny=bash,wipe",)
    assert way("deny", 'env = { DENY = "{values}" }', deny=deny).env == {"DENY": "bash,wipe"}
    assert way("deny", 'meta = { path = "a.b" }', deny=deny).meta == {"a": {"b": ["bash", "wipe"]}}


def test_a_number_is_given_as_a_number_where_the_place_is_json() -> None:
    limits = Limits(time=2.0, turns=3)
    files = '"{home}/s.json" = { max = "{value}", text = "at most {value}" }'
    with pytest.raises(ManifestError, match=r"config\.(turns|time): missing"):
        way("turns", f"files = {{ {files} }}", limits=limits)
    life = way("turns", f"files = {{ {files} }}", limits=Limits(turns=3))
    assert life.files == {"/h/s.json": '{\n  "max": 3,\n  "text": "at most 3"\n}\n'}
    assert way("time", 'args = ["{value}"]', limits=Limits(time=2.0)).argv[-1] == "2"
    assert way("cost", 'args = ["{value}"]', limits=Limits(cost=0.25)).argv[-1] == "0.25"


@pytest.mark.parametrize(
    ("name", "config", "body"),
    [
        ("turns", {"limits": Limits(turns=3)}, {"limits": {"turns": 3}}),
        ("compact_at", {"compaction": Compaction(at=9)}, {"compaction": {"at": 9}}),
        ("keep_last", {"compaction": Compaction(keep_last=2)}, {"compaction": {"keep_last": 2}}),
        ("exclude", {"exclude": ("a",)}, {"exclude": ["a"]}),
    ],
)
def test_meta_true_gives_the_setting_as_the_suite_writes_it(name: str, config: Any, body: Any) -> None:
    assert way(name, "meta = true", **config).meta == {"conformance": {"config": body}}


def test_settings_given_by_meta_are_merged() -> None:
    text = HEAD + "".join(f"[config.{name}]\nmeta = true\n" for name in SETTINGS)
    config = Config(Limits(turns=1, cost=2.5), Compaction(5, 2), deny=("a",), mode="plan")
    assert launch(parse_manifest(text, "f"), PLACES, config).meta["conformance"]["config"] == {
        "limits": {"turns": 1, "cost": 2.5}, "compaction": {"at": 5, "keep_last": 2}, "deny": ["a"],
    }  # fmt: skip


def test_a_setting_adds_to_a_file_that_is_there() -> None:
    text = HEAD + '[files]\n"{home}/a" = "one\\n"\n"{home}/b" = { x = { y = [1] } }\n[config.turns.files]\n'
    more = '"{home}/a" = "two {value}\\n"\n"{home}/b" = { x = { y = ["{value}"] } }\n'
    life = launch(parse_manifest(text + more, "f"), PLACES, Config(Limits(turns=3)))
    assert life.files["/h/a"] == "one\ntwo 3\n"
    assert '"y": [\n      1,\n      3\n    ]' in life.files["/h/b"]
    with pytest.raises(ManifestError, match="text in one place and a table in another"):
        launch(parse_manifest(text + '"{home}/a" = { z = "{value}" }', "f"), PLACES, Config(Limits(turns=3)))


def test_a_placeholder_without_a_value_in_this_life_is_told() -> None:
    with pytest.raises(ManifestError, match=r"\{model_url\} has no value here; there are home"):
        launch(parse_manifest(HEAD + 'env = { A = "{model_url}" }', "f"), {"home": "/h"})


def test_merge_keeps_what_only_one_side_has() -> None:
    assert merge({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2], "d": 3}, "e": 4}) == {
        "a": {"b": 1, "c": [1, 2], "d": 3},
        "e": 4,
    }


def test_as_installed_replaces_what_makes_it_strict_and_nothing_else() -> None:
    strict = parse_manifest(FULL, "full.toml")
    loose = strict.as_installed()
    assert (loose.configuration, dict(loose.env), dict(loose.modes)) == (
        "as it comes", {"URL": "{model_url}"}, {"ask": "yolo"}
    )  # fmt: skip
    assert list(loose.files) == ["{home}/.x/settings.json"]
    assert (loose.command, loose.posture, loose.config) == (strict.command, strict.posture, strict.config)


def test_without_a_mode_none_is_set_as_installed() -> None:
    text = HEAD + '[modes]\nask = "default"\n[installed]\nconfiguration = "bare"\nenv = { U = "{model_url}" }\n'
    assert dict(parse_manifest(text, "x.toml").as_installed().modes) == {}


@pytest.mark.parametrize(("table", "said"), [
    ("configuration = 'bare'", "installed.env: missing"),
    ("env = { U = 'x' }", "installed.configuration: missing"),
    ("configuration = 'bare'\nenv = { U = '{modle_url}' }", "installed.env.U"),
    ("configuration = 'bare'\nenv = { U = '{install}/x' }", "install.npm: missing"),
    ("configuration = 'bare'\nenv = { U = 'x' }\nmode = 'a'", "installed.mode: unknown key"),
])  # fmt: skip
def test_an_ill_formed_installed_is_refused(table: str, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(f"{HEAD}[installed]\n{table}\n", "x.toml")
    assert said in str(caught.value)


def test_a_manifest_that_does_not_say_how_it_is_installed_says_so() -> None:
    with pytest.raises(ManifestError, match="installed: missing"):
        parse_manifest(HEAD, "x.toml").as_installed()
