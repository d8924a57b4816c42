"""Times as people write them: 2h, 3d, 90s, 2h30m, today, yesterday, 2026-11-25, 2026-11-25T10:30, 10:30."""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def duration(text: str) -> float:
    """Seconds: "90", "90s", "2h30m"."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _SPAN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time: write 90s, 30m, 2h, 3d or 1w")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def moment(text: str) -> float:
    """Seconds since the epoch: a span counts back from now; days and hours are local time."""
    if _SPAN.fullmatch(text):
        return time.time() - duration(text)
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return float(text)
    today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"today": today, "yesterday": today - timedelta(days=1), "now": datetime.now().astimezone()}
    if found := days.get(text):
        return found.timestamp()
    return _date(text, today)


def _date(text: str, today: datetime) -> float:
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
        text = f"{today.date().isoformat()}T{text.zfill(5)}"
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write 2h, 3d, today, 10:30, 2026-11-25 or 2026-11-25T10:30"
        ) from None


def shown(at: float) -> str:
    """A time for a person, local, to the second."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
