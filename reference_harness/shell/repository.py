"""Whether a git repository could make a reading git command run something: by its settings, hooks, or by being a trap.

Everything in a repository may have come with it. A command that reads refreshes the index, which runs a hook; looks
into submodules, which have settings of their own; and fetches what a partial clone lacks.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_HARMLESS = re.compile(
    r"""(?ix) core \. (?:repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks
        |autocrlf|eol|safecrlf|quotepath|abbrev|sparsecheckout|sparsecheckoutcone)
    | (?:branch|user|init|push|fetch|color|gui|advice|rerere|column|index|maintenance) \. .*
    | remote \. .* \. (?:url|pushurl|fetch|push|mirror|prune|prunetags|tagopt
        |skipfetchall|skipdefaultupdate|followremotehead)
    | submodule \. .* \. (?:url|active|branch|path) | pull \. (?:rebase|ff)
    | extensions \. (?:worktreeconfig|objectformat) """
)
_SECTION = re.compile(r'\[\s*([\w.-]+)\s*(?:"((?:[^"\\]|\\.)*)")?\s*\]\s*(.*)')
_LARGEST = 64 * 1024
_SUBMODULE = b"\x00\x00\xe0\x00"  # the mode of one in the index


def trap(folder: str) -> str:
    """Why git may do more than read in this folder; empty if it does not."""
    here = Path(folder)
    for place in (here, *here.parents):
        marker = place / ".git"
        if marker.is_dir():
            return _of_settings(marker) or _of_files(marker, marker)
        if os.path.lexists(marker):
            return _of_link(marker)
        if (place / "HEAD").exists() and (place / "objects").exists() and (place / "refs").exists():
            return f"{place} looks like a repository without a working tree"
    return ""


def _of_link(marker: Path) -> str:
    """A worktree or a submodule: its settings are where its `.git` file points to."""
    try:
        target = marker.read_text("utf-8")[:4096].removeprefix("gitdir:").strip()
        own = (marker.parent / target).resolve()
        common = own / "commondir"
        shared = (own / common.read_text("utf-8").strip()).resolve() if common.exists() else own
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        return f"{marker} cannot be followed ({type(error).__name__})"
    return _of_settings(shared) or _of_settings(own, required=False) or _of_files(shared, own)


def _of_files(shared: Path, own: Path) -> str:
    """What is run by the way: a hook, or the settings of a submodule."""
    if os.path.lexists(hook := shared / "hooks" / "post-index-change"):
        return f"{hook} runs when git refreshes what it knows of the files"
    if any(own.glob("sharedindex.*")):
        return f"{own} has an index in two parts"
    try:
        found = _SUBMODULE in (own / "index").read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{own / 'index'} cannot be read ({type(error).__name__})"
    return "submodules have settings of their own" if found else ""


def _of_settings(folder: Path, *, required: bool = True) -> str:
    for name in ("config", "config.worktree"):
        try:
            text = (folder / name).read_text("utf-8")
        except FileNotFoundError:
            if required and name == "config":
                return f"{folder} has no settings"
            continue
        except (OSError, UnicodeDecodeError) as error:
            return f"{folder / name} cannot be read ({type(error).__name__})"
        if found := _strange(text):
            return f"{folder / name} sets {found}"
    return ""


def _strange(text: str) -> str:
    """The first setting that is not known to be harmless."""
    if len(text) > _LARGEST:
        return "too much to read"
    section = ""
    for line in text.splitlines():
        bare = line.strip()
        if found := _SECTION.match(bare):
            section, bare = ".".join(filter(None, (found[1], found[2]))), found[3].strip()
        if not bare or bare.startswith(("#", ";")):
            continue
        key = section + "." + re.split(r"[\s=]", bare, maxsplit=1)[0]
        if not _HARMLESS.fullmatch(key) or bare.endswith("\\"):
            return key[:80]
    return ""
