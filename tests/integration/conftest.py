"""What several modules of integration tests stand on."""

from collections.abc import AsyncIterator, Iterator

import pytest
from store_helpers import new_store, replica_set

from reactor.store.connection import Store


@pytest.fixture(scope="module")
def mongo_uri() -> Iterator[str]:
    """Where a replica set of this module's own listens."""
    with replica_set() as mongo:
        yield mongo.uri


@pytest.fixture
async def store(mongo_uri: str) -> AsyncIterator[Store]:
    """A store on a database of this test's own."""
    async with new_store(mongo_uri) as store:
        yield store
