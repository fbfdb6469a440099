"""Dates as the index keeps them: whole milliseconds since 1970-01-01T00:00Z."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY = 86_400_000
_MILLISECOND = timedelta(milliseconds=1)
_OLDEST = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z
_NEWEST = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

#: What counts as a date in text: ISO 8601, a day alone or a day with a time of day.
DATE_PATTERN = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_DATE = re.compile(DATE_PATTERN)


def date_from_text(text: str) -> int | None:
    """Return the milliseconds of an ISO 8601 date or datetime, or None if it is not one.

    A day alone is its midnight, a time without offset is UTC; finer than a millisecond is cut.

    >>> date_from_text("1970-01-02"), date_from_text("1970-01-01T02:00:01+02:00")
    (86400000, 1000)
    """
    if len(text) < 10 or text[4] != "-" or _DATE.fullmatch(text) is None:
        return None
    try:
        if len(text) == 10:
            return (date.fromisoformat(text).toordinal() - _EPOCH_DAY) * _DAY
        if text[11:13] == "24":  # newer Pythons read this as the next midnight, older refuse it
            return None
        return date_from_datetime(datetime.fromisoformat(text))
    except ValueError:
        return None


def date_from_datetime(value: date) -> int | None:
    """Return the milliseconds of a date or datetime, or None outside the years 1 to 9999 UTC.

    >>> date_from_datetime(date(1970, 1, 2))
    86400000
    """
    if not isinstance(value, datetime):
        return (value.toordinal() - _EPOCH_DAY) * _DAY
    moment = value if value.utcoffset() is not None else value.replace(tzinfo=UTC)
    millis = (moment - _EPOCH) // _MILLISECOND
    return millis if _OLDEST <= millis <= _NEWEST else None


def datetime_from_millis(millis: int) -> datetime:
    """Return the UTC datetime of a stored date.

    >>> datetime_from_millis(86_400_000).isoformat()
    '1970-01-02T00:00:00+00:00'
    """
    return _EPOCH + timedelta(milliseconds=millis)


def text_from_datetime(value: date) -> str | None:
    """Return the shortest ISO text in UTC of a date or datetime; None outside years 1 to 9999.

    >>> text_from_datetime(datetime(2020, 1, 31)), text_from_datetime(datetime(2020, 1, 31, 10))
    ('2020-01-31', '2020-01-31T10:00:00Z')
    """
    millis = date_from_datetime(value)
    if millis is None:
        return None
    moment = datetime_from_millis(millis).replace(tzinfo=None)
    if millis % _DAY == 0:
        return moment.date().isoformat()
    return moment.isoformat(timespec="milliseconds" if millis % 1000 else "seconds") + "Z"
