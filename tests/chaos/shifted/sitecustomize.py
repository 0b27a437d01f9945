"""Imported by Python itself in a validator's process whose clock a run may set: PYTHONPATH names this folder.

The production code knows nothing of it. The wall clock (`time.time`, `datetime.now`) is off by as many seconds as the file
CHAOS_CLOCK says; the monotonic clock is not, as on a machine whose clock is set.
"""

import datetime as dt
import os
import time

_FILE = os.environ["CHAOS_CLOCK"]
_CHECKED_SECONDS = 0.1
_real_time, _monotonic = time.time, time.monotonic
_real = dt.datetime


class _Offset:
    checked = 0.0
    seconds = 0.0


def _offset() -> float:
    if _monotonic() - _Offset.checked > _CHECKED_SECONDS:
        _Offset.checked = _monotonic()
        with open(_FILE) as file:  # noqa: PTH123 - runs before everything else in the process
            _Offset.seconds = float(file.read() or 0)
    return _Offset.seconds


def _time() -> float:
    return _real_time() + _offset()


def _time_ns() -> int:
    return int(_time() * 1e9)


class _Meta(type):
    # A library's own subclass of it is a class of its own: only this one stands for the real one.
    def __instancecheck__(cls, instance):
        return isinstance(instance, _real) if cls is _Datetime else type.__instancecheck__(cls, instance)

    def __subclasscheck__(cls, subclass):
        return issubclass(subclass, _real) if cls is _Datetime else type.__subclasscheck__(cls, subclass)


class _Datetime(_real, metaclass=_Meta):
    """Makes real ones, so that C code that asks for exactly those is content."""

    def __new__(cls, *arguments, **named):
        return _real(*arguments, **named) if cls is _Datetime else _real.__new__(cls, *arguments, **named)

    @classmethod
    def now(cls, tz=None):
        return (_real if cls is _Datetime else cls).fromtimestamp(_time(), tz)

    @classmethod
    def utcnow(cls):
        return _real.fromtimestamp(_time(), dt.UTC).replace(tzinfo=None)


time.time, time.time_ns = _time, _time_ns
dt.datetime = _Datetime
