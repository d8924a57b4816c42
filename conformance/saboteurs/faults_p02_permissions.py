"""Faults of primitive 2: permissions that are asked for and not kept."""

from __future__ import annotations

from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.saboteur import saboteur
