"""Which of a document's entries verify. Each (digest, entry) is verified once: documents are read many times over."""

from collections.abc import Callable, Iterable, Sequence

from reactor.flows.facts import Pair, SignatureView
from reactor.handlers.claims import Remembered

Verify = Callable[[bytes, str, str], bool]
"""(digest or sign bytes, signer, signature) → whether it verifies. Never raises."""


class Signatures:
    """Verifies entries over the own digest and remembers the answers."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._known: Remembered[tuple[bytes, str, str], bool] = Remembered()

    def view(self, message: bytes, pairs: Iterable[Pair], members: Sequence[str]) -> SignatureView:
        """Entries of members that verify, the others, and whether the valid ones stand once each and in members' order.

        SECURITY: TRUST.md, rule 4. An entry found in the database counts only if it verifies for a member over the own digest.
        """
        places = {member: place for place, member in enumerate(members)}
        valid: list[Pair] = []
        invalid: list[Pair] = []
        for signer, signature in pairs:
            good = signer in places and self.verifies(message, signer, signature)
            (valid if good else invalid).append((signer, signature))
        order = [places[signer] for signer, _ in valid]
        return SignatureView(tuple(valid), tuple(invalid), order == sorted(set(order)))

    def verifies(self, message: bytes, signer: str, signature: str) -> bool:
        """Whether one entry verifies."""
        entry = (message, signer, signature)
        known = self._known.get(entry)
        if known is None:
            known = self._known.set(entry, self._verify(*entry))
        return known
