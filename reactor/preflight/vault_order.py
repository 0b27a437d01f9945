"""In which order the configured keys would make the configured vault: for the remedy, where they do not in their own."""

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import Final

from reactor.chains.pocket import vault_address

MOST_TRIED_WHOLE: Final = 8
"""Keys of which every order is tried: 40,320 orders, less than a second. Of more keys, the orders that mistakes make."""


def fitting_order(keys: Sequence[str], vault: str) -> tuple[int, ...] | None:
    """The places (from 0) of `keys` in the order that makes `vault`; none if no order that is tried does."""
    for order in _orders(keys):
        if vault_address([keys[place] for place in order]) == vault:
            return order
    return None


def _orders(keys: Sequence[str]) -> Iterator[tuple[int, ...]]:
    """Each order at least once for a few keys; for more: sorted, reversed, rotated, two exchanged, one moved."""
    count = len(keys)
    if count <= MOST_TRIED_WHOLE:
        yield from permutations(range(count))
        return
    own = tuple(range(count))
    by_key = tuple(sorted(own, key=lambda place: keys[place]))
    yield from (by_key, by_key[::-1], own[::-1])
    yield from (own[start:] + own[:start] for start in range(1, count))
    for one, other in combinations(own, 2):
        exchanged = list(own)
        exchanged[one], exchanged[other] = exchanged[other], exchanged[one]
        yield tuple(exchanged)
    for place in own:
        rest = own[:place] + own[place + 1 :]
        yield from ((*rest[:target], place, *rest[target:]) for target in range(count))
