"""Reorganisations of anvil's chain, with its transactions in the new blocks, or without them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from infra.localnet.anvil import Anvil, AnvilRpcError


async def reorganise(anvil: Anvil, depth: int, keep: str) -> tuple[int, str]:
    """Replace the last `depth` blocks; the first that was, and what was done, for the log.

    `keep` all: their transactions stand in the new blocks, one block later where there is one; half: every other sender's.
    """
    head = await anvil.block_number()
    depth = min(depth, head - 1)
    found = await _transactions(anvil, head - depth + 1, head)
    senders = sorted({sender for _, sender, _ in found})
    kept_senders = {"all": senders, "half": senders[::2], "none": []}[keep]
    kept = [(raw, min(place + 1, depth - 1)) for place, sender, raw in found if sender in kept_senders]
    await anvil.rpc("anvil_dropAllTransactions")
    await anvil.rpc("anvil_reorg", depth, [[raw, place] for raw, place in kept])
    await _set_clock(anvil)
    first = head - depth + 1
    return first, f"  blocks {first} to {head} are others now, with {len(kept)} of {len(found)} transactions"


async def rollback(anvil: Anvil, depth: int) -> str:
    """Drop the last `depth` blocks; their transactions wait for the blocks that follow. What was done, for the log."""
    head = await anvil.block_number()
    depth = min(depth, head - 1)
    found = await _transactions(anvil, head - depth + 1, head)
    await anvil.rpc("anvil_rollback", depth)
    await _set_clock(anvil)
    back = 0
    for _, _, raw in found:
        try:
            await anvil.rpc("eth_sendRawTransaction", raw)
            back += 1
        except AnvilRpcError:
            continue  # known already: anvil put it back itself
    return f"  blocks {head - depth + 1} to {head} are dropped, {back} of {len(found)} transactions sent again"


async def _set_clock(anvil: Anvil) -> None:
    """Real blocks tell the time. anvil's go on from the last one that stayed: a mint would be older than its deposit."""
    newest = await anvil.rpc("eth_getBlockByNumber", "latest", False)
    behind = round(time.time() - int(newest["timestamp"], 16))
    if behind > 0:
        await anvil.rpc("evm_increaseTime", behind)


async def _transactions(anvil: Anvil, first: int, last: int) -> list[tuple[int, str, str]]:
    """(block's place from 0, sender, raw bytes) of all transactions of these blocks, in order."""
    blocks: list[dict[str, Any]] = await asyncio.gather(
        *(anvil.rpc("eth_getBlockByNumber", hex(number), True) for number in range(first, last + 1))
    )
    return [
        (place, one["from"], await anvil.rpc("eth_getRawTransactionByHash", one["hash"]))
        for place, block in enumerate(blocks)
        for one in block["transactions"]
    ]
