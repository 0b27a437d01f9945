"""No secret gets out of a real validator that logs all it can: not in success, not in failure, not in a traceback."""

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from bson import ObjectId
from cli_helpers import Network, network
from pymongo import MongoClient
from secret_helpers import (
    NEEDLES,
    Running,
    Secrets,
    core_limit,
    keys_of,
    running,
    secrets_in,
    secrets_in_database,
    secrets_in_files,
    secrets_in_process_list,
)

from infra.localnet.pocket.wallet import Wallet
from reactor.foreign import MASK
from reactor.keys.files import write_key_file
from reactor.keys.keystore import encrypt
from tests.property.hostile_peer import Answer, HostilePeer, Request, json_answer

pytestmark = pytest.mark.integration

S = Secrets()
RECIPIENT = "0x" + "ab" * 20
MONGO_USER = "validator"
PASSWORD = quote(S.mongo_password.decode(), safe="")
DEAD_RPC = f"http://user:{S.rpc_password.decode()}@127.0.0.1:1/v3/{S.api_key.decode()}"
REACTOR = [sys.executable, "-m", "reactor.cli.main"]

# A fault inside a signer, with the key in a local variable that the failing line names. Heartbeats are still signed: without
# them it would not come so far.
FAULTY_SIGNER = """
import sys
from reactor.cli.main import main
from reactor.keys.local import Secp256k1Signer

async def sign(signer, payload, purpose="other", original=Secp256k1Signer.sign):
    if purpose == "request":
        key = signer._key.secret
        raise RuntimeError("the library failed" if key else "")
    return await original(signer, payload, purpose)

Secp256k1Signer.sign = sign
{more}
sys.exit(main())
"""
# The twin: what loguru does by default, which shows the values of local variables.
CARELESS_LOG = """
from loguru import logger
from reactor import logs

def careless(*_, **__):
    logger.remove()
    logger.add(sys.stderr, level="TRACE", diagnose=True, backtrace=True)

logs.configure_logs = careless
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network(keys_of) as up:
        with MongoClient[dict[str, Any]](up.mongo.uri) as client:
            roles = ["root"]
            client.admin.command("createUser", MONGO_USER, pwd=S.mongo_password.decode(), roles=roles)
        yield up


class Desk:
    """Validator 0 with all the secrets, on a database of its own."""

    def __init__(self, net: Network, folder: Path) -> None:
        self.net, self.folder = net, folder
        self.database = f"secrets{ObjectId()}"
        self.keystore, self.passphrase = folder / "ethereum.json", folder / "passphrase"
        text = json.dumps(encrypt(S.ethereum_key, "secp256k1", S.passphrase.decode(), scrypt_n=2**12))
        write_key_file(self.keystore, text, "test")
        write_key_file(self.passphrase, S.passphrase.decode() + "\n", "test")
        self.runs: list[Running] = []

    def config(self, **changes: Any) -> Path:
        settings = {
            "mongo__uri": f"mongodb://{MONGO_USER}:{PASSWORD}@{self.net.mongo.address}&authSource=admin",
            "mongo__database": self.database,
            # The first endpoint is down, so each read tells of it.
            "ethereum__rpc_urls": [DEAD_RPC, self.net.anvil.url],
            "pocket__rpc_urls": [DEAD_RPC, self.net.pocket.url],
            "ethereum__key": f"keystore://{self.keystore}",
            "ethereum__key_passphrase_file": str(self.passphrase),
        }
        path = self.net.config(self.folder, 0, **(settings | changes))
        path.write_text(path.read_text() + '\n[log]\nlevel = "TRACE"\n')
        return path

    def do(self, *arguments: str, code: int | None = 0, **changes: Any) -> str:
        """One command to its end, with this exit code (None: a failure, -1: any); what it said, which holds no secret."""
        folder = self.folder / f"run{len(self.runs)}"
        folder.mkdir()
        with running(folder, [*REACTOR, *arguments, "--config", self.config(**changes)]) as one:
            ended = one.process.wait(120)
        assert code == -1 or (ended != 0 if code is None else ended == code), one.said()
        self.runs.append(one)
        assert secrets_in_files(one.outputs) == []
        return one.said()

    def ready(self) -> None:
        self.do("init-db")
        self.do("journal", "new", "--allow-older")

    def deposit(self) -> str:
        user = Wallet.from_seed(self.database)
        self.net.pocket.chain.fund(bytes.fromhex(user.address), 10**9)
        memo = json.dumps({"address": RECIPIENT, "chain_id": str(self.net.anvil.chain_id)}, separators=(",", ":"))
        return self.net.loop.run(user.pay(self.net.pocket.url, self.net.vault, 5_000_000, memo))

    def state_files(self) -> list[Path]:
        return [path for path in (self.folder / "state").rglob("*") if path.is_file()]


@pytest.fixture
def desk(net: Network, tmp_path: Path) -> Desk:
    return Desk(net, tmp_path)


def test_a_validator_that_signs_lets_nothing_out(desk: Desk) -> None:
    desk.ready()
    folder = desk.folder / "signing"
    folder.mkdir()
    with running(folder, [*REACTOR, "run", "--config", desk.config()]) as validator:
        validator.until("validator 0x")
        pid = validator.process.pid
        tx = desk.deposit()
        validator.until(f"{tx}: signed")
        assert secrets_in_process_list(pid) == []
        assert core_limit(pid) == ("0", "0")
        # What operators look at meanwhile.
        for command in (("status",), ("explain", tx), ("keys", "show"), ("config", "show"), ("journal", "show")):
            # The code of status says who can sign at this moment: on a busy machine a heartbeat may be late.
            desk.do(*command, code=0 if command[0] != "status" else -1)
        assert secrets_in_files(desk.state_files()) == []
        assert validator.stop() == 0
    assert secrets_in_files(validator.outputs) == []
    documents, found = secrets_in_database(desk.net.mongo.uri, desk.database)
    assert found == []
    assert documents >= 2  # the deposit's and the heartbeat
    assert len(desk.state_files()) >= 3
    assert secrets_in_files(desk.state_files()) == []
    assert "DEBUG" in validator.said()


def wrong_passphrase(desk: Desk) -> dict[str, Any]:
    # It begins with the right one: a message that compares the two would tell.
    write_key_file(desk.folder / "wrong", S.passphrase.decode() + " and more", "test")
    return {"ethereum__key_passphrase_file": str(desk.folder / "wrong")}


def short_key(desk: Desk) -> dict[str, Any]:
    write_key_file(desk.folder / "short", S.pocket_seed.hex()[:-2], "test")
    return {"pocket__key": f"file://{desk.folder / 'short'}"}


def wrong_password(desk: Desk) -> dict[str, Any]:
    return {"mongo__uri": f"mongodb://{MONGO_USER}:{PASSWORD}x@{desk.net.mongo.address}&authSource=admin"}


LOGIN = f"{MONGO_USER}:{PASSWORD}@127.0.0.1:1"
# What is wrong, and a word of the message that says so.
FAILURES: dict[str, tuple[Callable[[Desk], dict[str, Any]], str]] = {
    "no endpoint of Ethereum answers": (lambda _: {"ethereum__rpc_urls": [DEAD_RPC]}, "ethereum endpoint"),
    "no endpoint of Pocket answers": (lambda _: {"pocket__rpc_urls": [DEAD_RPC]}, "pocket endpoint"),
    "Mongo is down": (lambda _: {"mongo__uri": f"mongodb://{LOGIN}/?replicaSet=rs0"}, "mongo"),
    "Mongo refuses the password": (wrong_password, "mongo"),
    "the URI is none": (lambda _: {"mongo__uri": LOGIN}, "mongo.uri"),
    "an endpoint is no URL": (lambda _: {"ethereum__rpc_urls": [DEAD_RPC.removeprefix("http")]}, "ethereum.rpc_urls"),
    "the passphrase is wrong": (wrong_passphrase, "passphrase"),
    "the key is too short": (short_key, "pocket key"),
}


@pytest.mark.parametrize(("change", "told"), FAILURES.values(), ids=FAILURES)
def test_a_validator_that_fails_to_start_lets_nothing_out(
    desk: Desk, change: Callable[[Desk], dict[str, Any]], told: str
) -> None:
    said = desk.do("run", code=None, mongo__timeout_ms=1500, **change(desk))
    assert told in said.lower()
    assert secrets_in_files(desk.state_files()) == []


def test_checking_what_fails_lets_nothing_out(desk: Desk) -> None:
    """All of it at once, as `check` tells all at once."""
    faults = {"ethereum__rpc_urls": [DEAD_RPC], "pocket__rpc_urls": [DEAD_RPC], **wrong_password(desk), **short_key(desk)}
    said = desk.do("check", code=1, mongo__timeout_ms=1500, **faults, **wrong_passphrase(desk)).lower()
    assert [
        word for word in ("ethereum endpoint", "pocket endpoint", "mongo", "passphrase", "pocket key") if word not in said
    ] == []


@pytest.mark.parametrize("careless", [False, True], ids=["our log", "the twin: loguru's own"])
def test_a_traceback_out_of_a_signer_holds_no_key(desk: Desk, careless: bool) -> None:
    desk.ready()
    folder = desk.folder / "faulty"
    folder.mkdir()
    # A file: a log that shows values needs the source.
    program = folder / "faulty.py"
    program.write_text(FAULTY_SIGNER.replace("{more}", CARELESS_LOG if careless else ""))
    with running(folder, [sys.executable, program, "run", "--config", desk.config()]) as validator:
        desk.deposit()
        validator.until("Traceback")
        validator.until("RuntimeError: the library failed")
        validator.stop()
    found = secrets_in_files(validator.outputs)
    assert found == ([f"ethereum_key in {folder / 'stderr'}"] if careless else [])


# What endpoints repeat of the URL that they are asked by: in the form of each chain's errors, with a status that is believed to
# be the node's own, and as a gateway's page.
ETHEREUM_ECHO = json_answer(
    {"jsonrpc": "2.0", "id": "%ID%", "error": {"code": -32000, "message": "no project for %TARGET% at %HOST% (%AUTH%)\n\x1b[2J"}}
)
USERINFO = f"user:{S.rpc_password.decode()}"
# User information and target: where providers put their keys.
PLACES = [("", f"/v3/{S.api_key.decode()}"), ("", f"/rpc?apikey={S.api_key.decode()}"), (USERINFO, "/v1")]


def repeating(request: Request) -> Answer:
    """Every other time in the protocol's own form."""
    asked = request.json
    if isinstance(asked, dict) and "jsonrpc" in asked:
        spoken = replace(ETHEREUM_ECHO, body=ETHEREUM_ECHO.body.replace(b'"%ID%"', b"%ID%"))
    else:
        spoken = replace(json_answer({"code": 400, "message": "no project for %TARGET% at %HOST% (%AUTH%)"}), status="400")
    page = Answer(status="403", body=b"<html>%TARGET% of %HOST% is not allowed (%AUTH%)</html>")
    return spoken if len(request.body) % 2 else page


def test_what_endpoints_repeat_of_their_urls_gets_out_nowhere(desk: Desk) -> None:
    with HostilePeer(repeating) as peer:
        urls = [peer.url(target, userinfo) for userinfo, target in PLACES]
        changes = {"ethereum__rpc_urls": [*urls, desk.net.anvil.url], "pocket__rpc_urls": [*urls, desk.net.pocket.url]}
        desk.ready()
        folder = desk.folder / "repeating"
        folder.mkdir()
        with running(folder, [*REACTOR, "run", "--config", desk.config(**changes)]) as validator:
            validator.until("validator 0x")
            tx = desk.deposit()
            validator.until(f"{tx}: signed")
            for command in (("status",), ("status", "--json"), ("explain", tx), ("journal", "show"), ("config", "show")):
                desk.do(*command, code=0 if command[0] != "status" else -1, **changes)
            desk.do("check", code=-1, **changes)
            # What they said is told all the same: only the secrets are masked.
            told = problems_told(desk, "Ethereum endpoint", "Pocket endpoint", "(endpoint 1)", "(endpoint 2)", "(endpoint 3)")
            assert "no project for" in told or "is not allowed" in told
            assert "\\u001b" not in told
            validator.stop()
    everything = validator.said() + "".join(run.said() for run in desk.runs)
    assert peer.requests > 10
    assert MASK in everything
    assert base64.b64encode(USERINFO.encode()).decode() not in everything + told
    assert secrets_in_files([*validator.outputs, *desk.state_files()]) == []
    assert secrets_in_database(desk.net.mongo.uri, desk.database)[1] == []


def problems_told(desk: Desk, *words: str) -> str:
    """The problems of a heartbeat that has all these words."""
    end = time.monotonic() + 90
    with MongoClient[dict[str, Any]](desk.net.mongo.uri) as client:
        while True:
            told = json.dumps([one.get("problems") for one in client[desk.database]["heartbeat"].find()])
            if all(word in told for word in words):
                return told
            assert time.monotonic() < end, told
            time.sleep(0.05)


# ---------------------------------------------------------------------- the search itself


@pytest.mark.parametrize("name", NEEDLES)
def test_the_search_finds_what_is_planted(net: Network, tmp_path: Path, name: str) -> None:
    """The twin of all above: in a document, in a file, in a command line, in each spelling, and cut in half."""
    secret = dict(S.items())[name]
    database = f"planted{ObjectId()}"
    with MongoClient[dict[str, Any]](net.mongo.uri) as client:
        client[database]["anything"].insert_one({"history": [{"reason": f"cannot connect with {secret.decode()}"}]})
    assert secrets_in_database(net.mongo.uri, database) == (1, [f"{name} in anything"])
    planted = tmp_path / "log"
    planted.write_bytes(b"\x00\xff" + secret)
    assert secrets_in_files([planted]) == [f"{name} in {planted}"]
    for needle in NEEDLES[name]:
        assert f"{name} in a line" in secrets_in("a line", b"before " + needle + b" after")
    with running(tmp_path, [sys.executable, "-c", "import time; time.sleep(600)", "--password", secret.decode()]) as one:
        pid = one.process.pid
        end = time.monotonic() + 60
        while not (found := secrets_in_process_list(pid)):
            assert time.monotonic() < end  # between fork and exec it still shows the command line of the test
        assert found == [f"{name} in /proc/{pid}/cmdline"]


def test_the_search_finds_nothing_where_nothing_is() -> None:
    keys = [keys_of(number) for number in range(3)]
    public = " ".join([*(one.ethereum_address for one in keys), *(one.pocket_key for one in keys)])
    assert secrets_in("public", public) == []


def test_a_process_that_does_not_ask_may_dump(tmp_path: Path) -> None:
    """The twin of the limit: it is not this machine's default."""
    raised = ["sh", "-c", "ulimit -Sc $(ulimit -Hc); exec sleep 600"]
    with running(tmp_path, raised) as one:
        end = time.monotonic() + 60
        while core_limit(one.process.pid)[0] != core_limit(one.process.pid)[1]:
            assert time.monotonic() < end
        if core_limit(one.process.pid) == ("0", "0"):
            pytest.skip("this machine forbids cores to everyone")
