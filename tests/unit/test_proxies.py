"""Proxies of the environment: nodes are asked directly, whatever it says (key services: tests/unit/test_keys_aws.py)."""

import aiohttp
import pytest
from aiohttp import web

from reactor.chains.ethereum.provider import NodeProvider
from reactor.chains.pocket.morse.transport import Endpoint, RetryPolicy, Transport

pytestmark = pytest.mark.unit


@pytest.fixture
def proxied(monkeypatch):
    """An environment whose proxy is not there: whoever uses it reaches nothing."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def node():
    """Answers any request as both kinds of node do."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": (await request.json()).get("id"), "result": "0x1", "height": 7})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_ethereum_node_is_asked_directly(proxied, node):
    provider = NodeProvider(node, 10.0)
    try:
        assert (await provider.ask("eth_blockNumber", []))["result"] == "0x1"
    finally:
        await provider.close()


async def test_a_pocket_node_is_asked_directly(proxied, node):
    transport = Transport([Endpoint.parse(node)], timeout=10.0, retry=RetryPolicy())
    try:
        answer = await transport.failover(lambda one: transport.post(one, "query/height", {}))
        assert answer["height"] == 7
    finally:
        await transport.close()


async def test_who_heeds_that_environment_reaches_nothing(proxied, node):
    """The twin: the environment does name a proxy."""
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(aiohttp.ClientProxyConnectionError):
            await session.post(node, json={})
