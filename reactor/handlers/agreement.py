"""What becomes of a document when too few of the own endpoints say the same: it waits, and says which ones do not."""

from collections.abc import Awaitable
from typing import Any, Final

from bson import ObjectId

from reactor.chains.errors import NotAgreed
from reactor.documents.reasons import WaitReason
from reactor.flows.decisions import Wait, Wake
from reactor.handlers.display import show
from reactor.handlers.request import RequestHandler, Result

AGAIN_SECONDS: Final = 5.0
"""An endpoint that was slow or behind answers by then; one that lies is named meanwhile."""


async def agreed(
    handler: RequestHandler[Any, Any], document_id: ObjectId, handling: Awaitable[Result], *, shown: bool = False
) -> Result:
    """The result of `handling` this document, or the wait for agreement, written into the document if `shown`."""
    try:
        return await handling
    except NotAgreed as error:
        wait = Wait(WaitReason.NOT_AGREED, error.params, Wake(after=AGAIN_SECONDS))
    label = handler.labels.get(document_id)
    if shown and label is not None:
        await show(handler.context, handler.collection, document_id, label, wait)
    return wait
