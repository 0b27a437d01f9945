"""A development chain with the bridge's contracts, and a proxy before a node that misbehaves as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from coincurve import PrivateKey
from web3 import AsyncHTTPProvider, AsyncWeb3

from infra.localnet.anvil import Anvil, development_account
from infra.localnet.deploy import Deployment, deploy_bridge
from infra.localnet.ports import HOST, free_port
from reactor.chains.ethereum import Domain, EthereumChain, Finality, mint_digest
from reactor.chains.ethereum.contracts import burn_call, mint_call
from reactor.chains.ethereum.span import Span
from reactor.chains.rpc import Retries

CHAIN_ID = 31337
VALIDATORS = tuple(sorted(development_account(index).address.lower() for index in range(3)))
KEYS = {development_account(index).address.lower(): bytes(development_account(index).key) for index in range(3)}
USER = development_account(5).address.lower()
QUICK = Retries(rounds=2, backoff=0.01, cool_down=0.05)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    """The first true result of `condition`, asked every 10 ms."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.01)
        return found


@dataclass
class Bridge:
    """anvil with both contracts, and verbs of users."""

    anvil: Anvil
    deployed: Deployment

    @property
    def domain(self) -> Domain:
        return Domain("MintController", "1", self.anvil.chain_id, self.deployed.mint_controller)

    def chain(self, *urls: str, finality: str = "latest-2", floor: int = 0, **options: Any) -> EthereumChain:
        options.setdefault("retries", QUICK)
        # On a busy machine an honest node may be slow: windows stay as they are.
        options.setdefault("span", Span(quick=60.0, slow=600.0))
        return EthereumChain(
            urls or [self.anvil.url],
            chain_id=CHAIN_ID,
            wpokt=self.deployed.wpokt,
            controller=self.deployed.mint_controller,
            finality=Finality.parse(finality, floor),
            **options,
        )

    async def send(self, sender: str, to: str | None, data: str, gas: int = 3_000_000) -> dict[str, Any]:
        """Send from an account that anvil knows; the receipt, of a failed transaction too."""
        call = {"from": sender, "data": data, "gas": hex(gas), **({"to": to} if to else {})}
        sent = await self.anvil.rpc("eth_sendTransaction", call)
        return dict(await until(lambda: self.anvil.rpc("eth_getTransactionReceipt", sent)))

    def signatures(self, recipient: str, amount: int, nonce: int) -> list[bytes]:
        """All validators', in ascending order of their addresses."""
        digest = mint_digest(self.domain, recipient, amount, nonce)
        signatures = []
        for validator in VALIDATORS:
            raw = PrivateKey(KEYS[validator]).sign_recoverable(digest, hasher=None)
            signatures.append(raw[:64] + bytes([raw[64] + 27]))
        return signatures

    def mint_data(self, recipient: str, amount: int, nonce: int) -> str:
        return mint_call(recipient, amount, nonce, self.signatures(recipient, amount, nonce))

    async def mint(self, recipient: str, amount: int, nonce: int) -> dict[str, Any]:
        data = self.mint_data(recipient, amount, nonce)
        return await self.send(USER, self.deployed.mint_controller, data)

    async def burn(self, amount: int, pocket_address: str, sender: str = USER) -> dict[str, Any]:
        return await self.send(sender, self.deployed.wpokt, burn_call(amount, pocket_address))

    def burn_many_code(self, burns: list[tuple[int, str]]) -> str:
        """Code that burns the executing account's tokens, once for each (amount, Pocket address)."""
        code = ""
        for amount, pocket_address in burns:
            data = burn_call(amount, pocket_address)[2:].ljust(192, "0")
            for offset in (0, 32, 64):
                code += "7f" + data[2 * offset : 2 * offset + 64] + f"60{offset:02x}52"  # PUSH32 word, MSTORE
            # CALL(gas, wpokt, value 0, input 0..68, no output), POP
            code += "600060006044600060007" + "3" + self.deployed.wpokt[2:] + "5af150"
        return "0x" + code + "00"


@asynccontextmanager
async def running_bridge(**options: Any) -> AsyncIterator[Bridge]:
    async with Anvil(chain_id=CHAIN_ID, **options) as anvil:
        web3 = AsyncWeb3(AsyncHTTPProvider(anvil.url))
        try:
            deployed = await deploy_bridge(web3, VALIDATORS, 2)
        finally:
            await web3.provider.disconnect()
        yield Bridge(anvil, deployed)


Answer = web.Response | None
Fault = Callable[[str, list[Any]], Awaitable[Answer] | Answer]


@dataclass
class Front:
    """An HTTP server of the tests' own before a node: `answer` decides what each caller gets."""

    upstream: str
    port: int = field(default_factory=free_port, kw_only=True)
    calls: list[str] = field(default_factory=list, kw_only=True)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError

    @asynccontextmanager
    async def serving(self, path: str, **options: Any) -> AsyncIterator[None]:
        """It answers what is posted to this path; `options` are aiohttp's for a runner."""
        application = web.Application()
        application.router.add_post(path, self.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1, **options)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self.port).start()
            yield
        finally:
            await runner.cleanup()


@dataclass
class Proxy(Front):
    """Before a node: `fault(method, params)` answers instead of it, or returns None to let the call through."""

    fault: Fault | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/v3/secret-key"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.calls.append(body["method"])
        if self.fault is not None:
            found = self.fault(body["method"], body["params"])
            if isinstance(found, Awaitable):
                found = await found
            if found is not None:
                return _addressed(found, body["id"])
        return web.json_response(await self.forward(body["method"], body["params"], body["id"]))

    async def forward(self, method: str, params: list[Any], number: int = 1) -> dict[str, Any]:
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        async with aiohttp.ClientSession() as session, session.post(self.upstream, json=request) as response:
            return dict(await response.json())


@asynccontextmanager
async def running_proxy(upstream: str, fault: Fault | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(upstream, fault)
    async with proxy.serving("/v3/secret-key"):
        yield proxy


def _addressed(answer: web.Response, number: int) -> web.Response:
    """An answer of `result` or `error` as one to this very request; any other as it is."""
    if answer.content_type != "application/json" or not answer.text:
        return answer
    try:
        body = json.loads(answer.text)
    except (ValueError, RecursionError):
        return answer
    if isinstance(body, dict) and body.get("id") == 1:
        answer.text = json.dumps({**body, "id": number})
    return answer


def result(value: object) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": 1, "result": value})


def error(code: int, message: str, status: int = 200, **more: Any) -> web.Response:
    answer = {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message, **more}}
    return web.json_response(answer, status=status)


async def read_all(chain: EthereumChain, from_block: int, to_block: int) -> list[Any]:
    """All windows from `from_block` to `to_block`."""
    windows = []
    while from_block <= to_block:
        windows.append(await chain.window(from_block, to_block))
        from_block = windows[-1].to_block + 1
    return windows
