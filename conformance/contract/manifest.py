"""The manifest: how a harness that speaks ACP is started and configured, as TOML. For the suite only.

    harness = "example"
    command = ["{install}/node_modules/.bin/example", "--acp"]
    dialect = "anthropic"
    env = { ANTHROPIC_BASE_URL = "{model_url}", ANTHROPIC_API_KEY = "{api_key}" }

These four keys are the minimum; the classes below tell the others.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conformance.contract.errors import ManifestError
from conformance.contract.tables import Table, listed, nearest
from conformance.contract.templates import PLACES, VALUES, check, check_json, placeholders
from conformance.contract.vocabulary import CAPABILITIES, DIALECTS, POSTURES

PROFILES = ("quick", "default", "thorough")
PATIENCE_MOST = 60.0  # seconds; REQUIREMENTS, rule 9
MODES = ("ask", "plan", "auto")
DOORS = ("stdio", "http")
VIAS = ("session/new",)
SETTINGS = (
    "turns", "tokens", "calls", "cost", "time", "compact_at", "keep_last", "exclude", "allow", "ask", "deny",
)  # fmt: skip
ROOTS = ("{home}/", "{workspace}/", "{state_dir}/")
KEYS = (
    "harness", "version", "configuration", "command", "dialect", "model", "env", "patience", "profile", "capabilities",
    "posture", "install", "fork", "files", "auth", "modes", "tools", "config", "requests", "compact", "installed",
)  # fmt: skip
_NPM = re.compile(r"(@[\w.-]+/)?[\w.-]+@\d[\w.+-]*")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

Files = Mapping[str, str | Mapping[str, Any]]


@dataclass(frozen=True)
class Install:
    """What must be there before a life: pinned npm packages, pip requirements, packages of this distribution.

    `npm_options` are further options of `npm install`, such as "--ignore-scripts".
    `say` is a sentence for people, shown before anything is installed: how large it is, or what else must be there.
    """

    npm: tuple[str, ...] = ()
    npm_options: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    say: str = ""


@dataclass(frozen=True)
class Fork:
    """How lives are forked: `entry` speaks ACP on stdin and stdout; `preload`, if any, warms up. MODULE:FUNCTION."""

    entry: str
    preload: str = ""


@dataclass(frozen=True)
class Tools:
    """How the bench's tools are offered. `name` is the wire name's template, of {server} and {tool}."""

    door: str = "stdio"
    via: str = "session/new"
    name: str = "{tool}"

    def wire_name(self, server: str, tool: str) -> str:
        """Return the name under which the model sees a tool."""
        return self.name.replace("{server}", server).replace("{tool}", tool)


@dataclass(frozen=True)
class Setting:
    """How one value of the configuration is given; several ways are all used.

    `args` and `env` and `files` are templates with {value} or {values}. `meta` is None, "" for the
    suite's own `_meta.conformance.config`, or a dotted path inside `_meta` of session/new.
    """

    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Files = field(default_factory=dict)
    meta: str | None = None


@dataclass(frozen=True)
class Requests:
    """Patterns that tell model requests apart, searched in the system text and the last user text."""

    compaction: tuple[re.Pattern[str], ...] = ()
    side: tuple[re.Pattern[str], ...] = ()
    child: tuple[re.Pattern[str], ...] = ()

    def role(self, text: str) -> str:
        """Return "compaction", "side" or "child", the first that matches, or ""."""
        roles = (("compaction", self.compaction), ("side", self.side), ("child", self.child))
        return next((role for role, patterns in roles if any(p.search(text) for p in patterns)), "")


@dataclass(frozen=True)
class Installed:
    """The harness as its maker ships it: `env` and `files` replace the manifest's, `ask` is the mode to set, if any."""

    configuration: str
    env: Mapping[str, str]
    files: Files = field(default_factory=dict)
    ask: str = ""


@dataclass(frozen=True)
class Manifest:
    """A checked manifest. `source` is its file; templates are not filled in yet.

    `profile` is how many examples each property gets where the user names no profile: a harness that
    takes a second to open a session wants "quick".
    """

    source: str
    harness: str
    command: tuple[str, ...]
    dialect: str
    version: str = "unknown"
    configuration: str = "default"
    model: str = "scripted"
    env: Mapping[str, str] = field(default_factory=dict)
    patience: float = 10.0
    profile: str = "default"
    capabilities: frozenset[str] = frozenset()
    posture: Mapping[str, Any] = field(default_factory=dict)
    install: Install = Install()
    fork: Fork | None = None
    files: Files = field(default_factory=dict)
    auth: str = ""
    modes: Mapping[str, str] = field(default_factory=dict)
    tools: Tools = Tools()
    config: Mapping[str, Setting] = field(default_factory=dict)
    requests: Requests = Requests()
    compact_prompt: str = ""
    installed: Installed | None = None

    def as_installed(self) -> Manifest:
        """The same harness, without what is claimed for. Raises ManifestError if the manifest does not say how."""
        if self.installed is None:
            raise ManifestError(f"{self.source}: installed: missing. Say how the harness runs as it is shipped")
        there = self.installed
        modes = {"ask": there.ask} if there.ask else {}
        return replace(self, configuration=there.configuration, env=there.env, files=there.files, modes=modes)


def load_manifest(path: Path) -> Manifest:
    """Read a manifest file. Raises ManifestError naming file, key and remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        there = listed(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else "no such folder"
        raise ManifestError(f"{path}: no such file; .toml files beside it: {there}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error
    return parse_manifest(text, str(path))


def parse_manifest(text: str, source: str) -> Manifest:
    """Read a manifest's text; `source` stands in messages. Raises ManifestError."""
    try:
        top = Table(source, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{source}: not TOML: {error}") from error
    top.only(*KEYS)
    manifest = Manifest(
        source=source,
        harness=top.text("harness"),
        command=_command(top),
        dialect=top.one_of("dialect", DIALECTS),
        version=top.text("version", "unknown"),
        configuration=top.text("configuration", "default"),
        model=top.text("model", "scripted"),
        env=_env(top),
        patience=top.number("patience", 10.0, above=0, most=PATIENCE_MOST),
        profile=top.one_of("profile", PROFILES, default="default"),
        capabilities=_capabilities(top),
        posture=_posture(top.table("posture")),
        install=_install(top.table("install")),
        fork=_fork(top.table("fork")) if top.has("fork") else None,
        files=_files(top),
        auth=top.table("auth").only("method").text("method") if top.has("auth") else "",
        modes=_modes(top.table("modes")),
        tools=_tools(top.table("tools")),
        config=_config(top.table("config")),
        requests=_requests(top.table("requests")),
        compact_prompt=top.table("compact").only("prompt").text("prompt") if top.has("compact") else "",
        installed=_installed(top.table("installed")) if top.has("installed") else None,
    )
    _has_install_where_used(manifest, top)
    return manifest


def _checked(table: Table, key: str, template: str, known: Iterable[str] = PLACES) -> str:
    return check(template, f"{table.file}: {table.prefix}{key}", tuple(known))


def _templates(table: Table, key: str, known: Iterable[str] = PLACES) -> tuple[str, ...]:
    return tuple(_checked(table, f"{key}[{n}]", item, known) for n, item in enumerate(table.texts(key)))


def _command(top: Table) -> tuple[str, ...]:
    if not top.body.get("command", ()):
        top.fail("command", 'missing. Add the words that start the harness: command = ["name", "--acp"]')
    return _templates(top, "command")


def _env(table: Table, known: Iterable[str] = PLACES) -> dict[str, str]:
    return {name: _checked(table, f"env.{name}", text, known) for name, text in table.pairs("env").items()}


def _files(table: Table, known: Iterable[str] = PLACES) -> dict[str, str | Mapping[str, Any]]:
    names, inner = tuple(known), table.table("files")
    for path, body in inner.body.items():
        _checked(inner, path, path, names)
        if not path.startswith(ROOTS) or ".." in path.split("/"):
            inner.fail(path, f"must lie below one of {', '.join(ROOTS)}: a life writes nowhere else")
        if not isinstance(body, (str, dict)):
            inner.fail(path, "must be a string (the text) or a table (written as JSON)")
    return {path: check_json(body, f"{table.file}: {inner.prefix}{path}", names) for path, body in inner.body.items()}


def _capabilities(top: Table) -> frozenset[str]:
    words = top.texts("capabilities")
    for word in words:
        if word not in CAPABILITIES:
            known = f"Known: {listed(CAPABILITIES)}."
            top.fail("capabilities", f"unknown capability {word!r}.{nearest(word, CAPABILITIES)} {known}")
    return frozenset(words)


def _posture(table: Table) -> dict[str, Any]:
    table.only(*POSTURES)
    for name, value in table.body.items():
        permitted = POSTURES[name]
        if permitted is not None:
            table.one_of(name, permitted)
        elif isinstance(value, str) and not value:
            table.fail(name, "must not be empty")
    return dict(table.body)


def _install(table: Table) -> Install:
    table.only("npm", "npm_options", "pip", "packages", "say")
    npm = table.texts("npm")
    for package in npm:
        if not _NPM.fullmatch(package):
            table.fail("npm", f"{package!r} is not pinned. Write name@1.2.3: a verdict holds for one version")
    return Install(npm, table.texts("npm_options"), table.texts("pip"), table.texts("packages"), table.text("say", ""))


def _fork(table: Table) -> Fork:
    table.only("entry", "preload")
    fork = Fork(table.text("entry"), table.text("preload", ""))
    for key, where in (("entry", fork.entry), ("preload", fork.preload)):
        if where and not _FUNCTION.fullmatch(where):
            table.fail(key, f'{where!r} is no function. Write "module:function"')
    return fork


def _installed(table: Table) -> Installed:
    table.only("configuration", "env", "files", "ask")
    if not table.body.get("env"):
        table.fail("env", "missing. It replaces the manifest's: at least the model's address and key belong there")
    return Installed(table.text("configuration"), _env(table), _files(table), table.text("ask", ""))


def _modes(table: Table) -> dict[str, str]:
    table.only(*MODES)
    return {meaning: table.text(meaning) for meaning in table.body}


def _tools(table: Table) -> Tools:
    table.only("door", "via", "name")
    name = table.text("name", "{tool}")
    _checked(table, "name", name, ("server", "tool"))
    if "tool" not in placeholders(name):
        table.fail("name", f"{name!r} lacks {{tool}}: every tool would have one name")
    return Tools(table.one_of("door", DOORS, default="stdio"), table.one_of("via", VIAS, default="session/new"), name)


def _config(table: Table) -> dict[str, Setting]:
    table.only(*SETTINGS)
    return {name: _setting(table, name) for name in table.body}


def _setting(table: Table, name: str) -> Setting:
    ways = table.table(name).only("args", "env", "files", "meta")
    known = (*PLACES, *VALUES)
    setting = Setting(_templates(ways, "args", known), _env(ways, known), _files(ways, known), _meta(ways))
    if setting == Setting():
        table.fail(name, "says no way. Give one or more of: args, env, files, meta")
    used = [placeholder for part in (setting.args, setting.env, setting.files) if part for placeholder in _used(part)]
    if setting.meta is None and not set(used) & set(VALUES):
        table.fail(name, "uses neither {value} nor {values}: the setting would always be the same")
    return setting


def _used(part: object) -> list[str]:
    return placeholders(str(part))


def _meta(ways: Table) -> str | None:
    meta = ways.body.get("meta", False)
    if isinstance(meta, bool):
        return "" if meta else None
    path = ways.table("meta").only("path").text("path")
    if not all(path.split(".")):
        ways.fail("meta.path", f'{path!r} has an empty step. Write it like "claudeCode.options.maxTurns"')
    return path


def _requests(table: Table) -> Requests:
    table.only("compaction", "side", "child")
    return Requests(_patterns(table, "compaction"), _patterns(table, "side"), _patterns(table, "child"))


def _patterns(table: Table, key: str) -> tuple[re.Pattern[str], ...]:
    return tuple(_pattern(table, f"{key}[{n}]", text) for n, text in enumerate(table.texts(key)))


def _pattern(table: Table, key: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        table.fail(key, f"{text!r} is no regular expression: {error}")


def _has_install_where_used(manifest: Manifest, top: Table) -> None:
    templates = (manifest.command, manifest.env, manifest.files, manifest.config, manifest.installed)
    if not manifest.install.npm and any("install" in _used(part) for part in templates):
        top.fail("install.npm", "missing, but a template uses {install}. Pin what is to be installed there")
