"""Signed mints that the contracts begin to refuse, or refuse no more.

A signed mint waits for its user and is closed to the validators, so nothing would look at it when the token is paused or the
contract's limit falls. Once the contracts' state has changed one validator asks the database for those that may be concerned and
looks at them; the flow decides. As long as nothing changes, and while nothing was minted, nothing is asked.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from reactor.chains.ethereum.types import ContractFacts
from reactor.documents.reasons import WaitReason
from reactor.flows.refusals import REFUSALS
from reactor.handlers.context import Context

Query = Mapping[str, Any]
LookAt = Callable[[Query], Awaitable[None]]
"""Rings the signed mints of this bridge that a query (beside status and bridge) finds."""

_SUBJECT: Final = "signed mints that the contracts refuse"
_FEE_DIVIDES: Final = "0000$"


class RefusalWatch:
    """Compares the contracts' state with that of the look before."""

    def __init__(self, context: Context, look_at: LookAt) -> None:
        self._context = context
        self._look_at = look_at
        self._before: tuple[object, ...] | None = None
        self._limit = 0

    async def look(self) -> None:
        """Have signed mints looked at where the contracts treat them otherwise than before. Raises what chain and store raise."""
        context = self._context
        if context.me.observes:
            return
        _, contract = await context.quorum()
        # One validator of those who are up, else all would read the same documents. It takes over with a look of its own.
        if context.turns.place(_SUBJECT) > 0:
            self._before = None
            return
        state = (contract.minter, contract.paused, contract.fee_flag, contract.max_mint_limit, contract.mint_per_second)
        # The limit refills by itself: whoever waits for that has a timer. It falls when something is minted.
        if state != self._before or contract.current_mint_limit < self._limit:
            await self._look_at(concerned(contract))
        self._before, self._limit = state, contract.current_mint_limit


def concerned(contract: ContractFacts) -> Query:
    """The signed mints that the contracts may refuse now, by what the documents say, and those that are said to be refused."""
    if not contract.minter or contract.paused:
        reason = WaitReason.MINTING_PAUSED if contract.minter else WaitReason.NO_MINTER_ROLE
        return {"waiting.reason": {"$ne": reason.value}}
    ways: list[Query] = [{"waiting.reason": {"$in": sorted(one.value for one in REFUSALS)}}]
    if contract.current_mint_limit < contract.max_mint_limit:
        ways += _above(contract.current_mint_limit)
    if contract.fee_flag:
        ways.append({"amount": {"$not": {"$regex": _FEE_DIVIDES}}})
    return {"$or": ways}


def _above(limit: int) -> list[Query]:
    """Amounts are decimal strings without leading zeros: the longer one is the larger one."""
    digits = len(str(limit))
    return [
        {"amount": {"$regex": f"^[0-9]{{{digits + 1},}}$"}},
        {"amount": {"$regex": f"^[0-9]{{{digits}}}$", "$gt": str(limit)}},
    ]
