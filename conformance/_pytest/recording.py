"""`--record`: sessions are put on cassette, from the scripted model or from a provider that the user named."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from conformance import __version__
from conformance.bench.homes import API_KEY
from conformance.bench.script import Script
from conformance.bench.tapes import Interaction, Live, Provenance, Recording, Upstream
from conformance.bench.tapes.write import EXTRA, write
from conformance.requirements import table

KEY = "ANTHROPIC_API_KEY"
PLUGIN = "conformance-recorder"
ORIGIN = "http://scripted-model.invalid"  # no host that could be taken for a provider's


@dataclass
class Recorder:
    """Where cassettes go, and from whom they come; `upstream` None: from the scripted model."""

    folder: Path
    upstream: Upstream | None = None
    written: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether a real provider is recorded."""
        return self.upstream is not None

    def source(self, script: Script) -> Recording | Live:
        """What a session is played from while it is recorded."""
        return Live(self.upstream) if self.upstream else Recording(script)

    def write(self, world: Any, name: str, interactions: Sequence[Interaction],
              holds: Sequence[Mapping[str, Any]]) -> None:  # fmt: skip
        """Write one cassette, with its provenance."""
        asked = world.model.dialect.read(interactions[0].request)
        given = Provenance(
            source=self._source(), recorded=date.today().isoformat(),  # noqa: DTZ011  the user's day
            dialect=world.model.dialect.name, model=str(asked.body.get("model", "unknown")),
            harness=f"{world.harness.name} {world.harness.version}",
            suite=f"harness-conformance {__version__}, revision {table().revision}",
            roles=[one.role for one in interactions], holds=holds,
        )  # fmt: skip
        path = self.folder / f"{name}.yaml"
        write(path, interactions, given, origin=self._origin(), places=[str(world.root)],
              secrets=[API_KEY, *([self.upstream.key] if self.upstream else [])])  # fmt: skip
        self.written.append(str(path))

    def _source(self) -> str:
        if self.upstream:
            return f"the model API at {self.upstream.url}"
        return f"the scripted model of harness-conformance {__version__}, revision {table().revision}; no real API"

    def _origin(self) -> str:
        if self.upstream is None:
            return ORIGIN
        parts = urlsplit(self.upstream.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"

    # --- pytest

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Name the files."""
        terminalreporter.section("cassettes")
        for path in self.written or ["none was written"]:
            terminalreporter.line(path)


@pytest.fixture(scope="session")
def recording(request: pytest.FixtureRequest) -> Recorder:
    """For the items that record."""
    found: Recorder = request.config.pluginmanager.getplugin(PLUGIN)
    return found


def recorder(config: pytest.Config) -> Recorder:
    """From the options. Raises UsageError: vcrpy is missing, or a provider was named and there is no key for it."""
    if find_spec("vcr") is None:
        raise pytest.UsageError(f"--record: cassettes are written by vcrpy, which is missing: pip install '{EXTRA}'")
    folder = Path(config.invocation_params.dir, config.getoption("conformance_cassettes") or "cassettes")
    url = config.getoption("record_from")
    if not url:
        return Recorder(folder)
    key = os.environ.get(KEY, "")
    if not key:
        raise pytest.UsageError(f"--record-from {url} asks a real provider: set {KEY}; the key is sent there only")
    return Recorder(folder, Upstream(url, key))
