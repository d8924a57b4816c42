"""A home: the folders of one harness over all its lives, and the address by which its requests are known."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.contract.values import Setup

API_KEY = "sk-ant-canary-key-0123456789abcdef"  # a sentinel: ALL-07 looks for it everywhere else


@dataclass
class Home:
    """Folders are fresh and private; `token` stands in the model URL. `used`: sessions opened here."""

    root: Path
    token: str
    port: int
    used: int = 0
    _workspaces: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        for name in ("home", "state", "tmp"):
            (self.root / name).mkdir(parents=True, mode=0o700)
        self.workspace()

    @property
    def model_url(self) -> str:
        """The base URL of the model API for this home."""
        return f"http://127.0.0.1:{self.port}/h/{self.token}"

    def workspace(self) -> Path:
        """A fresh workspace folder."""
        made = self.root / f"ws{next(self._workspaces)}"
        made.mkdir(mode=0o700)
        return made

    def setup(self, dialect: str, model: str) -> Setup:
        """What a life gets."""
        return Setup(
            model_url=self.model_url, api_key=API_KEY, model=model, dialect=dialect,
            home=str(self.root / "home"), workspace=str(self.root / "ws1"), state_dir=str(self.root / "state"),
        )  # fmt: skip

    def base_env(self) -> dict[str, str]:
        """The clean environment of every life: nothing of the suite's own but the search path and the locale."""
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def look(self, root: str, workspace: Path, words: Iterable[str] = ()) -> dict[str, Any]:
        """Digests and modes of all files of the harness ("state") or of a workspace; which of them hold the key.

        `words`: one of each prompt; the files in which one stands are told as `sessions`. An id will not do: caches and
        registers of a harness name sessions too.
        """
        folders = [self.root / "home", self.root / "state"] if root == "state" else [workspace]
        files = [p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()]
        contents = {str(p.relative_to(self.root)): (p.read_bytes(), p.stat().st_mode & 0o777) for p in files}
        return {
            "digests": {n: hashlib.sha256(c).hexdigest() for n, (c, _) in contents.items()},
            "modes": {n: mode for n, (_, mode) in contents.items()},
            "leaks": [n for n, (c, _) in contents.items() if API_KEY.encode() in c],
            "sessions": [n for n, (c, _) in contents.items() if any(word.encode() in c for word in words)],
        }

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.root, ignore_errors=True)
