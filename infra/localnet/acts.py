"""A user's verbs against a network that another process runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from web3 import AsyncHTTPProvider, AsyncWeb3

from infra.localnet.identities import user_identity
from infra.localnet.info import NetworkInfo
from infra.localnet.user import User
from reactor.documents.statuses import Collection, Status
from reactor.store.connection import Document, Store


@asynccontextmanager
async def acting_user(directory: Path, number: int) -> AsyncIterator[User]:
    """User `number` (from 1) of the network in `directory`. Raises `NoNetworkError` or `ValueError`."""
    info = NetworkInfo.load(directory)
    if not 1 <= number <= info.users:
        raise ValueError(f"user {number}: the network has users 1 to {info.users}")
    web3 = AsyncWeb3(AsyncHTTPProvider(info.ethereum_url))
    try:
        yield User(info, user_identity(info.seed, number), web3)
    finally:
        await web3.provider.disconnect()


async def mintable(user: User) -> list[Document]:
    """The signed mints for the user that the contract would take now, by nonce."""
    used = await user.nonce()
    async with await Store.connect(user.info.mongo_uri, user.info.database) as store:
        query = {"status": Status.SIGNED.value, "recipient_address": user.ethereum_address}
        found = await store.collection(Collection.MINT).find(query).to_list()
    found = [document for document in found if int(document["nonce"]) > used]
    return sorted(found, key=lambda document: int(document["nonce"]))
