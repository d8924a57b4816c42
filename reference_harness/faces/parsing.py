"""The parser of the command line: a word that it does not know is told with the near one that it does."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NoReturn

from reference_harness.errors import UsageFault, near

_OPTION = re.compile(r"(--?[^\W\d][^\s=]*)(=.*)?", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Raises UsageFault for wrong use, in place of argparse's own way out."""

    def error(self, message: str) -> NoReturn:
        """What is wrong, and where the help is."""
        raise UsageFault(f"{message.removeprefix('argument ')} (see `{self.prog} --help`)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Called by argparse: whether a word is one of the choices."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"{str(value)[:64]!r} is none: {near(str(value), action.choices)}")

    def commands(self) -> dict[str, Parser]:
        """The parsers of its commands, by name."""
        found: Any = next((action.choices for action in self._actions if action.dest == "command"), {})
        return dict(found)

    def check_options(self, words: Sequence[str]) -> None:
        """Raise UsageFault for an option that is none; argparse tells first of the words that it misses."""
        known = [name for action in self._actions for name in action.option_strings]
        for word in takewhile(lambda word: word != "--", words):
            if (option := _OPTION.fullmatch(word)) and option[1] not in known:
                told = near(option[1], known, f"`{self.prog} --help` lists them")
                raise UsageFault(f"there is no option {option[1][:64]!r} of `{self.prog}`: {told}")

    def leftover(self, word: str) -> UsageFault:
        """The error for a word that nothing took."""
        takes = any(not action.option_strings for action in self._actions)
        hint = ". Put what is one text into quotes" if takes else ""
        return UsageFault(f"`{self.prog}` takes no more words: {word[:64]!r} is one too many{hint}")
