"""Endpoints before real chains that lie, hide, fork, throttle or hang: with agreement nothing false is read, all are named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from ethereum_helpers import USER, VALIDATORS, Bridge, Proxy, error, read_all, result, running_bridge, running_proxy, until
from liars import LIES, OTHER_HASH, POCKET_LIES, PocketProxy, lie, pocket_proxy, tampering, throttled

from infra.localnet.pocket.genesis import Genesis
from infra.localnet.pocket.node import PocketNode
from infra.localnet.pocket.wallet import Vault, Wallet
from reactor.chains.errors import ChainError, NotAgreed, NotFound
from reactor.chains.ethereum import contracts
from reactor.chains.pocket import NotFound as PocketNotFound
from reactor.chains.pocket import PocketChain, PocketRpcError, RetryPolicy, WindowNotReady, connect
from reactor.chains.rpc import Retries
from reactor.preflight import ethereum as preflight

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

POCKET = "bb" * 20


def _patience(name: str) -> float:
    """Seconds that a call may take: few where one never answers, many where this machine may be slow."""
    return 3.0 if name == "a hang" else 20.0


AMOUNTS = [1, 2, 3]
PATIENT = Retries(rounds=1, cool_down=0.05)


# --- Ethereum --------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge() -> AsyncIterator[Bridge]:
    async with running_bridge() as running:
        await running.mint(USER, 1000, 1)
        for amount in AMOUNTS:
            await running.burn(amount, POCKET)
        await running.anvil.mine(20)
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def proxies(bridge: Bridge) -> AsyncIterator[list[Proxy]]:
    """Three endpoints before one chain, all honest at first."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_proxy(bridge.anvil.url)) for _ in range(3)]


def label(proxy: Proxy | PocketProxy) -> str:
    return f"http://127.0.0.1:{proxy.port}" if isinstance(proxy, Proxy) else f"127.0.0.1:{proxy.port}"


async def burns(chain: Any, bridge: Bridge) -> list[int]:
    """Of all blocks, in as many windows as it takes: who has waited for an endpoint that hangs asks for fewer at once."""
    last, following, found = await bridge.anvil.block_number() - 15, 1, list[int]()
    while following <= last:
        window = await chain.window(following, last)
        found += [event.amount for event in window.burns]
        following = window.to_block + 1
    return found


@pytest.mark.parametrize("name", LIES)
async def test_one_that_lies_is_outvoted_and_named_by_two(bridge: Bridge, proxies: list[Proxy], name: str) -> None:
    liar = proxies[0]
    lie(liar, name)
    if name == "429":
        liar.fault = throttled(200)  # on a busy machine a second is over before it could be asked too early
    urls = [proxy.url for proxy in proxies]
    slow = Retries(rounds=1, cool_down=60)
    async with asyncio.timeout(120), bridge.chain(*urls, agreement=2, seconds=_patience(name), retries=slow) as chain:
        assert await burns(chain, bridge) == AMOUNTS
        assert any(label(liar) in problem for problem in chain.problems), chain.problems
        assert not any(label(proxy) in problem for proxy in proxies[1:] for problem in chain.problems)
        asked = len(liar.calls)
        assert await burns(chain, bridge) == AMOUNTS
        assert len(liar.calls) == asked, "it stands back"


@pytest.mark.parametrize("name", LIES)
async def test_where_only_two_are_left_nothing_is_read_and_the_one_that_differs_is_named(
    bridge: Bridge, proxies: list[Proxy], name: str
) -> None:
    lie(proxies[1], name)
    urls = [proxy.url for proxy in proxies[:2]]
    async with asyncio.timeout(120), bridge.chain(*urls, agreement=2, seconds=_patience(name), retries=PATIENT) as chain:
        with pytest.raises(NotAgreed, match="the events of blocks") as raised:
            await burns(chain, bridge)
        assert label(proxies[1]) in raised.value.others
        assert any(label(proxies[1]) in problem for problem in chain.problems)
        proxies[1].fault = None

        async def read() -> list[int]:
            try:
                return await burns(chain, bridge)
            except ChainError:
                return []

        assert await until(read) == AMOUNTS, "once it is honest all is read"
        assert chain.problems == []


async def test_honest_endpoints_agree_and_nobody_is_named(bridge: Bridge, proxies: list[Proxy]) -> None:
    head = await bridge.anvil.block_number()
    async with bridge.chain(*(proxy.url for proxy in proxies), agreement=3) as chain, bridge.chain() as reference:
        view, alone = await chain.view(), await reference.view()
        assert (view.head, view.final) == (alone.head, alone.final)
        read, expected = await chain.window(1, head), await reference.window(1, head)
        assert (read.burns, read.minted, read.last_header) == (expected.burns, expected.minted, expected.last_header)
        assert await chain.facts(VALIDATORS) == await reference.facts(VALIDATORS)
        assert await chain.user_nonce(USER, head) == 1
        assert await chain.is_validator(VALIDATORS[0]) is True
        burn = read.burns[0]
        assert await chain.receipt_events(burn.tx_hash) == await reference.receipt_events(burn.tx_hash)
        with pytest.raises(NotFound):
            await chain.receipt_events(OTHER_HASH)
        assert await chain.is_canonical(burn.block_number, burn.block_hash) is True
        assert await chain.is_canonical(burn.block_number, OTHER_HASH) is False
        assert await chain.is_canonical(head + 100, OTHER_HASH) is False
        await chain.survey()
        assert chain.problems == []


async def test_with_an_agreement_of_one_only_the_preferred_endpoint_is_asked(bridge: Bridge, proxies: list[Proxy]) -> None:
    async with bridge.chain(*(proxy.url for proxy in proxies)) as chain:
        assert await burns(chain, bridge) == AMOUNTS
    assert proxies[0].calls[:4] == ["eth_chainId", "eth_getBlockByNumber", "eth_getLogs", "eth_getBlockByNumber"]
    # The times of the blocks with events.
    assert set(proxies[0].calls[4:]) == {"eth_getBlockByHash"}
    assert proxies[1].calls == proxies[2].calls == []


def _limited(blocks: int) -> Any:
    """A node that refuses windows of more blocks."""

    def fault(method: str, params: list[Any]) -> web.Response | None:
        if method != "eth_getLogs" or int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) < blocks:
            return None
        return error(-32005, f"block range is too large, max {blocks}")

    return fault


async def test_a_limit_of_one_that_must_agree_makes_windows_smaller_and_all_is_read(bridge: Bridge, proxies: list[Proxy]) -> None:
    head = await bridge.anvil.block_number()
    proxies[1].fault = _limited(7)
    async with bridge.chain(*(proxy.url for proxy in proxies[:2]), agreement=2) as chain:
        windows = await read_all(chain, 1, head)
        assert [event.amount for window in windows for event in window.burns] == AMOUNTS
        assert max(window.to_block - window.from_block + 1 for window in windows) <= 7
        assert chain.problems == []
    proxies[1].fault = _limited(0)
    async with bridge.chain(*(proxy.url for proxy in proxies[:2]), agreement=2, retries=PATIENT) as chain:
        with pytest.raises(NotAgreed, match="refuses the logs of a single block"):
            await chain.window(1, head)
    async with bridge.chain(*(proxy.url for proxy in proxies), agreement=2) as chain:
        assert len(await read_all(chain, 1, head)) == 1, "where two others agree, who refuses everything is not needed"


def _state(value: int, *selectors: str) -> Any:
    def change(method: str, params: Any, answer: Any) -> Any:
        wanted = method == "eth_call" and params[0]["data"][:10] in selectors
        return f"0x{value:064x}" if wanted else answer

    return change


async def test_contract_state_and_nonces_are_not_one_endpoints_word(bridge: Bridge, proxies: list[Proxy]) -> None:
    threshold = contracts.CONTROLLER_READS["signerThreshold"][:10]
    proxies[0].fault = tampering(proxies[0], _state(1, threshold, contracts.address_call(contracts.GET_USER_NONCE, USER)[:10]))
    head = await bridge.anvil.block_number()
    async with bridge.chain(proxies[0].url) as fooled:
        assert (await fooled.facts(VALIDATORS)).threshold == 1, "the lie is one that would be believed"
    async with bridge.chain(*(proxy.url for proxy in proxies), agreement=2) as chain:
        assert (await chain.facts(VALIDATORS)).threshold == 2
        assert any(label(proxies[0]) in problem and "contracts" in problem for problem in chain.problems)
    async with bridge.chain(*(proxy.url for proxy in proxies[:2]), agreement=2, retries=PATIENT) as chain:
        with pytest.raises(NotAgreed, match="the contracts' state"):
            await chain.facts(VALIDATORS)
    proxies[0].fault = tampering(proxies[0], _state(7, contracts.address_call(contracts.GET_USER_NONCE, USER)[:10]))
    async with bridge.chain(*(proxy.url for proxy in proxies[:2]), agreement=2, retries=PATIENT) as chain:
        with pytest.raises(NotAgreed, match="the nonce of"):
            await chain.user_nonce(USER, head)
        assert (await chain.facts(VALIDATORS)).threshold == 2


async def test_one_that_hides_a_transaction_does_not_make_it_unknown(bridge: Bridge, proxies: list[Proxy]) -> None:
    head = await bridge.anvil.block_number()
    hidden = tampering(proxies[0], lambda method, params, answer: None if method == "eth_getTransactionReceipt" else answer)
    async with bridge.chain(*(proxy.url for proxy in proxies[:2]), agreement=2, retries=PATIENT) as chain:
        burn = (await chain.window(1, head)).burns[0]
        proxies[0].fault = hidden
        with pytest.raises(NotAgreed, match="the receipt of"):
            await chain.receipt_events(burn.tx_hash)
        assert all(label(proxy) in problem for proxy in proxies[:2] for problem in chain.problems)
        proxies[0].fault = None
        assert (await chain.receipt_events(burn.tx_hash)).burns == (burn,)


async def test_endpoints_that_lag_or_fork_are_found_without_agreement_and_come_back(bridge: Bridge, proxies: list[Proxy]) -> None:
    old = await bridge.anvil.rpc("eth_getBlockByNumber", "0x3", False)
    urls = [proxy.url for proxy in proxies]
    async with bridge.chain(*urls) as chain:
        proxies[0].fault = lambda method, params: (
            result(old) if method == "eth_getBlockByNumber" and params[0] == "latest" else None
        )
        lie(proxies[1], "another block hash")
        proxies[1].fault, forked = None, proxies[1].fault
        await chain.survey()
        assert [label(proxies[0]) in problem and "lags" in problem for problem in chain.problems] == [True]
        assert (await chain.view()).endpoint == label(proxies[1])
        proxies[0].fault, proxies[1].fault = None, forked
        await chain.survey()
        assert [label(proxies[1]) in problem and "another fork" in problem for problem in chain.problems] == [True]
        assert (await chain.view()).endpoint == label(proxies[0])
        proxies[1].fault = None
        await chain.survey()
        assert chain.problems == []


async def test_no_storm_on_an_endpoint_that_is_down(bridge: Bridge, proxies: list[Proxy]) -> None:
    down = proxies[0]
    async with bridge.chain(down.url, retries=Retries(rounds=3, backoff=0.01)) as chain:
        assert (await chain.head()).number > 0
        down.fault = lambda method, params: web.Response(status=503, text="busy")
        down.calls.clear()
        began = asyncio.get_running_loop().time()
        for _ in range(40):
            answers = await asyncio.gather(*(chain.user_nonce(f"0x{n:040x}") for n in range(10)), return_exceptions=True)
            assert all(isinstance(answer, ChainError) for answer in answers)
        seconds = asyncio.get_running_loop().time() - began
        # 400 callers with three rounds each: the first ten at once, what one may use, and two probes a second.
        assert len(down.calls) <= 10 + 8 + 2 * (seconds + 1)
        down.fault = None
        assert await until(lambda: _settled(chain.user_nonce(USER))) == 1
        down.calls.clear()
        assert await asyncio.gather(*(chain.user_nonce(f"0x{n:040x}") for n in range(10))) == [0] * 10
        assert len(down.calls) == 10, "a healthy one is asked whatever is needed"


async def _settled(read: Any) -> Any:
    try:
        return await read
    except (ChainError, PocketRpcError):
        return None


async def test_who_says_429_is_not_asked_before_its_time(bridge: Bridge, proxies: list[Proxy]) -> None:
    busy = proxies[0]
    async with bridge.chain(busy.url, retries=PATIENT) as chain:
        assert None not in [await _settled(chain.header(n)) for n in range(20)]
        assert busy.calls.count("eth_getBlockByNumber") == 20
        busy.fault = lambda method, params: web.Response(status=429, headers={"Retry-After": "200"}, text="slow down")
        busy.calls.clear()
        assert [await _settled(chain.header(n)) for n in range(20, 70)] == [None] * 50
        assert busy.calls == ["eth_getBlockByNumber"]
        assert any("HTTP 429" in problem for problem in chain.problems)


async def test_check_names_a_fork_and_too_few_that_answer(bridge: Bridge, proxies: list[Proxy]) -> None:
    urls = [proxy.url for proxy in proxies]
    settings: Any = SimpleNamespace(ethereum=SimpleNamespace(rpc_urls=urls, agreement=2))
    lie(proxies[2], "another block hash")
    async with bridge.chain(*urls, agreement=2) as chain:
        results, _ = await preflight.check_endpoints(chain, settings)
        assert [(one.ok, one.level) for one in results] == [(True, "info"), (False, "warning"), (False, "warning")]
        assert label(proxies[2]) in results[1].detail
        assert "different providers" in results[2].remedy
        proxies[2].fault = None
        results, _ = await preflight.check_endpoints(chain, settings)
        assert [one.ok for one in results] == [True, False]
        for proxy in proxies[1:]:
            lie(proxy, "HTML")
        results, _ = await preflight.check_endpoints(chain, settings)
        assert "nothing is read or signed" in results[-1].detail
        assert results[-1].level == "error"


async def test_shared_reads_ask_once_for_all(bridge: Bridge, proxies: list[Proxy]) -> None:
    async with bridge.chain(*(proxy.url for proxy in proxies), agreement=2) as chain:
        await chain.view()
        for proxy in proxies:
            proxy.calls.clear()
        headers = await asyncio.gather(*(chain.header(3) for _ in range(100)))
        assert len({header.hash for header in headers}) == 1
        assert [proxy.calls for proxy in proxies] == [["eth_getBlockByNumber"], ["eth_getBlockByNumber"], []]


async def test_a_rate_is_kept(bridge: Bridge, proxies: list[Proxy]) -> None:
    async with bridge.chain(proxies[0].url, rate=20) as chain:
        await chain.head()
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(chain.user_nonce(f"0x{n:040x}") for n in range(40)))
        assert asyncio.get_running_loop().time() - began >= 0.9, "20 at once, then 20 a second"


# --- Pocket ----------------------------------------------------------------------------------------------------------

ALICE = Wallet.from_seed("alice", "localnet")
VAULT = Vault.from_seeds(3, chain_id="localnet")
FAST = RetryPolicy(rounds=1, cool_down=0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[PocketNode]:
    """Height 4: two deposits in block 2, one payment of the vault in block 3."""
    async with PocketNode(Genesis(balances={ALICE.address: 10**9, VAULT.address: 10**9})) as running:
        for amount in (5, 6):
            running.submit(ALICE.send(VAULT.address, 10**6 + amount, "memo"))
        running.step()
        running.submit(VAULT.send(ALICE.address, 7, "back"))
        running.step(2)
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def fronts(node: PocketNode) -> AsyncIterator[list[PocketProxy]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pocket_proxy(node.url)) for _ in range(3)]


def pocket(fronts: list[PocketProxy], agreement: int = 2, **options: Any) -> PocketChain:
    return connect(
        [one.url for one in fronts], chain_id="localnet", retry=FAST, agreement=agreement, **{"timeout": 20.0, **options}
    )


async def moved(chain: PocketChain) -> tuple[list[int], list[int]]:
    """Codes of what the vault received, and amounts that it sent."""
    window = await chain.window(VAULT.address, 1, 3)
    return [tx.code for tx in window.received], [tx.amount or 0 for tx in window.sent]


TRUTH = ([0, 0], [7])


@pytest.mark.parametrize("name", [*POCKET_LIES, "a hang"])
async def test_a_pocket_node_that_lies_is_outvoted_and_named(fronts: list[PocketProxy], name: str) -> None:
    fronts[0].change, fronts[0].hangs = POCKET_LIES.get(name), name == "a hang"
    async with asyncio.timeout(120), pocket(fronts, timeout=_patience(name)) as chain:
        assert await moved(chain) == TRUTH
        assert any(label(fronts[0]) in problem for problem in chain.problems), chain.problems
        assert not any(label(front) in problem for front in fronts[1:] for problem in chain.problems)


@pytest.mark.parametrize("name", [*POCKET_LIES, "a hang"])
async def test_with_two_pocket_nodes_one_of_which_lies_nothing_is_read(fronts: list[PocketProxy], name: str) -> None:
    fronts[1].change, fronts[1].hangs = POCKET_LIES.get(name), name == "a hang"
    async with asyncio.timeout(120), pocket(fronts[:2], timeout=_patience(name)) as chain:
        with pytest.raises(NotAgreed, match="transactions of blocks 1 to 3") as raised:
            await chain.window(VAULT.address, 1, 3)
        assert label(fronts[1]) in raised.value.others
        assert any(label(fronts[1]) in problem for problem in chain.problems)
        fronts[1].change, fronts[1].hangs = None, False
        assert await until(lambda: _settled(moved(chain))) == TRUTH
        assert chain.problems == []


async def test_a_pocket_node_alone_is_believed(fronts: list[PocketProxy]) -> None:
    """The lies above are such as would be believed: that is what agreement is for."""
    fronts[0].change = POCKET_LIES["hidden deposits"]
    async with pocket(fronts[:1], agreement=1) as chain:
        assert await moved(chain) == ([], [])
    fronts[0].change = POCKET_LIES["a tampered outcome"]
    async with pocket(fronts[:1], agreement=1) as chain:
        assert (await moved(chain))[0] == [7, 7]


async def test_honest_pocket_nodes_agree_in_everything(node: PocketNode, fronts: list[PocketProxy]) -> None:
    async with pocket(fronts, agreement=3) as chain, connect([node.url], chain_id="localnet") as reference:
        assert (await chain.head()).height == node.height
        assert (await chain.block(2)).hash == (await reference.block(2)).hash
        window = await chain.window(VAULT.address, 1, 3)
        assert await chain.tx(window.received[0].hash) == window.received[0]
        assert await chain.balance(VAULT.address) == await reference.balance(VAULT.address)
        with pytest.raises(PocketNotFound):
            await chain.tx("12" * 32)
        with pytest.raises(PocketNotFound):
            await chain.block(99)
        with pytest.raises(WindowNotReady):
            await chain.window(VAULT.address, 1, 99)
        await chain.survey(1)
        assert chain.problems == []


async def test_a_pocket_node_that_says_429_is_not_asked_before_its_time(fronts: list[PocketProxy]) -> None:
    async with connect([fronts[0].url], chain_id="localnet", retry=FAST) as chain:
        assert None not in [await _settled(chain.head()) for _ in range(20)]
        assert fronts[0].calls.count("query/height") == 20
        fronts[0].change = lambda call, body, answer: web.Response(status=429, headers={"Retry-After": "200"}, text="slow down")
        fronts[0].calls.clear()
        assert [await _settled(chain.head()) for _ in range(50)] == [None] * 50
        assert fronts[0].calls == ["query/height"]
        assert any("HTTP 429" in problem for problem in chain.problems)


async def test_a_balance_is_what_enough_nodes_stand_behind(node: PocketNode, fronts: list[PocketProxy]) -> None:
    def rich(call: str, body: Any, answer: Any) -> Any:
        return {"balance": 10**15} if call == "query/balance" else answer

    true = node.balance(VAULT.address)
    fronts[0].change = rich
    async with pocket(fronts) as chain:
        assert await chain.balance(VAULT.address) == true
    async with pocket(fronts[:1], agreement=1) as chain:
        assert await chain.balance(VAULT.address) == 10**15
    fronts[1].hangs = fronts[2].hangs = True
    async with asyncio.timeout(120), pocket(fronts, timeout=2.0) as chain:
        with pytest.raises(NotAgreed, match="the balance of"):
            await chain.balance(VAULT.address)


async def test_a_transaction_is_handed_to_all_nodes_so_that_none_can_keep_it_back(
    node: PocketNode, fronts: list[PocketProxy]
) -> None:
    async with pocket(fronts) as chain:
        result_ = await chain.submit(ALICE.send(VAULT.address, 10**6, "memo"))
        assert result_.on_its_way
    assert [front.calls.count("client/rawtx") for front in fronts] == [1, 1, 1]
    node.drop()


async def test_a_forked_pocket_node_is_found_by_a_survey_and_comes_back(fronts: list[PocketProxy]) -> None:
    async with pocket(fronts, agreement=1) as chain:
        fronts[0].change = POCKET_LIES["another block hash"]
        await chain.survey(1)
        assert [label(fronts[0]) in problem and "another fork" in problem for problem in chain.problems] == [True]
        assert (await chain.head()).endpoint == label(fronts[1])
        fronts[0].change = None
        await chain.survey(1)
        assert chain.problems == []
        assert (await chain.head()).endpoint == label(fronts[0])
