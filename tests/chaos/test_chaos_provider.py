"""The people's connection to Ethereum survives calls that are given up."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from web3 import AsyncWeb3

from infra.localnet.ports import HOST, free_port
from tests.chaos.provider import PatientProvider

pytestmark = pytest.mark.unit


async def test_calls_that_are_given_up_stop_no_others() -> None:
    hanging = asyncio.Event()

    async def serve(request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["method"] == "eth_blockNumber":
            await hanging.wait()
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": "0x7"})

    app = web.Application()
    app.router.add_post("/", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, HOST, port).start()
    provider = PatientProvider(f"http://{HOST}:{port}")
    web3 = AsyncWeb3(provider)
    try:
        for given_up in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(given_up / 1000):
                    await web3.eth.block_number
        async with asyncio.timeout(60):
            assert await web3.eth.chain_id == 7
    finally:
        hanging.set()
        await provider.close()
        await runner.cleanup()
