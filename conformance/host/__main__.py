"""Command line of the host: `serve` one life, or be a `zygote` that preloads once and forks lives.

    __main__.py serve  --adapter PATH.py[:CLASS] | MODULE:CLASS  [--path FOLDER]...
    __main__.py zygote --adapter ... | --entry MODULE:FUNCTION [--preload MODULE:FUNCTION]  [--path FOLDER]...

`--path` puts folders in front of `sys.path`. Exit code 2: the command line or the adapter is wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path


def expose_package() -> None:
    """Make `conformance` importable from its own folder alone.

    The folder above may be the suite's site-packages, with other versions of what the harness needs: it
    must not come onto `sys.path`, nor may this folder, whose file names could hide the harness's modules.
    """
    if "conformance" in sys.modules:
        return
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    root = here.parent
    spec = importlib.util.spec_from_file_location(
        "conformance", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"host: cannot load the package in {root}")
    sys.modules["conformance"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    top = argparse.ArgumentParser(prog="host", description="Serve an adapter over ACP, or fork lives of a harness.")
    modes = top.add_subparsers(dest="mode", required=True)
    serve = modes.add_parser("serve", help="serve an Adapter as an ACP agent on stdin and stdout")
    serve.add_argument("--adapter", required=True, metavar="PATH_OR_MODULE:CLASS")
    zygote = modes.add_parser("zygote", help="preload once, then fork lives on command")
    what = zygote.add_mutually_exclusive_group(required=True)
    what.add_argument("--adapter", metavar="PATH_OR_MODULE:CLASS")
    what.add_argument("--entry", metavar="MODULE:FUNCTION")
    zygote.add_argument("--preload", metavar="MODULE:FUNCTION", help="called once with a dict of the Setup fields")
    for mode in (serve, zygote):
        mode.add_argument("--path", action="append", default=[], metavar="FOLDER")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one mode to its end; return the exit code."""
    options = parser().parse_args(arguments)
    expose_package()
    from conformance.contract.errors import ConformanceError  # noqa: PLC0415 - importable only now
    from conformance.host import programs, zygote  # noqa: PLC0415

    sys.path[:0] = options.path
    try:
        program: programs.Program = (
            programs.AdapterProgram(options.adapter)
            if options.adapter
            else programs.EntryProgram(options.entry, options.preload or "")
        )
        return program.live() if options.mode == "serve" else zygote.Zygote(program).run()
    except ConformanceError as error:
        sys.stderr.write(f"host: {error}\n")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
