"""Who may do what in the shared database, over TLS, with passwords and with certificates; and what each may not do."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import DuplicateKeyError, OperationFailure
from store_helpers import BRIDGE, FRONTEND_NAMES, LATER, NOW, burn, invalid_mint, mint, minted, now_is, replica_set, returned

from infra.localnet.certificates import Authority
from infra.localnet.mongod import MongoReplicaSet
from reactor.chains.pocket import vault_address
from reactor.cli.main import main
from reactor.documents.statuses import Collection, Status
from reactor.engine.feed import pipeline
from reactor.store import tail
from reactor.store.audit import read_audit, write_audit
from reactor.store.bulk import Written, bulk
from reactor.store.connection import Store
from reactor.store.heartbeats import beat, read_heartbeats
from reactor.store.indexes import OPEN_STATUSES, init_db, verify
from reactor.store.insert import free_key, insert_missing
from reactor.store.oplog import oplog_times
from reactor.store.problem import StoreProblem
from reactor.store.reading import natural_key, open_ids, read
from reactor.store.roles import Access, RolesReport, UserSpec, create_roles, role_name
from reactor.store.updates import advance

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("roles"),
    # A driver that is closed while it connects leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

DATABASE = "bridge"
BOUND = 120.0
UNAUTHORIZED = 13
MINT = Collection.MINT
WITH_CERTIFICATE = {access: f"{access.value}-one" for access in Access}
USERS = [UserSpec(access, access.value) for access in Access]
USERS += [UserSpec(access, Authority.subject(name)) for access, name in WITH_CERTIFICATE.items()]


@dataclass
class Cluster:
    """A replica set that speaks TLS alone and lets nobody in without login, initialised, with its users."""

    mongo: MongoReplicaSet
    authority: Authority
    report: RolesReport

    def password_uri(self, access: Access) -> str:
        password = quote_plus(self.report.passwords[access.value])
        return f"mongodb://{access.value}:{password}@{self.mongo.address}{self.mongo.tls_options}&authSource=admin"

    def certificate_uri(self, certificate: Path) -> str:
        login = f"&authMechanism=MONGODB-X509&authSource=$external&tlsCertificateKeyFile={quote_plus(str(certificate))}"
        return f"mongodb://{self.mongo.address}{self.mongo.tls_options}{login}"

    def uri(self, access: Access, how: str) -> str:
        if how == "SCRAM":
            return self.password_uri(access)
        return self.certificate_uri(self.authority.client(WITH_CERTIFICATE[access]))


@asynccontextmanager
async def connected(uri: str, database: str = DATABASE) -> AsyncIterator[Store]:
    async with await Store.connect(uri, database, FRONTEND_NAMES, timeout_ms=5000) as store:
        yield store


@pytest.fixture
def sockets() -> Iterator[None]:
    """Such a socket is collected in the test that left it."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with replica_set(authorization=True, tls=authority) as mongo:

        async def prepare() -> RolesReport:
            async with connected(mongo.uri) as store:
                assert (await init_db(store)).conflicts == []
                return await create_roles(store, USERS)

        yield Cluster(mongo, authority, asyncio.run(prepare()))


@pytest.fixture
async def root(cluster: Cluster) -> AsyncIterator[Store]:
    async with connected(cluster.mongo.uri) as store:
        yield store


@pytest.fixture(params=["SCRAM", "x.509"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def heartbeat(**fields: Any) -> dict[str, Any]:
    return {"validator_id": "v1", "hostname": "h", "eth_address": "0x1", "created_at": NOW, "updated_at": NOW, **fields}


def audit(**fields: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("by", "why", "verb", "host", "validator", "vault_address", "wpokt_address"), "x")
    return {"at": NOW, **texts, "arguments": ["mint"], "evaluated": 1, "matched": 0, **fields}


# --- what each may do ------------------------------------------------------------------------------------------------


async def test_a_validator_may_do_all_that_it_does(cluster: Cluster, root: Store, how: str) -> None:
    shift = 1000 if how == "SCRAM" else 2000
    async with connected(cluster.uri(Access.VALIDATOR, how)) as store:
        assert await verify(store) == []
        documents = {
            MINT: mint(shift),
            Collection.INVALID_MINT: invalid_mint(shift + 1),
            Collection.BURN: burn(shift + 2),
            Collection.MINTED: minted(shift + 3),
            Collection.RETURNED: returned(shift + 4),
        }
        squatter = {**documents[MINT], "_id": f"squatter {how}"}
        await root.collection(MINT).insert_one(squatter, bypass_document_validation=True)
        assert list((await insert_missing(store, MINT, [documents[MINT]])).occupied) == [natural_key(MINT, documents[MINT])]
        assert await free_key(store, MINT, documents[MINT], documents[MINT]["_id"]) == 1
        async with store.stream_client() as client, await client[DATABASE].watch(pipeline(store.roles)) as stream:
            for role, document in documents.items():
                assert (await insert_missing(store, role, [document])).inserted == [document["_id"]]
            async with asyncio.timeout(BOUND):
                seen = [(await stream.next())["documentKey"]["_id"] for _ in documents]
            assert seen == [document["_id"] for document in documents.values()]
        doc_id = documents[MINT]["_id"]
        move = advance(MINT, doc_id, frm="pending", to=Status.CONFIRMED, by="0x", reason="final", now=LATER)
        assert await bulk(store, [move]) == [Written.APPLIED]
        assert (await now_is(store, MINT, doc_id))["status"] == "confirmed"
        assert [one async for page in open_ids(store, MINT, OPEN_STATUSES, BRIDGE) for one in page if one == doc_id]
        for name in ("v1", "v2"):
            await beat(store, heartbeat(validator_id=name))
            await beat(store, heartbeat(validator_id=name, updated_at=LATER))
        assert {one["validator_id"] for one in await read_heartbeats(store, ["0x1"])} == {"v1", "v2"}
        assert (await tail.counts(store))[MINT].open[Status.CONFIRMED] >= 1
        assert await tail.oldest(store, Status.CONFIRMED)
        assert await tail.find(store, documents[MINT]["transaction_hash"])
        times = await oplog_times(store)
        assert times is not None
        assert times.seconds >= 0


async def test_a_frontend_may_read_and_follow_the_requests(cluster: Cluster, root: Store, how: str) -> None:
    async with AsyncMongoClient[dict[str, Any]](cluster.uri(Access.FRONTEND, how)) as client:
        number = 3000 if how == "SCRAM" else 4000
        documents = (mint(number), invalid_mint(number), burn(number))
        for name, document in zip(FRONTEND_NAMES.values(), documents, strict=True):
            async with await client[DATABASE][name].watch() as stream:
                found = document["_id"]
                await root.database[name].insert_one(document)
                async with asyncio.timeout(BOUND):
                    assert (await stream.next())["documentKey"]["_id"] == found
            assert await client[DATABASE][name].find_one({"_id": found}) is not None
            assert await client[DATABASE][name].count_documents({"_id": found}) == 1


async def test_an_operator_may_initialise_and_look(cluster: Cluster, root: Store, how: str) -> None:
    await root.database[FRONTEND_NAMES[MINT]].drop_index("by_height")
    await root.collection(Collection.RETURNED).drop()
    async with connected(cluster.uri(Access.OPERATOR, how)) as store:
        assert len(await verify(store)) == 3
        report = await init_db(store)
        assert (report.conflicts, await verify(store)) == ([], [])
        await store.collection(MINT).find_one({})
        await read_heartbeats(store)
        assert await oplog_times(store) is not None
        async with store.stream_client() as client, await client[DATABASE].watch() as stream:
            assert await stream.try_next() is None


@pytest.mark.parametrize("access", [Access.VALIDATOR, Access.OPERATOR])
async def test_who_gives_the_verbs_may_insert_audit_entries_and_read_them(cluster: Cluster, access: Access, how: str) -> None:
    async with connected(cluster.uri(access, how)) as store:
        entry = await write_audit(store, audit(by=f"{access} {how}"))
        await write_audit(store, audit(by="a later one"))
        later, first = (await read_audit(store))[:2]
        assert (later["by"], first["_id"], first["by"]) == ("a later one", entry, f"{access} {how}")


# --- what each may not do --------------------------------------------------------------------------------------------

Act = Callable[[Store], Awaitable[object]]


def _on(role: Collection, act: Callable[[Any], Awaitable[object]]) -> Act:
    return lambda store: act(store.collection(role))


async def _watch_database(store: Store) -> None:
    async with await store.database.watch() as stream:
        await stream.try_next()


async def _first(cursor: Any) -> object:
    return await cursor.to_list(1)


async def _names(store: Store) -> object:
    return await (await store.database.list_collections()).to_list()


async def _first_of_merge(collection: Any) -> object:
    return await (await collection.aggregate([{"$merge": {"into": "audit", "whenMatched": "replace"}}])).to_list(1)


WRITES: Mapping[str, Act] = {
    "insert a request": _on(MINT, lambda c: c.insert_one(mint(1))),
    "update a request": _on(MINT, lambda c: c.update_one({"_id": 0}, {"$set": {"status": "success"}})),
    "replace a request": _on(Collection.BURN, lambda c: c.replace_one({"_id": 0}, burn(1))),
    "insert a heartbeat": _on(Collection.HEARTBEAT, lambda c: c.insert_one(heartbeat())),
    "write by $out": _on(MINT, lambda c: c.aggregate([{"$out": "copy"}])),
    "write by $merge": _on(MINT, lambda c: c.aggregate([{"$merge": "copy"}])),
}
DELETES: Mapping[str, Act] = {
    "delete a mint": _on(MINT, lambda c: c.delete_one({})),
    "delete all burns": _on(Collection.BURN, lambda c: c.delete_many({})),
    "delete an invalid mint": _on(Collection.INVALID_MINT, lambda c: c.find_one_and_delete({})),
    "delete a heartbeat": _on(Collection.HEARTBEAT, lambda c: c.delete_one({})),
    "drop a collection": _on(MINT, lambda c: c.drop()),
    "drop an index": _on(MINT, lambda c: c.drop_index("unique_key")),
    "drop the database": lambda store: store.client.drop_database(DATABASE),
    "rename a collection": _on(MINT, lambda c: c.rename("elsewhere")),
    "cap a collection": lambda store: store.database.command({"convertToCapped": FRONTEND_NAMES[MINT], "size": 4096}),
    "let documents expire": _on(MINT, lambda c: c.create_index("created_at", expireAfterSeconds=0)),
}
SHAPES: Mapping[str, Act] = {
    "make an index": _on(MINT, lambda c: c.create_index("memo")),
    "loosen a schema": lambda store: store.database.command({"collMod": FRONTEND_NAMES[MINT], "validationLevel": "off"}),
    "make a view": lambda store: store.database.command({"create": "view", "viewOn": FRONTEND_NAMES[MINT], "pipeline": []}),
}
AUDITS: Mapping[str, Act] = {
    "change an audit entry": _on(Collection.AUDIT, lambda c: c.update_one({}, {"$set": {"why": "x"}})),
    "replace an audit entry": _on(Collection.AUDIT, lambda c: c.replace_one({}, audit())),
    "insert an audit entry as an update": _on(
        Collection.AUDIT, lambda c: c.update_one({"_id": 0}, {"$set": audit()}, upsert=True)
    ),
    "delete an audit entry": _on(Collection.AUDIT, lambda c: c.delete_one({})),
    "find an audit entry and delete it": _on(Collection.AUDIT, lambda c: c.find_one_and_delete({})),
    "drop the audit collection": _on(Collection.AUDIT, lambda c: c.drop()),
    "rename the audit collection": _on(Collection.AUDIT, lambda c: c.rename("elsewhere")),
    "let audit entries expire": _on(Collection.AUDIT, lambda c: c.create_index("at", expireAfterSeconds=0)),
    "cap the audit collection": lambda store: store.database.command({"convertToCapped": "audit", "size": 4096}),
    "loosen the audit schema": lambda store: store.database.command({"collMod": "audit", "validationLevel": "off"}),
    "write over audit entries by $merge": _on(MINT, _first_of_merge),
}
ELSEWHERE: Mapping[str, Act] = {
    "read another database": lambda store: _first(store.client["other"]["mint"].find()),
    "write to another database": lambda store: store.client["other"]["mint"].insert_one({}),
    "write to another collection": lambda store: store.database["other"].insert_one({}),
    "read the oplog": lambda store: _first(store.client["local"]["oplog.rs"].find()),
    "read passwords": lambda store: _first(store.client["admin"]["system.users"].find()),
    "make a user": lambda store: store.database.command({"createUser": "thief", "pwd": "x", "roles": []}),
    "take a role": lambda store: store.client.admin.command({"grantRolesToUser": "frontend", "roles": ["root"]}),
    "widen a role": lambda store: store.client.admin.command({"updateRole": "bridge-frontend", "privileges": [], "roles": []}),
    "reconfigure the set": lambda store: store.client.admin.command({"replSetReconfig": {}}),
    "step the primary down": lambda store: store.client.admin.command({"replSetStepDown": 1}),
    "shut the server down": lambda store: store.client.admin.command({"shutdown": 1}),
    "kill others' operations": lambda store: store.client.admin.command({"killOp": 1, "op": 1}),
    "set a parameter": lambda store: store.client.admin.command({"setParameter": 1, "logLevel": 1}),
}
BYPASSES: Mapping[str, Act] = {
    "bypass the schema": _on(MINT, lambda c: c.insert_one({"_id": ObjectId()}, bypass_document_validation=True)),
}
PRIVATE: Mapping[str, Act] = {
    "read heartbeats": _on(Collection.HEARTBEAT, lambda c: c.find_one({})),
    "read mints seen": _on(Collection.MINTED, lambda c: c.find_one({})),
    "read returns seen": _on(Collection.RETURNED, lambda c: c.find_one({})),
    "read the audit entries": _on(Collection.AUDIT, lambda c: c.find_one({})),
    "insert an audit entry": _on(Collection.AUDIT, lambda c: c.insert_one(audit())),
    "follow the database": _watch_database,
    "ask for the oplog's window": lambda store: store.client.admin.command({"serverStatus": 1}),
    "list collections": _names,
    "read another collection": lambda store: _first(store.database["other"].find()),
}


FORBIDDEN = {
    Access.VALIDATOR: {**DELETES, **AUDITS, **SHAPES, **ELSEWHERE, **BYPASSES},
    Access.FRONTEND: {**WRITES, **DELETES, **AUDITS, **SHAPES, **ELSEWHERE, **BYPASSES, **PRIVATE},
    Access.OPERATOR: {
        **WRITES,
        **AUDITS,
        **{name: act for name, act in DELETES.items() if name != "let documents expire"},
        **ELSEWHERE,
    },
}
CASES = [(access, name) for access, acts in FORBIDDEN.items() for name in acts]


@pytest.fixture(scope="module")
def refusals(cluster: Cluster) -> dict[tuple[Access, str], object]:
    """What became of each attempt; all are made over one connection per role."""

    async def attempt() -> dict[tuple[Access, str], object]:
        results: dict[tuple[Access, str], object] = {}
        for access, acts in FORBIDDEN.items():
            store = Store(cluster.password_uri(access), DATABASE, FRONTEND_NAMES, 5000)
            async with store:
                for name, act in acts.items():
                    try:
                        results[access, name] = await act(store)
                    except OperationFailure as error:
                        results[access, name] = error
        return results

    return asyncio.run(attempt())


@pytest.mark.parametrize(("access", "name"), CASES, ids=[f"{access.value}: {name}" for access, name in CASES])
def test_nobody_may(refusals: dict[tuple[Access, str], object], access: Access, name: str) -> None:
    result = refusals[access, name]
    assert isinstance(result, OperationFailure), f"was allowed: {result!r}"
    assert result.code == UNAUTHORIZED, result


async def test_what_is_forbidden_is_possible(root: Store) -> None:
    """The twin: the administrator may do such things, so the refusals above say something about the roles."""
    for act in (*WRITES.values(), *PRIVATE.values()):
        with contextlib.suppress(DuplicateKeyError):  # refused for another reason than who asks
            await act(root)


# --- the roles themselves --------------------------------------------------------------------------------------------


async def test_all_is_made_once(cluster: Cluster, root: Store) -> None:
    made = cluster.report
    assert (len(made.made), made.updated, made.present) == (9, [], [])
    assert set(made.passwords) == {access.value for access in Access}
    assert all(password not in repr(made) for password in made.passwords.values())
    assert min(len(password) for password in made.passwords.values()) >= 32
    again = await create_roles(root, USERS)
    assert (again.made, again.updated, len(again.present), again.passwords) == ([], [], 9, {})
    async with connected(cluster.password_uri(Access.VALIDATOR)):
        pass  # the password is what it was


async def test_a_role_that_was_widened_is_narrowed_again(cluster: Cluster, root: Store) -> None:
    name = role_name(DATABASE, Access.VALIDATOR)
    resource = {"db": DATABASE, "collection": FRONTEND_NAMES[MINT]}
    document = mint(5000)
    await root.collection(MINT).insert_one(document)
    await root.client.admin.command(
        {"grantPrivilegesToRole": name, "privileges": [{"resource": resource, "actions": ["remove"]}]}
    )
    async with connected(cluster.password_uri(Access.VALIDATOR)) as store:
        assert (await store.collection(MINT).delete_one({"_id": document["_id"]})).deleted_count == 1
        assert (await create_roles(root)).updated == [f"role {name}"]
        with pytest.raises(OperationFailure) as refused:
            await store.collection(MINT).delete_one({"_id": document["_id"]})
        assert refused.value.code == UNAUTHORIZED
        await root.client.admin.command({"grantRolesToRole": name, "roles": ["readWriteAnyDatabase"]})
        assert (await create_roles(root)).updated == [f"role {name}"]


async def test_a_user_who_is_there_gets_the_role_too(cluster: Cluster, root: Store) -> None:
    await root.client.admin.command({"createUser": "old", "pwd": "kept", "roles": []})
    report = await create_roles(root, [UserSpec(Access.FRONTEND, "old")])
    assert (report.made, report.passwords) == ([], {})
    uri = f"mongodb://old:kept@{cluster.mongo.address}{cluster.mongo.tls_options}&authSource=admin"
    async with connected(uri) as store:
        await store.collection(MINT).find_one({})


async def test_bridges_of_one_cluster_do_not_see_each_other(cluster: Cluster) -> None:
    async with connected(cluster.mongo.uri, "second") as second:
        report = await create_roles(second, [UserSpec(Access.VALIDATOR, "of-second")])
    password = quote_plus(report.passwords["of-second"])
    uri = f"mongodb://of-second:{password}@{cluster.mongo.address}{cluster.mongo.tls_options}&authSource=admin"
    async with connected(uri, "second") as store:
        assert (await insert_missing(store, MINT, [mint(1)])).inserted
    with pytest.raises(StoreProblem, match="may not read database bridge"):
        async with connected(uri):
            pass


@pytest.mark.parametrize("access", list(Access))
async def test_only_an_administrator_makes_roles(cluster: Cluster, access: Access) -> None:
    async with Store(cluster.password_uri(access), DATABASE, FRONTEND_NAMES, 5000) as store:
        with pytest.raises(StoreProblem, match="userAdminAnyDatabase"):
            await create_roles(store)


@pytest.mark.parametrize("text", ["alice", "admin:alice", "validator:", ":alice", "validator: "])
def test_a_user_that_is_no_user_is_refused(text: str) -> None:
    with pytest.raises(StoreProblem, match="ROLE:NAME"):
        UserSpec.parse(text)


def test_users_are_read() -> None:
    assert UserSpec.parse("validator:alice") == UserSpec(Access.VALIDATOR, "alice")
    one = UserSpec.parse("frontend:CN=web,O=bridge")
    assert (one.access, one.name, one.certificate) == (Access.FRONTEND, "CN=web,O=bridge", True)


def config_of(cluster: Cluster, folder: Path, uri: str) -> Path:
    """A validator's configuration; nothing but the database is asked here."""
    vault = [f"{number:02x}" * 32 for number in (1, 2)]
    tree: dict[str, dict[str, Any]] = {
        "mongo": {"uri": uri, "database": "commanded"},
        "ethereum": {
            "rpc_urls": ["http://127.0.0.1:1"],
            "chain_id": 31337,
            "wrapped_pocket_address": BRIDGE.wpokt,
            "mint_controller_address": BRIDGE.mint_controller,
            "start_block": 1,
            "burn_fee": 10_000,
            "validator_addresses": ["0x" + "01" * 20],
        },
        "pocket": {
            "rpc_urls": ["http://127.0.0.1:1"],
            "chain_id": "localnet",
            "start_height": 1,
            "multisig_public_keys": vault,
            "vault_address": vault_address(vault),
            "tx_fee": 10_000,
            "max_mint": 10**12,
        },
        "state": {"directory": str(folder / "state")},
    }
    lines = []
    for section, values in tree.items():
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    (folder / "reactor.toml").write_text("\n".join(lines))
    return folder / "reactor.toml"


def test_the_command_makes_them_and_shows_passwords_once(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(cluster, tmp_path, cluster.mongo.uri)
    command = ["init-db", "--config", str(config), "--roles", "--user", "validator:carol", "--user", "frontend:CN=w,O=x"]
    assert main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"]
    assert said["roles"]["made"][:3] == ["role commanded-validator", "role commanded-frontend", "role commanded-operator"]
    assert set(said["roles"]["passwords"]) == {"carol"}
    password = quote_plus(said["roles"]["passwords"]["carol"])
    uri = f"mongodb://carol:{password}@{cluster.mongo.address}{cluster.mongo.tls_options}&authSource=admin"
    assert asyncio.run(_inserted(uri)) == 1
    assert main(command) == 0
    again = capsys.readouterr().out
    assert "present  user carol (validator)" in again
    assert "password" not in again
    assert main([*command[:-4], "--user", "admin:carol"]) == 2
    assert "ROLE:NAME" in capsys.readouterr().err
    assert main(["init-db", "--config", str(config), "--user", "validator:dave"]) == 2
    assert "--user needs --roles" in capsys.readouterr().err


async def _inserted(uri: str) -> int:
    async with await Store.connect(uri, "commanded") as store:
        return len((await insert_missing(store, MINT, [mint(1)])).inserted)


# --- who does not get in ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sockets")
async def test_nobody_gets_in_without_tls_or_with_another_authority(cluster: Cluster, tmp_path: Path) -> None:
    login, bare = cluster.password_uri(Access.VALIDATOR).split("@")[0], cluster.mongo.address
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(StoreProblem, match=r"mongo\.uri: "):
        await Store.connect(f"{login}@{bare}&authSource=admin", DATABASE, timeout_ms=1000)
    for options in ("&tls=true", f"&tls=true&tlsCAFile={stranger.ca}"):
        with pytest.raises(StoreProblem, match="no TLS connection: certificate verify failed"):
            await Store.connect(f"{login}@{bare}{options}&authSource=admin", DATABASE, timeout_ms=1000)
    with pytest.raises(StoreProblem, match="none that it names cannot be read"):
        await Store.connect(f"{login}@{bare}&tls=true&tlsCAFile={tmp_path}/none", DATABASE, timeout_ms=1000)


@pytest.mark.usefixtures("sockets")
async def test_certificates_of_nobody_and_of_other_authorities_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(StoreProblem, match="refuses the login"):
        await Store.connect(cluster.certificate_uri(cluster.authority.client("nobody")), DATABASE, timeout_ms=2000)
    name = WITH_CERTIFICATE[Access.VALIDATOR]
    with pytest.raises(StoreProblem, match=r"mongo\.uri: "):
        await Store.connect(cluster.certificate_uri(Authority(tmp_path).client(name)), DATABASE, timeout_ms=2000)
    with pytest.raises(StoreProblem, match="refuses the login"):  # the server's own certificate is no validator's
        await Store.connect(cluster.certificate_uri(cluster.authority.server()), DATABASE, timeout_ms=2000)


async def test_a_frontend_is_no_validator(cluster: Cluster) -> None:
    async with connected(cluster.password_uri(Access.FRONTEND)) as store:
        document = mint(6000)
        with pytest.raises(OperationFailure):
            await insert_missing(store, MINT, [document])
        assert await read(store, MINT, [document["_id"]]) == {}
        assert await oplog_times(store) is None
