"""Cassettes: recorded model traffic in the format of vcrpy, played to any harness, in any process, over the wire.

`cassette` reads a file, `story` says when two requests are the same conversation, `player` plays, `record` records
from the scripted model or from a real provider, `write` scrubs and writes through vcrpy's own serializer.
"""

from conformance.bench.tapes.cassette import Cassette, Interaction, Provenance, read
from conformance.bench.tapes.player import Tape, tape
from conformance.bench.tapes.record import Live, Recording, Upstream

__all__ = ["Cassette", "Interaction", "Live", "Provenance", "Recording", "Tape", "Upstream", "read", "tape"]
