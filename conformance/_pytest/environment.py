"""What the report says of where and how a run was made: enough to make it again."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

from conformance._pytest.options import Options
from conformance.contract.errors import ConformanceError
from conformance.resolve import ManifestPlug, resolve


def environment(config: pytest.Config, options: Options) -> dict[str, str]:
    """Versions, options, the adapter's digest, containment, and the command line that repeats the run."""
    workers = str(config.getoption("numprocesses", None) or 0)
    xdist = {"xdist": _version("pytest-xdist")} if workers != "0" else {}
    return {
        "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(), "pytest": pytest.__version__, "hypothesis": _version("hypothesis"), **xdist,
        "containment": _containment(), "profile": options.profile, "asked": options.harness,
        "selected": str(config.getoption("keyword", "")), "workers": workers,
        "adapter_sha256": _digest(options.harness, config.rootpath), "command": _command(config, options, workers),
    }  # fmt: skip


def _command(config: pytest.Config, options: Options, workers: str) -> str:
    words = ["pytest", f"--harness={options.harness}", f"--conformance-profile={options.profile}"]
    words += ["--as-installed"] if options.installed else []
    words += [f"--profile-claim={options.claim}"] if options.claim else []
    words += ["-k", str(keyword)] if (keyword := config.getoption("keyword", "")) else []
    words += [f"-n{workers}"] if workers != "0" else []
    seed = config.getoption("hypothesis_seed", None)
    return shlex.join([*words, *([] if seed is None else [f"--hypothesis-seed={seed}"])])


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def _containment() -> str:
    from conformance.bench.containment import available  # noqa: PLC0415  the bench is loaded when it is needed

    if not available():
        return "off"
    done = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "bubblewrap"


def _digest(harness: str, rootdir: Path) -> str:
    """SHA-256 of the adapter's file; of the command where that is all there is; "" if it cannot be found."""
    try:
        plug = resolve(harness, rootdir)
    except ConformanceError:
        return ""
    path = plug.path
    if path is None and isinstance(plug, ManifestPlug):
        return hashlib.sha256(harness.encode()).hexdigest()
    path = path or _of_class(plug.where if not isinstance(plug, ManifestPlug) else "")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""


def _of_class(where: str) -> Path | None:
    """The file of module:Class, which is found without being run."""
    try:
        spec = find_spec(where.partition(":")[0])
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None
