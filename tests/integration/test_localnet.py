"""The development network: its files, its processes, what it says when it is stuck, and that nothing stays behind."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import AsyncMongoClient

from infra.localnet import __main__ as command
from infra.localnet.configuration import BridgeShape, sections, write_configuration
from infra.localnet.demo import Balance, Outcome
from infra.localnet.deploy import Deployment
from infra.localnet.identities import user_identity, validator_identity, write_keys
from infra.localnet.info import NetworkInfo, NoNetworkError
from infra.localnet.member import ROOT
from infra.localnet.mongod import MongoReplicaSet
from infra.localnet.network import Localnet
from infra.localnet.pocket.wallet import Vault
from infra.localnet.processes import ProcessError
from infra.localnet.stuck import StuckError
from infra.localnet.up import RunsAlreadyError, reserved
from infra.localnet.watch import coins, describe
from reactor.documents.statuses import Collection, Status
from reactor.keys import open_signer
from reactor.settings import SettingsError, load_settings
from reactor.state.journal import Journal
from reactor.store.indexes import verify

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("localnet")]

VALIDATORS = tuple(validator_identity("test", number) for number in (1, 2, 3))
VAULT = Vault(tuple(one.pocket for one in VALIDATORS))
DEPLOYMENT = Deployment(31337, "0x" + "11" * 20, "0x" + "22" * 20, tuple(one.ethereum_address for one in VALIDATORS), 2, 7)
SHAPE = BridgeShape(
    mongo_uri='mongodb://someone:pass"word@localhost:27017/?replicaSet=rs0',
    database="bridge",
    ethereum_urls=("http://127.0.0.1:8545", "http://127.0.0.1:8546"),
    ethereum_finality="latest-2",
    ethereum_poll=0.25,
    deployment=DEPLOYMENT,
    pocket_urls=("http://127.0.0.1:8081",),
    pocket_chain_id="localnet",
    pocket_start=1,
    pocket_confirmations=1,
    pocket_poll=0.25,
    vault=VAULT.address,
    vault_keys=VAULT.public_keys,
    fee=10_000,
    max_mint=335_000_000_000,
)


def _configured(tmp_path: Path, number: int = 1, **options: Any) -> Path:
    identity = VALIDATORS[number - 1]
    path = tmp_path / f"{identity.name}.toml"
    write_configuration(path, sections(SHAPE, identity.name, write_keys(identity, tmp_path / identity.name), **options))
    return path


class TestFiles:
    async def test_configuration_loads_cleanly(self, tmp_path: Path) -> None:
        path = _configured(tmp_path)
        settings = load_settings(path, {})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert settings.mongo.uri.get_secret_value() == SHAPE.mongo_uri
        assert settings.ethereum.start_block == 7
        assert settings.ethereum.finality_floor == 2
        assert settings.pocket.vault_address == VAULT.address
        assert settings.state.directory == tmp_path / "state"
        assert settings.validator.name == "validator-1"

    async def test_keys_open_and_are_nobody_elses_to_read(self, tmp_path: Path) -> None:
        settings = load_settings(_configured(tmp_path), {})
        assert settings.ethereum.key
        assert settings.pocket.key
        ethereum = await open_signer(settings.ethereum.key, "secp256k1", passphrase=None)
        pocket = await open_signer(settings.pocket.key, "ed25519", passphrase=None)
        assert ethereum.address == VALIDATORS[0].ethereum_address
        assert pocket.public_key == VAULT.public_keys[0]
        assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "validator-1").iterdir()} == {0o600}

    def test_all_validators_have_one_identity(self, tmp_path: Path) -> None:
        hashes = {load_settings(_configured(tmp_path, number), {}).identity_hash() for number in (1, 2, 3)}
        assert len(hashes) == 1

    def test_overrides_win_in_nested_sections_too(self, tmp_path: Path) -> None:
        override = {"engine": {"concurrency": 3}, "mongo": {"collections": {"mint": "mints"}}}
        settings = load_settings(_configured(tmp_path, overrides=override), {})
        assert settings.engine.concurrency == 3
        assert settings.mongo.collections.mint == "mints"
        assert settings.mongo.collections.burn == "burn"

    def test_a_wrong_override_is_refused_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"engine\.concurency"):
            load_settings(_configured(tmp_path, overrides={"engine": {"concurency": 3}}), {})

    def test_the_same_seed_makes_the_same_parties_and_another_others(self) -> None:
        again, other = validator_identity("test", 1), validator_identity("other", 1)
        assert again.ethereum_address == VALIDATORS[0].ethereum_address
        assert again.pocket.address == VALIDATORS[0].pocket.address
        assert other.ethereum_address != VALIDATORS[0].ethereum_address
        assert other.pocket.address != VALIDATORS[0].pocket.address
        assert user_identity("test", 1).pocket.address != user_identity("test", 2).pocket.address

    def test_description_comes_back_as_it_was(self, tmp_path: Path) -> None:
        info = NetworkInfo(
            tmp_path, SHAPE.mongo_uri, "bridge", "http://e", DEPLOYMENT, "http://p", "localnet", VAULT.address, 10_000, "s", 2
        )
        info.save()
        assert NetworkInfo.load(tmp_path) == info
        assert replace(info, users=3) != info

    def test_no_description_says_how_to_get_one(self, tmp_path: Path) -> None:
        with pytest.raises(NoNetworkError, match="make up"):
            NetworkInfo.load(tmp_path)

    def test_a_directory_serves_one_network_at_a_time(self, tmp_path: Path) -> None:
        with reserved(tmp_path), pytest.raises(RunsAlreadyError, match="already"), reserved(tmp_path):
            pass
        with reserved(tmp_path):  # free again
            pass


class TestParameters:
    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"validators": 1}, "validators"),
            ({"threshold": 4}, "threshold"),
            ({"threshold": 0}, "threshold"),
            ({"users": 0}, "users"),
            ({"mongo_nodes": 2}, "mongo_nodes"),
        ],
    )
    def test_nonsense_is_refused_by_name(self, wrong: dict[str, int], field: str) -> None:
        with pytest.raises(ValueError, match=field):
            Localnet(**wrong)  # type: ignore[arg-type]

    @pytest.mark.parametrize(("text", "amount"), [("5", 5_000_000), ("0.000001", 1), ("2.50", 2_500_000)])
    def test_amounts_in_pokt(self, text: str, amount: int) -> None:
        assert command._upokt(text) == amount

    @pytest.mark.parametrize("text", ["0", "-1", "0.0000001", "five", "nan", "inf", ""])
    def test_what_is_no_amount(self, text: str) -> None:
        with pytest.raises(ValueError, match="amount"):
            command._upokt(text)

    def test_clearing_spares_what_is_not_ours(self, tmp_path: Path) -> None:
        (tmp_path / "validator-1").mkdir()
        (tmp_path / "thesis.txt").write_text("five years of work")
        with pytest.raises(ValueError, match=r"thesis\.txt"):
            command._clear(tmp_path)
        assert (tmp_path / "validator-1").is_dir()
        (tmp_path / "thesis.txt").unlink()
        command._clear(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_help_names_every_parameter(self) -> None:
        shown = subprocess.run(
            [sys.executable, "-m", "infra.localnet", "demo", "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        for option in ("--validators", "--threshold", "--mongo-nodes"):
            assert option in shown.stdout


NAMES = {"0xaa": "validator-1", "0xbb": "validator-2"}
BORN: dict[str, Any] = {
    "_id": 1, "transaction_hash": "ab" * 32, "amount": "2500000", "recipient_address": "0x" + "cd" * 20,
    "signers": [], "history": [], "waiting": None,
}  # fmt: skip


class TestLiveLog:
    def test_a_new_document_is_told_with_its_amount(self) -> None:
        (line,) = describe(Collection.MINT, None, BORN, NAMES)
        assert line == "pending: deposit of 2.500000 POKT for 0xcdcdcdcd…"

    def test_signatures_and_statuses_are_told_once_each(self) -> None:
        history = [{"status": "signed", "reason": "2 of 2 signatures", "by": "0xbb", "at": datetime.now(UTC)}]
        after = {**BORN, "signers": ["0xaa", "0xbb"], "history": history}
        lines = list(describe(Collection.MINT, BORN, after, NAMES))
        assert lines == [
            "signature 1, of validator-1",
            "signature 2, of validator-2",
            "signed: 2 of 2 signatures (validator-2)",
        ]
        assert list(describe(Collection.MINT, after, after, NAMES)) == []

    def test_reasons_to_wait_are_sentences(self) -> None:
        after = {**BORN, "waiting": {"reason": "vault_short", "params": {}}}
        (line,) = describe(Collection.BURN, BORN, after, NAMES)
        assert line.startswith("waits: the vault's balance does not cover it")

    @pytest.mark.parametrize(("amount", "text"), [(0, "0.000000"), (1, "0.000001"), (-1_500_000, "-1.500000")])
    def test_coins(self, amount: int, text: str) -> None:
        assert coins(amount) == text


DONE = dict.fromkeys(("mint", "invalid_mint", "burn"), "success")
EXACT = Balance("vault", "vault", 0, 15, 15)


class TestOutcome:
    def test_all_right_is_good(self) -> None:
        outcome = Outcome(dict(DONE), [EXACT])
        said = json.loads(outcome.line({"validators": 3}).removeprefix("DEMO RESULT "))
        assert outcome.good
        assert (said["mint"], said["balances_exact"], said["validators"]) == ("success", True, 3)

    @pytest.mark.parametrize(
        "outcome",
        [
            Outcome({**DONE, "burn": "signed"}, [EXACT]),
            Outcome(dict(DONE), [EXACT, Balance("fees", "fees", 0, 14, 15)]),
            Outcome(dict(DONE), []),
            Outcome(),
        ],
    )
    def test_one_thing_wrong_is_not_good(self, outcome: Outcome) -> None:
        assert not outcome.good


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}


async def test_a_network_without_validators_is_complete_and_ends_whole(tmp_path: Path) -> None:
    before = _children()
    steps: list[str] = []
    async with Localnet(
        start=False, directory=tmp_path, ethereum_block_time=None, pocket_block_time=None, on_step=steps.append
    ) as net:
        started = _children() - before
        assert len(started) == 2  # mongod and anvil
        assert await verify(net.store) == []
        assert net.deployment.validators == tuple(one.address for one in net.validators)
        assert net.bridge.vault == net.vault.address
        for one in net.validators:
            assert not one.running
            Journal.open(one.state, net.bridge).close()
        user = net.users[0]
        height = net.pocket.height
        deposit = await user.deposit(5_000_000)
        net.pocket.step()
        assert await user.wait_in_block(deposit) == height + 1
        assert net.vault_balance() == 5_000_000
        assert await user.pocket_balance() == 1_000_000 * 10**6 - 5_000_000 - net.info.fee
        assert (await user.balances()).wpokt == await net.token_supply() == 0
        assert NetworkInfo.load(tmp_path) == net.info
        assert len(user.memo()) <= net.pocket.chain.genesis.max_memo
        with pytest.raises(StuckError) as stuck:
            await net.wait_for(Collection.MINT, deposit, Status.SIGNED, seconds=0.2)
        assert "signed" in str(stuck.value)
        assert "validator-1 is down" in str(stuck.value)
        assert "mint: none" in str(stuck.value)
    assert _children() - before == set()
    assert not (tmp_path / "network.json").exists()
    assert any("anvil" in step for step in steps)


async def test_a_validator_that_refuses_to_start_is_quoted_and_nothing_stays_behind(tmp_path: Path) -> None:
    before = _children()
    wrong = {"ethereum": {"wrapped_pocket_address": "0x" + "99" * 20}}
    with pytest.raises(ProcessError, match=r"validator-\d ended after"):
        async with Localnet(validators=2, directory=tmp_path, ethereum_block_time=None, settings=wrong):
            pytest.fail("a validator ran on the wrong token")
    assert _children() - before == set()


async def test_cancelled_while_it_comes_up_it_leaves_nothing_behind(tmp_path: Path) -> None:
    before = _children()
    reached = asyncio.Event()

    async def bring_up() -> None:
        async with Localnet(
            validators=2, directory=tmp_path, on_step=lambda step: reached.set() if "deploying" in step else None
        ):
            pytest.fail("it was not cancelled")

    task = asyncio.create_task(bring_up())
    await asyncio.wait_for(reached.wait(), 60)
    assert _children() - before
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _children() - before == set()


async def test_somebody_elses_database_server_is_left_as_it_was() -> None:
    async with MongoReplicaSet() as mongo, AsyncMongoClient[dict[str, Any]](mongo.uri) as client:
        before = set(await client.list_database_names())
        async with Localnet(start=False, mongo_uri=mongo.uri, ethereum_block_time=None, pocket_block_time=None) as net:
            assert net.mongo is None
            (made,) = set(await client.list_database_names()) - before
            assert made == net.info.database != "bridge"
            assert net.validators[0].settings().mongo.database == made
        assert set(await client.list_database_names()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_a_signal_it_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MONGODB_URI": "", "PYTHONUNBUFFERED": "1"}
    command_line = [sys.executable, "-m", "infra.localnet", "demo", "--validators", "2", "--threshold", "1"]
    with subprocess.Popen(
        command_line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout
        assert demo.stderr
        for line in demo.stdout:
            if "starting 2 validators" in line:
                break
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 2
        demo.send_signal(number)
        assert demo.wait(60) == 130
        assert "stopped" in demo.stderr.read()
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert gone
    assert list((tmp_path / ".localnet").iterdir()) == []
