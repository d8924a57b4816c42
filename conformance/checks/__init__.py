"""The checks: one file a primitive; each reads like its requirement."""

from conformance.checks.check import check, examples

__all__ = ["check", "examples"]
