"""A signed mint that the contracts refuse says which refusal it is and when it passes, and says so no more once it has passed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, running_bridge

from infra.localnet.anvil import development_account
from infra.localnet.deploy import MINTER_ROLE, mint_controller, send, wrapped_pocket
from reactor.documents.statuses import Collection, Status

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

ADMIN = development_account(0)
LARGE, ODD = 4_500_000, 4_000_001
MAXIMUM = 5_000_000


@dataclass
class Admin:
    """Who may change the contracts, and what a user reads meanwhile."""

    bridge: BridgeUnderTest

    @property
    def token(self) -> Any:
        return wrapped_pocket(self.bridge.net.web3, self.bridge.net.bridge.wpokt).functions

    @property
    def controller(self) -> Any:
        return mint_controller(self.bridge.net.web3, self.bridge.net.bridge.mint_controller).functions

    async def calls(self, call: Any) -> None:
        await send(self.bridge.net.web3, ADMIN, call)

    async def signed(self, amount: int) -> str:
        """A deposit that waits for its user."""
        raw, _ = self.bridge.deposit_of(amount, self.bridge.memo(self.bridge.recipient()))
        sent = await self.bridge.send(raw)
        await self.bridge.until(Collection.MINT, sent, Status.SIGNED)
        return sent

    async def until_says(self, sent: str, reason: str | None) -> dict[str, str]:
        """Wait until the document says this and no other reason; its parameters."""

        async def says() -> Any:
            document = await self.bridge.document(Collection.MINT, sent) or {}
            waiting = document.get("waiting")
            return (document,) if (waiting and waiting["reason"]) == reason else None

        (document,) = await self.bridge.eventually(says, f"mint {sent} to say {reason}")
        assert document["status"] == Status.SIGNED, "it stays signed"
        return document["waiting"]["params"] if reason else {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(mongo_uri: str) -> AsyncIterator[Admin]:
    with mock.patch("reactor.validator._BOOKS_SECONDS", 0.3):
        async with running_bridge(mongo_uri, pot=0) as bridge:
            yield Admin(bridge)


async def test_each_refusal_is_named_until_it_is_over(admin: Admin) -> None:
    odd = await admin.signed(ODD)
    controller = admin.bridge.net.bridge.mint_controller
    ways = {
        "minting_paused": (admin.token.pause(), admin.token.unpause()),
        "fee_indivisible": (admin.token.setFee(True, 250, ADMIN.address), admin.token.setFee(False, 0, ADMIN.address)),
        "no_minter_role": (
            admin.token.revokeRole(MINTER_ROLE, controller_address(admin, controller)),
            admin.token.grantRole(MINTER_ROLE, controller_address(admin, controller)),
        ),
    }
    assert await admin.until_says(odd, None) == {}
    for reason, (begins, ends) in ways.items():
        await admin.calls(begins)
        await admin.until_says(odd, reason)
        await admin.calls(ends)
        await admin.until_says(odd, None)
    await admin.bridge.minted(odd)


async def test_a_limit_that_is_used_up_names_the_moment_when_it_is_enough(admin: Admin) -> None:
    for limit in (await admin.controller.maxMintLimit().call(), MAXIMUM):
        await admin.calls(admin.controller.setMintCooldown(limit, 1))
    first, second = await admin.signed(ODD), await admin.signed(LARGE)
    assert await admin.until_says(second, None) == {}
    await admin.bridge.minted(first)
    params = await admin.until_says(second, "cooling_down")
    assert (params["amount"], params["per_second"]) == (str(LARGE), "1")
    assert params["enough_at"].endswith(" UTC")
    await admin.calls(admin.controller.setMintCooldown(MAXIMUM, MAXIMUM))
    await admin.until_says(second, None)
    await admin.bridge.minted(second)


def controller_address(admin: Admin, address: str) -> str:
    checksummed: str = admin.bridge.net.web3.to_checksum_address(address)
    return checksummed
