"""What a run needs before anything is collected: paths, Hypothesis, the parts of the plugin."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from conformance._pytest.options import Options, options_of

EXAMPLES = {"quick": 5, "default": 12, "thorough": 100, "unshrunk": 12}
PATTERN = "test_conformance_*.py"
RECORDING = "record_cassettes.py"


def start(config: pytest.Config) -> None:
    """Take over the session. Raises pytest.UsageError for options that cannot be met."""
    from conformance._pytest import allure, fixtures  # noqa: PLC0415  it would be imported before it is rewritten
    from conformance._pytest.controller import Controller  # noqa: PLC0415
    from conformance._pytest.endings import Endings  # noqa: PLC0415
    from conformance._pytest.items import Items  # noqa: PLC0415

    options = options_of(config)
    config.addinivalue_line("markers", "check(*ids): the requirements that a check stands for")
    config.addinivalue_line("filterwarnings", "default")  # after the user's own lines, so that it goes before them
    pytest.register_assert_rewrite("conformance.checks", "conformance.invariants")
    if config.getoption("conformance_record"):
        _record(config)
    elif config.args_source is not pytest.Config.ArgsSource.ARGS:
        _take_over(config)
    _hypothesis(config, options)
    allure.take_over(config)
    worker = hasattr(config, "workerinput")
    endings = Endings(options.store.folder, worker=worker)
    endings.install()
    config.pluginmanager.register(fixtures, "conformance-fixtures")
    config.pluginmanager.register(Items(options, worker=worker), "conformance-items")
    if not worker:
        config.pluginmanager.register(Controller(config, options, endings), "conformance-controller")
    config.pluginmanager.register(endings, "conformance-endings")  # last, so that it is called first


def checks_folder(config: pytest.Config) -> Path:
    """Where the checks lie: inside the package, unless told otherwise."""
    if given := config.getoption("conformance_checks"):
        return Path(config.invocation_params.dir, given)
    spec = find_spec("conformance.checks")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise pytest.UsageError("the package conformance.checks is not installed: install harness-conformance again")
    return Path(folders[0])


def _record(config: pytest.Config) -> None:
    """Collect what records cassettes in place of the checks."""
    from conformance._pytest import recording  # noqa: PLC0415  nobody else needs it

    config.pluginmanager.register(recording, "conformance-recording")
    config.pluginmanager.register(recording.recorder(config), recording.PLUGIN)
    _take_over(config)
    config.args[:] = [str(checks_folder(config) / RECORDING)]
    config.addinivalue_line("python_files", RECORDING)


def _take_over(config: pytest.Config) -> None:
    """Collect the checks in place of the user's tests, whatever the user's settings say."""
    folder = checks_folder(config)
    if not any(folder.glob(PATTERN)):
        raise pytest.UsageError(f"there are no checks in {folder}")
    config.args[:] = [str(folder)]
    config.addinivalue_line("python_files", PATTERN)
    config.addinivalue_line("python_functions", "test")
    config.getini("usefixtures").clear()
    config.pluginmanager.register(_NeverIgnore(folder), "conformance-collection")


class _NeverIgnore:
    """The checks often lie in an environment inside the user's project, which pytest would pass over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Keep the checks and the folders above them."""
        inside = self.folder in collection_path.parents or collection_path in (self.folder, *self.folder.parents)
        return False if inside and collection_path.name != "__pycache__" else None


def _hypothesis(config: pytest.Config, options: Options) -> None:
    """Derandomise, so that ten runs give ten equal reports. A profile the user named goes first."""
    import hypothesis  # noqa: PLC0415  0.3 s
    from hypothesis.configuration import set_hypothesis_home_dir  # noqa: PLC0415

    set_hypothesis_home_dir(_cache() / "hypothesis")
    every = tuple(hypothesis.Phase)
    for name, examples in EXAMPLES.items():
        hypothesis.settings.register_profile(
            f"conformance-{name}", max_examples=examples, derandomize=True, database=None, deadline=None,
            report_multiple_bugs=False, print_blob=True, suppress_health_check=list(hypothesis.HealthCheck),
            phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate) if name == "unshrunk" else every,
        )  # fmt: skip
    if not config.getoption("hypothesis_profile", None):
        hypothesis.settings.load_profile(f"conformance-{options.profile}")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "harness-conformance"
