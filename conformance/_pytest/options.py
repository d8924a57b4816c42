"""What the user asked for, resolved once: harness, report, profile, claim, known failures."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from conformance.contract.errors import ConformanceError
from conformance.report.known import KnownFailure
from conformance.report.known import load as load_known
from conformance.report.writer import TraceStore
from conformance.requirements import table
from conformance.resolve import ManifestPlug, resolve


@dataclass(frozen=True)
class Options:
    """What the user asked for, resolved. `shields`: known failures that have not expired.

    `installed`: as its maker ships it. Known failures are of the configuration claimed for: then a file must be named.
    """

    harness: str
    report: Path
    profile: str
    claim: str
    known: tuple[KnownFailure, ...]
    store: TraceStore
    today: date
    installed: bool = False

    @property
    def words(self) -> str:
        """The harness as the command line names it."""
        return f"--harness={self.harness}" + (" --as-installed" if self.installed else "")

    @property
    def shields(self) -> frozenset[str]:
        """Ids of the rows whose failure does not fail the session."""
        return frozenset(k.id for k in self.known if k.shields(self.today))


def options_of(config: pytest.Config) -> Options:
    """The options of a run. Raises pytest.UsageError for those that cannot be met."""
    harness = config.getoption("conformance_harness")
    given = getattr(config, "workerinput", {}).get("conformance_store")
    store = Path(given) if given else _new_store()
    report = Path(config.invocation_params.dir, config.getoption("conformance_report"))
    try:
        known = tuple(_known(config, _beside(config, harness)))
    except ConformanceError as bad:
        raise pytest.UsageError(str(bad)) from bad
    return Options(
        harness, report, config.getoption("conformance_profile") or _profile(harness, config.rootpath),
        config.getoption("profile_claim"),
        known, TraceStore(store), date.today(),  # noqa: DTZ011  the day of expiry is one of the user's calendar
        config.getoption("conformance_installed"),
    )  # fmt: skip


def _new_store() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="conformance-"))
    except OSError as bad:
        raise pytest.UsageError(f"no folder for traces could be made: {bad}; make room, or set TMPDIR") from None


def _beside(config: pytest.Config, harness: str) -> list[Path]:
    """Where known failures may stand: beside the adapter, else in the project. Raises if the name is nothing."""
    path = None if config.getoption("conformance_checks") else resolve(harness, config.rootpath).path
    names = [f"known-failures-{path.stem}.toml", "known-failures.toml"] if path else ["known-failures.toml"]
    return [(path.parent if path else config.rootpath) / name for name in names]


def _profile(harness: str, rootdir: Path) -> str:
    """What the adapter asks for; a name that cannot be resolved is told when the harness is opened."""
    try:
        plug = resolve(harness, rootdir)
    except ConformanceError:
        return "default"
    return plug.manifest.profile if isinstance(plug, ManifestPlug) else "default"


def _known(config: pytest.Config, places: list[Path]) -> list[KnownFailure]:
    ids = table().rows
    if given := config.getoption("known_failures"):
        return load_known(Path(config.invocation_params.dir, given), ids)
    if config.getoption("conformance_installed"):
        return []
    return next((load_known(file, ids) for file in places if file.is_file()), [])
