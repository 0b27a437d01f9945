"""What a broken change stream means: go on from where it was read, or admit that history is lost."""

from enum import StrEnum

from bson.errors import BSONError
from pymongo.errors import OperationFailure, PyMongoError


class StreamFault(StrEnum):
    """``AGAIN``: nothing is lost, reopen from the tracked token. ``LOST``: new token, scan, go on. ``OURS``: an error that no
    server is known to send, so a bug of ours or an answer that nobody foresaw: as ``LOST``, for no event can be trusted to have
    been passed on."""

    AGAIN = "again"
    LOST = "lost"
    OURS = "ours"


class StreamInvalidatedError(RuntimeError):
    """The server ended the stream for good: the database was dropped or renamed."""


LOST_CODES = frozenset(
    {
        136,  # CappedPositionLost: the stream was left unread for too long
        260,  # InvalidResumeToken
        280,  # ChangeStreamFatalError
        286,  # ChangeStreamHistoryLost: the oplog has rolled over
        10334,  # BSONObjectTooLarge: one event does not fit into a message, and never will
    }
)
_ACCESS_CODES = frozenset({13, 18})  # Unauthorized, AuthenticationFailed: no new token cures these
_FATAL_LABEL = "NonResumableChangeStreamError"
_TRIES_FROM_TOKEN = 5  # a token that the server itself has refused so often in a row is worth nothing


def classify(error: Exception, tries: int) -> StreamFault:
    """What to do after ``error``, the ``tries``-th failure in a row without progress.

    Interruption (11601: an operator's killOp, a shutdown) loses nothing: the tracked token still holds.
    """
    if isinstance(error, StreamInvalidatedError | BSONError):
        return StreamFault.LOST
    if isinstance(error, OperationFailure):
        if error.code in LOST_CODES or error.has_error_label(_FATAL_LABEL):
            return StreamFault.LOST
        if tries >= _TRIES_FROM_TOKEN and error.code not in _ACCESS_CODES:
            return StreamFault.LOST
        return StreamFault.AGAIN
    if isinstance(error, PyMongoError | TimeoutError | OSError):
        return StreamFault.AGAIN
    return StreamFault.OURS
