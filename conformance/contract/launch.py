"""From a manifest to one life: command line, environment, files and `_meta`, with every template filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.contract.errors import ManifestError
from conformance.contract.manifest import Manifest, Setting
from conformance.contract.tables import listed
from conformance.contract.templates import Value, as_text, fill, fill_json, placeholders
from conformance.contract.values import Config, config_to_json


@dataclass(frozen=True)
class Launch:
    """What a life is started with. `files`: {absolute path: text}; `meta` is merged into `_meta` of session/new."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, str]
    meta: Mapping[str, Any]


def launch(manifest: Manifest, places: Mapping[str, str], config: Config | None = None) -> Launch:
    """Fill in the manifest for one life.

    places: a value for each of `templates.PLACES` that the manifest uses. Raises ManifestError for a
    setting that the manifest has no way to give, and for two files that cannot be one.
    """
    config = config or Config()
    argv = [fill(word, places) for word in manifest.command]
    env = {name: fill(text, places) for name, text in manifest.env.items()}
    files = {fill(path, places): fill_json(body, places) for path, body in manifest.files.items()}
    meta: dict[str, Any] = {}
    for name, value in settings(config).items():
        setting = _setting(manifest, name)
        given = {**places, "values": as_text(value)}
        argv += _arguments(setting.args, given, value)
        given["value"] = as_text(value)
        env.update({key: fill(text, given) for key, text in setting.env.items()})
        for path, body in setting.files.items():
            _add(files, fill(path, given), fill_json(body, given, value), manifest.source)
        if setting.meta is not None:
            meta = merge(meta, _meta(setting.meta, name, value, config))
    return Launch(tuple(argv), env, {path: _text(body) for path, body in files.items()}, meta)


def settings(config: Config) -> dict[str, Value]:
    """Return what is set, by the names of `manifest.SETTINGS`. The mode is not one: it is set by session/set_mode."""
    found: dict[str, Value | None] = {
        **config.limits.declared(),
        "compact_at": config.compaction.at,
        "keep_last": config.compaction.keep_last,
    }
    lists: dict[str, Sequence[str]] = {name: getattr(config, name) for name in ("exclude", "allow", "ask", "deny")}
    return {k: v for k, v in found.items() if v is not None} | {k: v for k, v in lists.items() if v}


def merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two JSON objects: tables by key, lists one after the other, else the other one wins."""
    merged = dict(one)
    for key, value in other.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(old, value)
        else:
            merged[key] = [*old, *value] if isinstance(old, list) and isinstance(value, list) else value
    return merged


def _setting(manifest: Manifest, name: str) -> Setting:
    if name not in manifest.config:
        raise ManifestError(
            f"{manifest.source}: config.{name}: missing, so {name!r} cannot be set. Add a table [config.{name}] with "
            f"args, env, files or meta; given so far: {listed(manifest.config)}"
        )
    return manifest.config[name]


def _arguments(templates: Sequence[str], given: Mapping[str, str], value: Value) -> list[str]:
    """Fill in arguments; with {value} among them and a list as the value, all of them once for each item."""
    each = any("value" in placeholders(template) for template in templates)
    single = isinstance(value, (int, float, str)) or not each
    items = [as_text(value)] if single else list(value)  # type: ignore[arg-type] # not single: a sequence
    return [fill(template, {**given, "value": item}) for item in items for template in templates]


def _add(files: dict[str, Any], path: str, body: Any, source: str) -> None:
    old = files.get(path, {} if isinstance(body, Mapping) else "")
    if isinstance(old, str) != isinstance(body, str):
        raise ManifestError(f"{source}: {path} is text in one place and a table in another: make both the same")
    files[path] = old + body if isinstance(body, str) else merge(old, body)


def _meta(path: str, name: str, value: Value, config: Config) -> dict[str, Any]:
    if not path:
        return {"conformance": {"config": _share(name, config_to_json(config))}}
    body: Any = list(value) if isinstance(value, tuple) else value
    for step in reversed(path.split(".")):
        body = {step: body}
    return dict(body)


def _share(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a session configuration that says this one setting."""
    if name in body:
        return {name: body[name]}
    compaction = {"compact_at": ("compaction", "at"), "keep_last": ("compaction", "keep_last")}
    group, key = compaction.get(name, ("limits", name))
    return {group: {key: body[group][key]}}


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body, indent=2) + "\n"
