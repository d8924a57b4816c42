"""Whether a git repository could make a reading git command run something, or read outside the workspace.

Everything in a repository may have come with it. A command that reads refreshes the index, which runs a hook; looks
into submodules, which have settings of their own; and fetches what a partial clone lacks.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from reference_harness.paths import is_inside

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
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LARGEST = 64 * 1024
_OF_ONE = ("objects", "refs", "commondir")  # one of them beside HEAD, and git may take a folder for a repository
_STORES = ("", "refs", "objects", "objects/pack", "objects/info")
_SUBMODULE = b"\x00\x00\xe0\x00"  # the mode of one in the index


def trap(folder: str, workspace: str) -> str:
    """Why git may do more in this folder than read what is in the workspace (resolved); empty if it does not."""
    here = Path(folder)
    for place in (here, *here.parents):
        marker = place / ".git"
        if os.path.lexists(marker):
            found = "" if is_inside(str(place), workspace) else f"the repository is {place}, outside the workspace"
            return found or (_of_folder(marker) if marker.is_dir() else _of_link(marker, workspace))
        if os.path.lexists(place / "HEAD") and any(os.path.lexists(place / name) for name in _OF_ONE):
            return f"{place} looks like a repository without a working tree"
    return ""


def _of_folder(marker: Path) -> str:
    if marker.is_symlink() or os.path.lexists(marker / "commondir"):
        return f"{marker} stands for a repository elsewhere"
    return _of_settings(marker) or _of_files(marker, marker)


def _of_link(marker: Path, workspace: str) -> str:
    """A worktree or a submodule: its settings are where its `.git` file points to."""
    try:
        target = marker.read_text("utf-8")[:4096].removeprefix("gitdir:").strip()
        own = (marker.parent / target).resolve()
        common = own / "commondir"
        shared = (own / common.read_text("utf-8").strip()).resolve() if common.exists() else own
        at_home = is_inside(str(shared), workspace) or _is_worktree(marker, own, shared)
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        return f"{marker} cannot be followed ({type(error).__name__})"
    if not at_home:
        return f"{marker} stands for the repository {shared}, outside the workspace"
    return _of_settings(shared) or _of_settings(own, required=False) or _of_files(shared, own)


def _is_worktree(marker: Path, own: Path, shared: Path) -> bool:
    """Whether a repository itself says that this is one of its worktrees."""
    return own.parent == shared / "worktrees" and (own / "gitdir").read_text("utf-8").strip() == str(marker)


def _of_files(shared: Path, own: Path) -> str:
    """What is run by the way: a hook, or the settings of a submodule; and what leads to other repositories."""
    if os.path.lexists(hook := shared / "hooks" / "post-index-change"):
        return f"{hook} runs when git refreshes what it knows of the files"
    if any(own.glob("sharedindex.*")):
        return f"{own} has an index in two parts"
    if os.path.lexists(lent := shared / "objects" / "info" / "alternates"):
        return f"{lent} names objects of another repository"
    try:
        links = [path for folder in (own, *(shared / name for name in _STORES)) for path in _links(folder)]
        found = _SUBMODULE in (own / "index").read_bytes()
    except FileNotFoundError:
        found = False
    except OSError as error:
        return f"{own / 'index'} cannot be read ({type(error).__name__})"
    if links:
        return f"{links[0]} is a link"
    return "submodules have settings of their own" if found else ""


def _links(folder: Path) -> list[str]:
    """The links in a folder of a repository: git keeps none there, and follows those that are."""
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_symlink()]
    except FileNotFoundError:
        return []


def _of_settings(folder: Path, *, required: bool = True) -> str:
    for name in ("config", "config.worktree"):
        try:
            text = (folder / name).read_bytes().decode()  # git knows no other end of a line than \n
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
    if _CONTROL.search(text):
        return "a character that is not plain text"
    section = ""
    for line in text.split("\n"):
        bare = line.strip(" \t")
        if found := _SECTION.match(bare):
            section, bare = ".".join(filter(None, (found[1], found[2]))), found[3]
        if not bare or bare.startswith(("#", ";")):
            continue
        key = section + "." + re.split(r"[\s=]", bare, maxsplit=1)[0]
        if not _HARMLESS.fullmatch(key) or bare.startswith("[") or bare.endswith("\\"):  # git goes on after a ]
            return key[:80]
    return ""
