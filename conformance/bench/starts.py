"""How a plugged harness is started: one face for manifests and Python adapters."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from conformance.bench.doors import SERVER
from conformance.bench.homes import Home
from conformance.bench.player import Patterns
from conformance.contract.launch import Launch, launch, merge, settings
from conformance.contract.manifest import Manifest
from conformance.contract.values import Config, Setup
from conformance.environments import npm_for, python_for
from conformance.resolve import AdapterPlug, ManifestPlug, resolve

# The whole search path of the suite is not the harness's: these are what a life may see of it.
HOST_VARIABLES = ("SSL_CERT_FILE", "LD_LIBRARY_PATH")


HOST = Path(__file__).parent.parent / "host" / "__main__.py"


def python_host(python: str) -> list[str]:
    """How the host is started under an interpreter."""
    return [python, "-u", str(HOST)]


@dataclass(frozen=True)
class Start:
    """What the bench needs to start lives. `zygote`: the command that preloads and forks; () = lives are spawned."""

    source: str
    dialect: str
    model: str
    zygote: tuple[str, ...] = ()
    adapter: tuple[str, ...] = ()
    manifest: Manifest | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    host_env: Mapping[str, str] = field(default_factory=dict)
    patterns: Patterns = Patterns()
    installed: bool = False

    def as_installed(self) -> Start:
        """The same harness as its maker ships it. Raises ManifestError if the manifest does not say how that is."""
        manifest = self.manifest.as_installed() if self.manifest else None
        return replace(self, manifest=manifest, installed=True)

    @property
    def auth_method(self) -> str:
        """The ACP authentication method to use; "" = none."""
        return self.manifest.auth if self.manifest else ""

    def launch_settings(self, config: Config) -> list[str]:
        """Names of the settings that must be given at the start of a life."""
        if self.manifest is None:
            return []
        ways = self.manifest.config
        return [
            name
            for name in settings(config)
            if name in ways and (ways[name].args or ways[name].env or ways[name].files)
        ]

    def meta(self, home: Home, config: Config) -> Mapping[str, Any]:
        """What the manifest wants in `_meta` of session/new."""
        return self._launch(home, self._known(config)).meta if self.manifest else {}

    def setup(self, home: Home) -> Setup:
        """What a life of this harness gets."""
        return replace(home.setup(self.dialect, self.model), installed=self.installed)

    def command(self, home: Home, config: Config) -> list[str]:
        """The command line of a spawned life."""
        return list(self._launch(home, self._known(config)).argv) if self.manifest else list(self.adapter)

    def env(self, home: Home, config: Config = Config()) -> dict[str, str]:
        """The environment of a life, on top of the clean one."""
        setup = {"CONFORMANCE_SETUP": json.dumps(asdict(self.setup(home)))}
        return dict(self._launch(home, self._known(config)).env) if self.manifest else setup

    def write_files(self, home: Home, config: Config = Config()) -> None:
        """Write the configuration files that the manifest wants."""
        if self.manifest is None:
            return
        for path, text in self._launch(home, self._known(config)).files.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")

    def _known(self, config: Config) -> Config:
        """The part of a configuration that the manifest gives; the rest goes by `_meta.conformance`."""
        ways = self.manifest.config if self.manifest else {}
        limits = {k: v for k, v in config.limits.declared().items() if k in ways}
        compaction = {"at": "compact_at", "keep_last": "keep_last"}
        body: dict[str, Any] = {
            "limits": type(config.limits)(**limits),  # type: ignore[arg-type] # names of Limits, values as they were
            "compaction": type(config.compaction)(
                **{k: v for k, v in asdict(config.compaction).items() if compaction[k] in ways}
            ),
        }
        names = {k: getattr(config, k) if k in ways else () for k in ("exclude", "allow", "ask", "deny")}
        body |= {
            k: tuple(self.manifest.tools.wire_name(SERVER, n) for n in v) if self.manifest else v
            for k, v in names.items()
        }
        return Config(**body)

    def _launch(self, home: Home, config: Config) -> Launch:
        assert self.manifest is not None
        return launch(self.manifest, {**self.places, **_places(home, self.model)}, config)


def _places(home: Home, model: str) -> dict[str, str]:
    setup = home.setup("", model)
    return {
        "model_url": setup.model_url, "api_key": setup.api_key, "model": model, "home": setup.home,
        "workspace": setup.workspace, "state_dir": setup.state_dir,
    }  # fmt: skip


def start_of(name: str, rootdir: Path) -> Start:
    """Resolve a harness's name and make its environment. Raises ManifestError with one clear message."""
    plug = resolve(name, rootdir)
    return _of_manifest(plug) if isinstance(plug, ManifestPlug) else _of_adapter(plug, rootdir)


def _host_env() -> dict[str, str]:
    return {name: os.environ[name] for name in HOST_VARIABLES if name in os.environ}


def _of_manifest(plug: ManifestPlug) -> Start:
    manifest = plug.manifest
    wants = manifest.install
    need_python = wants.pip or wants.packages
    environment = python_for(wants.pip, "", packages=wants.packages, say=wants.say) if need_python else None
    python = str(environment.python) if environment else sys.executable
    places = {"python": python}
    if wants.npm:
        places["install"] = str(npm_for(wants.npm, wants.npm_options, wants.say))
    paths = [part for folder in (environment.paths if environment else ()) for part in ("--path", str(folder))]
    fork = manifest.fork
    zygote = [*python_host(python), "zygote", "--entry", fork.entry, "--preload", fork.preload, *paths] if fork else []
    env = _host_env() | (
        {"PYTHONPATH": os.pathsep.join(map(str, environment.paths))} if environment and environment.paths else {}
    )
    return Start(
        source=manifest.source, dialect=manifest.dialect, model=manifest.model, zygote=tuple(zygote), manifest=manifest,
        places=places, host_env=env, patterns=_patterns(manifest),
    )  # fmt: skip


def _patterns(manifest: Manifest) -> Patterns:
    asked = manifest.requests
    compaction, side, child = (tuple(p.pattern for p in ps) for ps in (asked.compaction, asked.side, asked.child))
    return Patterns(compaction, side, child)


def _of_adapter(plug: AdapterPlug, rootdir: Path) -> Start:
    python = str(python_for(plug.requirements, plug.requires_python).python) if plug.requirements else sys.executable
    own = ["--path", str(rootdir)] if not plug.where.endswith(".py") else []
    host = [*python_host(python)]
    return Start(
        source=plug.where, dialect=plug.dialect, model="scripted-model", host_env=_host_env(),
        zygote=(*host, "zygote", "--adapter", plug.where, *own),
        adapter=(*host, "serve", "--adapter", plug.where, *own),
    )  # fmt: skip


__all__ = ["Start", "merge", "start_of"]
