"""Whose objections in a document verify."""

from collections.abc import Collection as Container
from functools import lru_cache

from reactor.chains.ethereum.eip712 import recover_signer
from reactor.documents.models import AnyRequest
from reactor.documents.objections import objection_digest
from reactor.documents.reasons import ObjectionCode
from reactor.documents.statuses import Collection
from reactor.handlers.context import Context
from reactor.handlers.sources import Origin


def objectors(
    context: Context, collection: Collection, origin: Origin, document: AnyRequest, members: Container[str]
) -> frozenset[str]:
    """The members who signed an objection to this very document.

    SECURITY: one voice per member, over the bridge, the collection, the event and the code; forged ones do not count. Nor does
    "the chain holds no such event" once the own chain shows it: a document that names a transaction before any block has it is
    truly refuted at that moment, and whoever watches a mempool could have failed anybody's request so, for good.
    """
    outdated = ObjectionCode.NOT_ON_CHAIN if origin.event is not None else None
    return frozenset(
        one.signer
        for one in document.objections
        if one.signer in members
        and one.code != outdated
        and _recover(objection_digest(context.bridge, collection, origin.key, one.code), one.signature) == one.signer
    )


@lru_cache(maxsize=65_536)
def _recover(digest: bytes, signature: str) -> str | None:
    return recover_signer(digest, signature)
