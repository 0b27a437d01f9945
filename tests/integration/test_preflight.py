"""The pre-flight against real servers: each thing that can be wrong is named, with its remedy, and hides nothing else."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cli_helpers import heartbeat, keys_of, network, new_contracts, write_toml

from infra.localnet.pocket.genesis import Genesis
from infra.localnet.pocket.node import PocketNode
from reactor.chains.pocket import vault_address
from reactor.parts import bridge_of, open_store
from reactor.preflight import failures, preflight
from reactor.preflight.results import CheckResult, isolated
from reactor.settings import Settings, load_settings
from reactor.state.journal import Journal
from reactor.state.lock import ProcessLock
from reactor.store.heartbeats import beat
from reactor.store.indexes import init_db

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with network() as running:
        running.loop.run(prepared(load_settings(running.config(tmp_path_factory.mktemp("init-db")), {})))
        yield running


async def prepared(settings: Settings) -> None:
    async with await open_store(settings) as store:
        await init_db(store)


@pytest.fixture
def validator(net, tmp_path):
    """The settings of a validator that lacks nothing, with `changes`."""

    def make(number=0, **changes):
        settings = load_settings(net.config(tmp_path, number, **changes), {})
        if not settings.state.directory.exists():
            Journal.create(settings.state.directory, bridge_of(settings), {"pocket": 1, "ethereum": 1}).close()
        return settings

    return make


async def results(settings, *, observe=False, starting=False) -> dict[str, list[CheckResult]]:
    found: dict[str, list[CheckResult]] = {}
    for one in await preflight(settings, observe=observe, starting=starting):
        found.setdefault(one.name, []).append(one)
    return found


def bad(found, name) -> CheckResult:
    """The failing result of this name, which has a remedy."""
    (one,) = [one for one in found.get(name, []) if not one.ok]
    assert one.remedy
    assert one.detail
    return one


def only(found, *names) -> None:
    """Nothing but these fails as an error."""
    assert {one.name for group in found.values() for one in group if not one.ok and one.level == "error"} == set(names)


async def test_all_is_well_but_for_the_others(validator):
    found = await results(validator())
    only(found)
    assert bad(found, "other validators").level == "warning"
    assert {
        "Ethereum key",
        "Pocket key",
        "vault",
        "contracts",
        "token",
        "minter role",
        "membership",
        "indexes",
        "signature limit",
    } <= set(found)


async def test_a_start_asks_what_a_check_asks(validator):
    """Whatever `check` calls a failure forbids a start: one list, and no condition that only one of them knows."""
    start, check = await results(validator(), starting=True), await results(validator())
    only(start)
    assert set(start) == set(check)
    assert set(start) >= {
        "clock",
        "vault balance",
        "signature limit",
        "memo",
        "identity of others",
        "journal",
        "ledger",
        "state lock",
    }


async def test_an_observer_needs_no_keys(validator):
    settings = validator(ethereum__key=None, pocket__key=None)
    only(await results(settings, observe=True))
    only(await results(settings), "Ethereum key", "Pocket key")


async def test_a_key_that_is_not_there(validator, tmp_path):
    found = await results(validator(ethereum__key=f"file://{tmp_path}/absent"))
    only(found, "Ethereum key")
    assert "cannot be opened" in bad(found, "Ethereum key").detail


async def test_a_pocket_key_that_is_not_the_vaults(validator, tmp_path):
    foreign = keys_of(7)
    path = tmp_path / "foreign"
    path.touch(mode=0o600)
    path.write_text(foreign.pocket)
    found = await results(validator(pocket__key=f"file://{path}"))
    only(found, "Pocket key")
    assert foreign.pocket_key in bad(found, "Pocket key").detail
    assert foreign.pocket[:64] not in str(found)


async def test_an_ethereum_key_that_the_contract_does_not_know_is_a_warning(validator, tmp_path):
    foreign = keys_of(7)
    path = tmp_path / "foreign"
    path.touch(mode=0o600)
    path.write_text(foreign.ethereum)
    found = await results(validator(ethereum__key=f"file://{path}"))
    only(found)
    assert foreign.ethereum_address in bad(found, "membership").detail


async def test_vault_keys_in_another_order(validator, net):
    found = await results(validator(pocket__multisig_public_keys=list(reversed(net.pocket_keys))))
    assert vault_address(list(reversed(net.pocket_keys))) in bad(found, "vault").detail
    only(found, "vault")


async def test_no_journal(net, tmp_path):
    found = await results(load_settings(net.config(tmp_path), {}))
    only(found, "journal")
    assert "reactor journal new" in bad(found, "journal").remedy


async def test_a_damaged_journal(validator):
    settings = validator()
    (settings.state.directory / "journal.sqlite").write_bytes(b"not a database")
    only(await results(settings), "journal")


async def test_active_holds_are_told(validator):
    settings = validator()
    journal = Journal.open(settings.state.directory, bridge_of(settings))
    journal.hold("signing", "operator", "x", "alice")
    journal.close()
    found = await results(settings)
    only(found)
    assert "signing" in bad(found, "holds").detail


async def test_a_running_validator_forbids_a_start_and_not_a_check(validator):
    settings = validator()
    with ProcessLock(settings.state.directory):
        only(await results(settings, starting=True), "state lock")
        only(await results(settings))


async def test_no_database(validator):
    found = await results(
        validator(mongo__uri="mongodb://someone:secret-word@127.0.0.1:1/?replicaSet=rs0", mongo__timeout_ms=300)
    )
    only(found, "database")
    assert "secret-word" not in str(found)


async def test_no_indexes(validator):
    found = await results(validator(mongo__database="empty"))
    only(found, "indexes")
    assert "reactor init-db" in bad(found, "indexes").remedy


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"ethereum__chain_id": 1}, "Ethereum endpoint"),
        ({"ethereum__rpc_urls": ["http://127.0.0.1:1/secret-word"]}, "Ethereum endpoint"),
        ({"pocket__chain_id": "mainnet"}, "Pocket endpoint"),
        ({"pocket__rpc_urls": ["http://127.0.0.1:1/secret-word"]}, "Pocket endpoint"),
    ],
)
async def test_nodes_that_are_not_there_or_of_another_chain(validator, changes, name):
    found = await results(changed(validator(), changes))
    assert name in {one.name for group in found.values() for one in group if not one.ok and one.level == "error"}
    assert bad(found, name)
    assert "secret-word" not in str(found)
    assert all(one.ok for one in found["database"])


def changed(settings, changes):
    """The settings with one value changed, on the journal of the right bridge."""
    ((name, value),) = changes.items()
    section, _, key = name.partition("__")
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update={key: value})})


async def test_one_dead_endpoint_of_two_is_a_warning(validator, net):
    settings = validator(
        ethereum__rpc_urls=[net.anvil.url, "http://127.0.0.1:1"], pocket__rpc_urls=["http://127.0.0.1:1", net.pocket.url]
    )
    found = await results(settings)
    only(found)
    assert bad(found, "Ethereum endpoint").level == "warning"
    assert bad(found, "Pocket endpoint").level == "warning"


async def test_contracts_that_are_none(validator, net):
    found = await results(validator(ethereum__mint_controller_address="0x" + "12" * 20))
    assert "contracts" in {one.name for group in found.values() for one in group if not one.ok and one.level == "error"}


async def test_another_token_than_the_controllers(validator, net):
    other = new_contracts(net)
    found = await results(changed(validator(), {"ethereum__wrapped_pocket_address": other.wpokt}))
    only(found, "token", "journal")
    assert net.deployed.wpokt in bad(found, "token").detail
    # The other token gave its role to its own controller.
    assert bad(found, "minter role").level == "warning"
    assert "grantRole(0x9f2df0fed2c77648de5860a4cc508cd0818c85b8b8a1ab4ceeef8d981c8956a6" in bad(found, "minter role").remedy


async def test_members_configured_and_not_in_the_contract_and_the_other_way_round(validator, net):
    addresses = [one.ethereum_address for one in net.validators[:2]] + ["0x" + "77" * 20]
    found = await results(validator(ethereum__validator_addresses=addresses))
    only(found)
    told = " ".join(one.detail for one in found["members"])
    assert "0x" + "77" * 20 in told
    assert "counts 3 validators, 2" in told


async def test_chain_parameters_that_no_return_could_pass(validator, net, tmp_path):
    node = PocketNode(replace(Genesis(), sig_limit=3, max_memo=65))
    net.loop.run(node.start())
    try:
        found = await results(validator(pocket__rpc_urls=[node.url]))
    finally:
        net.loop.run(node.close())
    only(found, "signature limit", "memo")
    assert bad(found, "vault balance").level == "warning"
    assert bad(found, "Pocket head").level == "warning"  # its blocks are made by hand, from 2025 on


async def test_heads_below_the_start(validator):
    found = await results(validator(ethereum__start_block=10**9, pocket__start_height=10**9))
    assert "start block" in bad(found, "Ethereum head").remedy
    assert "start height" in bad(found, "Pocket head").remedy


# ---------------------------------------------------------------------- the others


@pytest.fixture
def others(validator, net):
    """Write the heartbeats of validators 1 and 2; removed afterwards."""
    settings = validator()

    async def write(*beats):
        async with await open_store(settings) as store:
            for one in beats:
                await beat(store, one)

    yield lambda *beats: net.loop.run(write(*beats))

    async def clear():
        async with await open_store(settings) as store:
            await store.database["heartbeat"].delete_many({})

    net.loop.run(clear())


def made(settings, net, *numbers, **fields):
    """Signed heartbeats of these validators."""
    return [heartbeat(settings, net.validators[number], **fields) for number in numbers]


async def test_the_others_are_up_and_agree(validator, net, others):
    settings = validator()
    others(*made(settings, net, 1, 2))
    found = await results(settings)
    only(found)
    assert found["other validators"][0].ok
    assert "all 2" in found["identity of others"][0].detail


async def test_one_other_identity_is_a_warning_and_a_threshold_of_them_an_error(validator, net, others):
    settings = validator()
    others(*made(settings, net, 1, identity="ff" * 32))
    found = await results(settings)
    only(found)
    assert net.validators[1].ethereum_address in bad(found, "identity of others").detail
    others(*made(settings, net, 2, identity="ff" * 32))
    only(await results(settings), "identity of others")


async def test_forged_and_foreign_heartbeats_say_nothing(validator, net, others):
    settings = validator()
    forged = [{**one, "identity": "ff" * 32} for one in made(settings, net, 1, 2)]
    stranger = heartbeat(settings, keys_of(7), identity="ff" * 32)
    others(*forged, stranger)
    found = await results(settings)
    only(found)
    assert found["identity of others"][0].ok
    assert net.validators[1].ethereum_address in bad(found, "other validators").detail


async def test_an_old_heartbeat_is_nobody_present(validator, net, others):
    settings = validator()
    old = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    others(*made(settings, net, 1, 2, updated_at=old, identity="ff" * 32))
    found = await results(settings)
    only(found)
    assert f"{old:%Y-%m-%d %H:%M:%S}" in bad(found, "other validators").detail


# ---------------------------------------------------------------------- isolation


async def test_a_check_that_breaks_is_one_failing_result():
    async def breaks():
        raise RuntimeError("unforeseen")

    (one,) = await isolated("x", breaks(), "do this")
    assert (one.ok, one.level, one.remedy) == (False, "error", "do this")
    assert "unforeseen" in one.detail


async def test_a_check_that_hangs_is_one_failing_result():
    (one,) = await isolated("x", asyncio.Event().wait(), "do this", "warning", seconds=0.01)
    assert (one.ok, one.level) == (False, "warning")
    assert "no answer" in one.detail


def test_only_errors_forbid_a_start():
    rows = [CheckResult("a", True, ""), CheckResult("b", False, "", "r", "warning"), CheckResult("c", False, "", "r", "error")]
    assert [one.name for one in failures(rows)] == ["c"]


def test_the_helper_writes_what_settings_read(net, tmp_path):
    assert load_settings(write_toml(tmp_path / "x.toml", net.tree(tmp_path)), {}).pocket.vault_address == net.vault
