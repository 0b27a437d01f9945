"""A whole bridge on a replica set that speaks TLS alone, whose validators have nothing but the validator's role."""

from pathlib import Path

import pytest
from bridge_helpers.harness import FEE, running_bridge
from pymongo.errors import OperationFailure

from infra.localnet.certificates import Authority
from infra.localnet.mongod import MongoReplicaSet
from reactor.documents.statuses import Collection
from reactor.store.connection import Store
from reactor.store.heartbeats import read_heartbeats
from reactor.store.roles import Access, UserSpec, create_roles

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("bridge")]

AMOUNT = 1_000_000
DATABASE = "secured"


async def test_mint_refund_and_return_with_the_validators_role_and_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with MongoReplicaSet(authorization=True, tls=authority) as mongo:
        async with await Store.connect(mongo.uri, DATABASE) as root:
            await create_roles(root, [UserSpec(Access.VALIDATOR, authority.subject("alice"))])
        login = f"&authMechanism=MONGODB-X509&authSource=$external&tlsCertificateKeyFile={authority.client('alice')}"
        uri = f"mongodb://{mongo.address}{mongo.tls_options}{login}"
        async with running_bridge(mongo.uri, settings={"mongo": {"uri": uri}}, database=DATABASE) as bridge:
            recipient = bridge.recipient()
            raw, hash_ = bridge.deposit_of(AMOUNT, bridge.memo(recipient))
            # Somebody has taken the deposit's key: without a right to delete, the validators move him aside.
            squatter = {"_id": "squatter", "transaction_hash": hash_}
            await bridge.net.store.collection(Collection.MINT).insert_one(squatter, bypass_document_validation=True)
            await bridge.send(raw)
            await bridge.minted(hash_)
            assert await bridge.judge.balance(recipient) == AMOUNT
            raw, hash_ = bridge.deposit_of(AMOUNT, "no memo")
            await bridge.send(raw)
            _, paid = await bridge.paid(Collection.INVALID_MINT, hash_)
            assert [one.amount for one in paid] == [AMOUNT - FEE]
            burnt = await bridge.presigned_burn(AMOUNT, "ab" * 20)
            _, paid = await bridge.paid(Collection.BURN, burnt)
            assert [(one.recipient, one.amount) for one in paid] == [("ab" * 20, AMOUNT - FEE)]

            async def well() -> bool:
                return {tuple(one["problems"]) for one in await read_heartbeats(bridge.net.store)} == {()}

            # What a busy machine is late with is a problem of that heartbeat, and none of the next.
            await bridge.eventually(well, "every heartbeat to name no problem")
            for validator in bridge.validators:
                # The twin: it is this role that they run with, and it does forbid.
                store = validator.store
                assert store.operations["delete"] == 0
                with pytest.raises(OperationFailure, match="not authorized"):
                    await store.collection(Collection.MINT).delete_one({})
                await bridge.eventually(lambda one=validator: one.oplog.window is not None, "the oplog's window to be known")
