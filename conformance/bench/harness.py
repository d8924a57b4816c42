"""What is known of the harness: what its manifest or adapter says, and what it announced in `initialize`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance.bench.doors import SERVER
from conformance.bench.homes import Home
from conformance.bench.player import Patterns
from conformance.bench.session import Session
from conformance.bench.starts import Start
from conformance.contract.errors import AdapterError
from conformance.contract.launch import merge
from conformance.contract.values import Config, config_to_json
from conformance.contract.vocabulary import CAPABILITIES, LIMITS, POSTURES
from conformance.judging import NotExposed

DOOR_PROGRAM = Path(__file__).with_name("stdio_door.py")


class Harness:
    """Name, version, configuration, capabilities, postures, and how a session of it is asked for."""

    def __init__(self, asked: str, start: Start) -> None:
        self.start = start
        self.name, self.version, self.configuration, self.patience = asked, "unknown", "default", 10.0
        self.capabilities: frozenset[str] = frozenset()
        self.posture: dict[str, Any] = {}
        self.installed = ""
        self.methods: frozenset[str] = frozenset()
        self.session_config = self.closes_sessions = False
        self.notes: list[str] = []
        self.patterns = start.patterns

    def learn(self, info: Mapping[str, Any], *, spawned: str = "") -> None:
        """Take in the answer to `initialize`. The manifest's word goes before the announced one."""
        offered = info.get("agentCapabilities") or {}
        ours = (offered.get("_meta") or {}).get("conformance") or {}
        agent, manifest = info.get("agentInfo") or {}, self.start.manifest
        self.name = manifest.harness if manifest else str(agent.get("name") or self.name)
        self.version = str(agent.get("version") or "unknown")
        if manifest and manifest.version != "unknown":
            self.version = manifest.version
        self.configuration = str(
            (manifest and manifest.configuration != "default" and manifest.configuration)
            or ours.get("configuration")
            or "default"
        )
        self.patience = float(ours.get("patience") or (manifest.patience if manifest else 10.0))
        self.capabilities = _capabilities(offered, ours, self.start)
        self.installed = manifest.installed.configuration if manifest and manifest.installed else ""
        self.installed = self.installed or str(ours.get("installed") or "")
        if self.start.installed:
            self._claim_as_installed()
        self.posture = dict(ours.get("posture") or {}) | dict(manifest.posture if manifest else {})
        self.methods = frozenset(str(m).removeprefix("_conformance/") for m in ours.get("methods") or ())
        self.session_config = bool(ours.get("session_config"))
        self.patterns = self.start.patterns if manifest else _patterns(ours.get("requests"), self.start.source)
        self.closes_sessions = "close" in (offered.get("sessionCapabilities") or {}) or "session/close" in self.methods
        self.notes += [spawned] if spawned else []
        self._refuse_strangers()

    def _claim_as_installed(self) -> None:
        if not self.installed:
            raise AdapterError(
                f"{self.start.source}: it does not say how it runs as installed: add `installed` to the adapter"
            )
        self.configuration = f"as installed: {self.installed}"

    def _refuse_strangers(self) -> None:
        for what, words, known in (
            ("capabilities", self.capabilities, CAPABILITIES),
            ("postures", set(self.posture), set(POSTURES)),
        ):
            strangers = set(words) - known
            if strangers:
                raise AdapterError(
                    f"{self.start.source}: unknown {what} {sorted(strangers)}; known are {sorted(known)}"
                )

    def needs(self, *capabilities: str) -> None:
        """Raise NotExposed unless all are declared; "limit" stands for any limit."""
        missing = [c for c in capabilities if not self.has(c)]
        if missing:
            raise NotExposed(None, f"{self.name} does not declare {', '.join(missing)}")

    def has(self, capability: str) -> bool:
        """True if it is declared; "limit" stands for any limit."""
        return bool(self.capabilities & LIMITS) if capability == "limit" else capability in self.capabilities

    def limits(self) -> list[str]:
        """The limits that are declared, in a fixed order."""
        return [name for name in ("turns", "tokens", "calls", "cost", "time") if name in self.capabilities]

    @property
    def compact_prompt(self) -> str:
        """The harness's own command for compaction; "" where the extension is served, or there is none."""
        return "" if "compact" in self.methods or not self.start.manifest else self.start.manifest.compact_prompt

    @property
    def compacts_on_request(self) -> bool:
        """True if compaction can be asked for."""
        return "compact" in self.methods or bool(self.compact_prompt)

    def takes(self, setting: str) -> bool:
        """True if this setting of a session ("compact_at", "keep_last", …) can be given to it."""
        return self.session_config or (self.start.manifest is not None and setting in self.start.manifest.config)

    def needs_launch(self, config: Config) -> bool:
        """True if this configuration can only be given at the start of a life."""
        return bool(self.start.launch_settings(config))

    def mode_id(self, meaning: str | None) -> str | None:
        """The id of a mode by its meaning; the claimed one is "ask"."""
        modes = self.start.manifest.modes if self.start.manifest else {}
        return modes.get(meaning or "ask")

    def session_params(self, session: Session, workspace: str, home: Home, doors: Path, port: int) -> dict[str, Any]:
        """Params of session/new and session/load, without the session id."""
        callable_door = "callable" in self.capabilities
        servers = [] if callable_door else [self._mcp_server(session, doors, port)]
        meta: dict[str, Any] = dict(self.start.meta(home, session.config))
        if self.session_config:
            ours: dict[str, Any] = {
                "config": config_to_json(session.config),
                "model_url": f"{home.model_url}/s/{session.token}",
            }
            if callable_door:
                ours["door"] = _callable_door(session, doors)
            meta = merge(meta, {"conformance": ours})
        return {"cwd": workspace, "mcpServers": servers} | ({"_meta": meta} if meta else {})

    def _mcp_server(self, session: Session, doors: Path, port: int) -> dict[str, Any]:
        manifest = self.start.manifest
        if manifest is not None and manifest.tools.door == "http":
            return {"type": "http", "name": SERVER, "url": f"http://127.0.0.1:{port}/m/{session.token}", "headers": []}
        arguments = ["-I", "-S", str(DOOR_PROGRAM), str(doors), session.token]
        return {"name": SERVER, "command": sys.executable, "args": arguments, "env": []}


def _callable_door(session: Session, doors: Path) -> dict[str, Any]:
    tools = [
        {
            "name": t.name,
            "description": t.description,
            "schema": t.schema,
            "risk": t.risk.value,
            "idempotent": t.idempotent,
        }
        for t in session.canaries.values()
    ]
    return {"unix": str(doors), "token": session.token, "tools": tools}


def _patterns(announced: object, source: str) -> Patterns:
    """The patterns of an adapter, which stand in a manifest otherwise. Raises AdapterError for what is none."""
    given = announced if isinstance(announced, Mapping) else {}
    strangers = set(given) - {"compaction", "side", "child"}
    if strangers:
        raise AdapterError(f"{source}: unknown requests {sorted(strangers)}; known are child, compaction, side")
    try:
        return Patterns(**{role: tuple(re.compile(p).pattern for p in patterns) for role, patterns in given.items()})
    except (TypeError, re.error) as error:
        raise AdapterError(f"{source}: requests = {given!r}: {error}. Write lists of regular expressions") from error


def _capabilities(offered: Mapping[str, Any], ours: Mapping[str, Any], start: Start) -> frozenset[str]:
    """What is declared: by the adapter or harness, by the manifest, and by ACP itself."""
    found = set(ours.get("capabilities") or ())
    if start.manifest is not None:
        found |= start.manifest.capabilities
        if not ours and not start.manifest.capabilities:
            found |= {"approve", "sessions"}  # a harness that says nothing: what ACP alone lets everybody see
            found |= {"modes"} if start.manifest.modes else set()
            found |= {"resume", "replay"} if offered.get("loadSession") else set()
    return frozenset(found)
