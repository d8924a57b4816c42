"""How each capability is declared: in a manifest, and in a Python adapter."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.contract.adapter import DECLARES
from conformance.contract.manifest import SETTINGS

BY_METHOD: Mapping[str, str] = {capability: method for method, capability in DECLARES.items()}
# capability -> the settings by which a manifest gives it to the harness
BY_SETTING: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("turns", "tokens", "calls", "cost", "time", "keep_last")},
    "pool": ("exclude",), "compact": ("compact_at",), "rules": ("deny", "allow", "ask"),
}  # fmt: skip
# capability -> what the method or attribute of an adapter has to do, where its name does not say it
IN_PYTHON: Mapping[str, str] = {
    "approve": "await turn.ask(call) before a call that needs it",
    "always": 'offer it: turn.ask(call, ("once", "always"))',
    "replay": "emit the history in load_session",
    "callable": "run the tools of session.tools instead of connecting to session.mcp_servers",
    "sessions": "keep state by session id",
    "pool": "leave out the tools in session.config.exclude",
    "keep_last": "obey session.config.compaction.keep_last",
    "rules": "obey session.config.allow, ask and deny",
    **{name: f"obey session.config.limits.{name}" for name in ("turns", "tokens", "calls", "cost", "time")},
}
BY_ACP: Mapping[str, str] = {
    "approve": "ask by session/request_permission", "always": "offer options of kind allow_always",
    "resume": "serve session/load", "replay": "send the history in session/load", "modes": 'add [modes] ask = "ID"',
    "plan": 'add [modes] plan = "ID"',
}  # fmt: skip
BY_EXTENSION: Mapping[str, str] = {
    "registry": "tools", "workflow": "workflow", "log": "log", "audit": "audit", "types": "agents",
}  # fmt: skip


def how(capability: str, *, python: bool) -> str:
    """Return one clause that says how to declare it."""
    return _in_python(capability) if python else _in_manifest(capability)


def _in_python(capability: str) -> str:
    if method := BY_METHOD.get(capability):
        return f"override `{method}`"
    must = IN_PYTHON.get(capability, "")
    return f'add "{capability}" to `capabilities`{f", and {must}" if must else ""}'


def _in_manifest(capability: str) -> str:
    word = f'capabilities = [..., "{capability}"]'
    if capability in BY_ACP:
        return f"{word}; {BY_ACP[capability]}"
    if names := [name for name in BY_SETTING.get(capability, ()) if name in SETTINGS]:
        also = ' or [compact] prompt = "/compact"' if capability == "compact" else ""
        return f"{word}; say how it is given: [config.{names[0]}] with args, env, files or meta{also}"
    if method := BY_EXTENSION.get(capability):
        return f"{word}; serve the extension method _conformance/{method}"
    return word
