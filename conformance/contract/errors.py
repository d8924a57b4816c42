"""The one family of errors: each message says what happened, where, and what to do next."""


class ConformanceError(Exception):
    """Base of every error this project raises on purpose."""


class ManifestError(ConformanceError):
    """A manifest or adapter file is wrong; the message names file, key and remedy."""


class AdapterError(ConformanceError):
    """An adapter broke the contract: bad return value, unknown posture, method that does not fit."""


class HarnessError(ConformanceError):
    """The harness could not be driven: not found, died at start, answered garbage, never answered."""


class BenchError(ConformanceError):
    """The suite's own fault. Never scored against a harness."""


class CassetteError(ConformanceError):
    """A cassette cannot be read, played or recorded; the message names the file and the remedy."""
