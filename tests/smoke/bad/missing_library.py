"""An adapter that needs what is not installed."""

import no_such_library  # noqa: F401

from conformance.contract import Adapter


class Example(Adapter):
    pass
