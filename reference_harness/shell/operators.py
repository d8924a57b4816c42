"""The words of `test` and `[`: a word that is not known before it runs may become an operator.

`-v` evaluates what stands in the brackets of its operand, and so runs what is substituted there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reference_harness.shell.words import Word

_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'", re.DOTALL)
_SEVERAL = re.compile(r"[$`*?\[{~@]")
UNSURE = "a test that evaluates, or with an operator that is not known before it runs"
_EVALUATE = ("-v", "-R")
_ONE_WORD = ("$?", "$#", "$$", "$!")


def unsure(words: Sequence[Word]) -> bool:
    """Whether it evaluates what it is given, or an operator of it is not known before it runs."""
    said = [word for word in words if word.text != "]"]
    if any(word.text in _EVALUATE for word in said):
        return True
    known = [word.text is not None and not word.glob for word in said]
    if all(known):
        return False
    if not all(sure or _is_one(word) for sure, word in zip(known, said, strict=True)):
        return True
    negated = len(said) == 4 and said[0].text == "!"
    where = {1: None, 2: 0, 3: 1, 4: 2 if negated else -1}.get(len(said), -1)
    return where is not None and (where < 0 or not known[where])


def _is_one(word: Word) -> bool:
    """Whether an unknown word stays one word, whatever it is."""
    quoted = "".join(_QUOTED.findall(word.raw))
    return word.raw in _ONE_WORD or not (word.glob or "@" in quoted or _SEVERAL.search(_QUOTED.sub("", word.raw)))
