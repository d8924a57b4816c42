"""What went wrong, in one message: what happened, where it is set (file and key, or method), what to do about it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from conformance.contract.errors import ConformanceError, ManifestError
from conformance.resolve import AdapterPlug, ManifestPlug, Plug

WIDTH = 110


@dataclass(frozen=True)
class Step:
    """What could not be done. `key`: of a manifest; `method`: of an adapter; and what to do about each."""

    what: str
    key: str
    method: str
    for_manifest: str
    for_adapter: str


STEPS = {
    "environment": Step(
        "its environment could not be made",
        "install",
        "the block `# /// script`",
        "Check the names and versions there, and that the package index can be reached.",
        "Check the dependencies there, and that the package index can be reached.",
    ),
    "start": Step(
        "it did not start",
        "command",
        "`preload` and `start`",
        "Run the command by hand: it must answer ACP's `initialize` (protocol version 1) on stdout, and write nothing "
        "else there. If it needs a setting first, add it under [env] or [files].",
        "Mend what raises there; both must return, `preload` with no thread left behind.",
    ),
    "session": Step(
        "it opened no session",
        "command",
        "`new_session`",
        "It must answer session/new with a sessionId. Does it take MCP servers of the kind given? ([tools] door = "
        '"stdio" or "http".) Does it want to be authenticated first? ([auth] method = "ID".)',
        "It must return a string that is new each time.",
    ),
    "prompt": Step(
        "a prompt does not come to a good end",
        "env",
        "`prompt`",
        "Check that the variables which name the model's address and key are those that this harness reads: "
        "{model_url} and {api_key} belong there. If it is only slow: `patience`, and --seconds.",
        "It must send its model requests to session.model_url and return a Stop. If it is only slow: `patience`, and "
        "--seconds.",
    ),
    "probes": Step(
        "it stopped answering",
        "patience",
        "`patience`",
        "If it is only slow, give it more time: --seconds.",
        "If it is only slow, give it more time: --seconds.",
    ),
}
# pattern of the reason -> what to do; "" = the reason says it. The place is then the whole file.
ANY = {
    r"protocol version": "Start it in its mode for ACP version 1, or pin a version of it that has one.",
    r"was not found|no module named '": "",
}
IN_PYTHON = {
    r"Adapter classes after|is no Adapter": (
        "Write one class there that inherits from conformance.contract.Adapter, or name it: FILE.py:CLASS."
    ),
    r"ModuleNotFoundError|ImportError": (
        "A library that an adapter imports stands in the block `# /// script` at its top, under `dependencies` (PEP "
        "723); a module of your own lies beside the adapter's file."
    ),
    r"SyntaxError|IndentationError": "Mend the line that is named.",
    r"which every adapter needs": "",
}
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?P<frames>(?:[ \t]+.*\n)*)(?P<error>[^\n]*)")
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
OURS = re.compile(r"[/\\]conformance[/\\]host[/\\]|[/\\]asyncio[/\\]|[/\\]importlib[/\\]|<frozen ")
NOISE = re.compile(r"preload failed in the harness's own process: |(?:conformance\.contract\.errors\.)?AdapterError: ")
QUOTE = "; the end of its stderr: "


def told(name: str, step: str, plug: Plug | None, error: ConformanceError) -> str:
    """Return the message, a few lines."""
    if step == "resolve" or isinstance(error, ManifestError):
        return _folded(f"conformance smoke: {error}")
    at, reason = STEPS[step], condensed(str(error))
    python = isinstance(plug, AdapterPlug)
    place = plug.where if isinstance(plug, AdapterPlug) else _file(plug) or name
    where = f"{place}: {at.method}" if python else f"{place}: key `{at.key}`"
    remedy = at.for_adapter if python else at.for_manifest
    known_here = ANY | (IN_PYTHON if python else {})
    known = next((r for pattern, r in known_here.items() if re.search(pattern, reason)), None)
    if known is not None:
        remedy = known
        where = place if python else where
    reason = reason.replace(f"{where}: ", "").replace(f"{place}: ", "")
    lines = [f"conformance smoke: {name} could not be driven: {at.what}", f"  what   {reason}", f"  where  {where}"]
    return _folded("\n".join([*lines, *([f"  do     {remedy}"] if remedy else [])]))


def condensed(text: str) -> str:
    """Put the Python tracebacks of a text into one clause: the error, unless it is named already, and its place."""
    found = list(TRACEBACK.finditer(text))
    if found:
        head, tail, last = text[: found[0].start()].rstrip(), text[found[-1].end() :], found[-1]
        message = last["error"].partition(": ")[2]
        place = _place("".join(m["frames"] for m in found))
        again = bool(message) and message in head
        text = f"{head.removesuffix(QUOTE.rstrip()) if again else f'{head} ' + last['error']}{place}{tail}"
    text = NOISE.sub("", text)
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())


def _place(frames: str) -> str:
    found = [(file, line) for file, line in FRAME.findall(frames) if not OURS.search(file)]
    return f" ({found[-1][0]}, line {found[-1][1]})" if found else ""


def _file(plug: Plug | None) -> str:
    return plug.manifest.source if isinstance(plug, ManifestPlug) else ""


def _folded(text: str) -> str:
    indent = " " * 9
    folded = [
        textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    ]
    return "\n".join(line for lines in folded for line in lines)
