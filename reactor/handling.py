"""The engine's view of a handler: its causes and outcomes instead of the flows' own. Only `validator` uses this."""

from collections.abc import Hashable
from dataclasses import replace
from typing import Final

from bson import ObjectId

from reactor.engine.dispatcher import Handler as EngineHandler
from reactor.engine.keys import DONE, Cause, Outcome, Waiting
from reactor.engine.keys import Wake as EngineWake
from reactor.flows.decisions import Wait
from reactor.handlers.agreement import agreed
from reactor.handlers.mint import MintHandler
from reactor.handlers.payout import PayoutHandler
from reactor.handlers.request import Result

Handler = MintHandler | PayoutHandler

_SHOWN: Final = frozenset({Cause.HEAD, Cause.SWEEP})
_RUNG: Final = frozenset({Cause.CHANGE, Cause.TIMER})


def handling(handler: Handler) -> EngineHandler:
    """What the dispatcher calls for each document of this handler's collection."""

    async def handle(document_id: Hashable, cause: Cause) -> Outcome:
        assert isinstance(document_id, ObjectId)
        shown = cause in _SHOWN
        handled = handler.handle(document_id, shown=shown, rung=cause in _RUNG, written=cause is Cause.CHANGE)
        return _outcome(await agreed(handler, document_id, handled, shown=shown))

    return handle


def _outcome(result: Result) -> Outcome:
    """A flow's wait in the engine's words."""
    if not isinstance(result, Wait):
        return DONE
    wake = result.wake
    again = EngineWake(heads=frozenset(wake.heads), after=wake.after, rings=max(1, wake.rings))
    return Waiting(result.reason.value, result.params, again if wake.settle is None else replace(again, settle=wake.settle))
