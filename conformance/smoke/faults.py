"""What went wrong, in one message: what happened, where it is set (file and key, or method), what to do about it."""

from __future__ import annotations

import re
import textwrap

from conformance.contract.errors import ConformanceError, ManifestError
from conformance.resolve import AdapterPlug, ManifestPlug, Plug

WIDTH = 110
# step -> (what could not be done, key of a manifest, method of an adapter, remedy for the one, for the other)
STEPS = {
    "environment": (
        "its environment could not be made", "install", "the block `# /// script`",
        "Check the names and versions there, and that the package index can be reached.",
        "Check the dependencies there, and that the package index can be reached.",
    ),
    "start": (
        "it did not start", "command", "`preload` and `start`",
        ("Run the command by hand: it must answer ACP's `initialize` (protocol version 1) on stdout, and write nothing "
        "else there. If it needs a setting first, add it under [env] or [files]."),
        "Run the file by hand (python FILE) to see whether it can be imported; `preload` and `start` must return.",
    ),
    "session": (
        "it opened no session", "command", "`new_session`",
        ("It must answer session/new with a sessionId. Does it take MCP servers of the kind given? ([tools] door = "
        '"stdio" or "http".) Does it want to be authenticated first? ([auth] method.)'),
        "`new_session` must return a string that is new each time.",
    ),
    "prompt": (
        "a prompt to it does not come to a good end", "env", "`prompt`",
        ("Check that the variables which name the model's address and key are the ones that this harness reads: "
        "{model_url} and {api_key} belong there."),
        "`prompt` must send its model requests to session.model_url and return a Stop.",
    ),
    "probes": (
        "it stopped answering", "patience", "`patience`",
        "If it is only slow, give it more time: --seconds.", "If it is only slow, give it more time: --seconds.",
    ),
}  # fmt: skip
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?P<frames>(?:[ \t]+.*\n)*)(?P<error>[^\n]*)")
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
ABSTRACT = re.compile(r"NotImplementedError")
NOISE = re.compile(r"preload failed in the harness's own process: |AdapterError: |^RpcError: ", re.MULTILINE)


def told(name: str, step: str, plug: Plug | None, error: ConformanceError) -> str:
    """Return the message, a few lines."""
    if step == "resolve" or isinstance(error, ManifestError):
        return _folded(f"conformance smoke: {error}")
    what, key, method, for_manifest, for_adapter = STEPS[step]
    python = isinstance(plug, AdapterPlug)
    where = f"{plug.where}: {method}" if isinstance(plug, AdapterPlug) else f"{_file(plug) or name}: key `{key}`"
    reason = condensed(str(error))
    remedy = for_adapter if python else for_manifest
    if python and ABSTRACT.search(reason):
        required = "`new_session`" if step == "session" else "`prompt`" if step == "prompt" else "a method"
        reason = f"{required} is not there: Adapter declares it, and this class does not override it"
        remedy = "Override it: `new_session` and `prompt` are the two methods that every adapter needs."
    if "protocol version" in reason:
        remedy = "Start it in its mode for ACP version 1, or pin a version of it that has one."
    if "was not found" in reason:
        remedy = ""
    lines = [f"conformance smoke: {name} could not be driven: {what}", f"  what   {reason}", f"  where  {where}"]
    return _folded("\n".join([*lines, *([f"  do     {remedy}"] if remedy else [])]))


def condensed(text: str) -> str:
    """Put each Python traceback in a text into one line: the error, and the last place that is named."""
    text = TRACEBACK.sub(lambda m: f"{m['error']}{_place(m['frames'])}", text)
    text = NOISE.sub("", text)
    first, *rest = (line.strip() for line in text.splitlines() if line.strip())
    return " | ".join([first, *(line for line in rest if line not in first)])


def _place(frames: str) -> str:
    found = FRAME.findall(frames)
    return f" ({found[-1][0]}, line {found[-1][1]})" if found else ""


def _file(plug: Plug | None) -> str:
    return plug.manifest.source if isinstance(plug, ManifestPlug) else ""


def _folded(text: str) -> str:
    folded = [
        textwrap.wrap(line, WIDTH, subsequent_indent="         ", break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    ]
    return "\n".join(line for lines in folded for line in lines)
