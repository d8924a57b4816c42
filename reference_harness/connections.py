"""The tool sources of one session: opened, listed again when one says that its tools changed, left out when it is gone.

What a source lists is on record each time, so a tool that is no longer what it was is asked about again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from reference_harness.records import SourceFailed, ToolNote, ToolsRegistered

if TYPE_CHECKING:
    from reference_harness.session import Session
    from reference_harness.sources import Changing, ToolSource


async def open_all(session: Session) -> None:
    """Open the sources and register what they list; what fails is on record and left out."""
    sources = session.connections.values()
    await asyncio.gather(*(source.open() for source in sources))
    for source in sources:
        if source.lost is not None:
            session.journal.note(SourceFailed(source.name, source.lost))
            continue
        for raw in source.listing:
            session.registry.add(raw, source.source)
    _note(session)


async def follow(session: Session) -> None:
    """List again what says that it changed. Costs nothing where nothing did."""
    for source in session.connections.values():
        if getattr(source, "stale", False):
            await _again(session, cast("Changing", source))


async def _again(session: Session, source: Changing) -> None:
    before = source.listing
    await source.relist()
    *_, top = session.line()  # it is the one that the sources are connected to
    if source.lost is not None:
        drop(session, source)
    elif source.listing != before:
        top.registry.replace(source.listing, source.source)
        _note(top)
        _assemble(session)


def drop(session: Session, source: ToolSource) -> None:
    """Leave out the tools of a source that is gone."""
    session.journal.note(SourceFailed(source.name, source.lost or ""))
    session.registry.drop(source.name)
    _assemble(session)


def _assemble(session: Session) -> None:
    """Each session up the line works with these tools."""
    for one in session.line():
        one.assemble_pool()


def _note(session: Session) -> None:
    notes = (
        ToolNote(t.name, t.source.name, t.risk, t.digest, t.source.tier, t.paths) for t in session.registry.tools()
    )
    session.journal.note(ToolsRegistered(tuple(notes)))
