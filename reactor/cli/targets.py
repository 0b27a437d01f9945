"""What an operator means by a hash, an id, an address or a key: the scopes of holds, found in the own ledger."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reactor.cli.common import EXIT_USAGE, Problem, clean
from reactor.cli.local import of_transaction, read_ledger

if TYPE_CHECKING:
    from reactor.settings import Settings
    from reactor.state.ledger import Ledger

_HASH: Final = re.compile(r"(0x)?[0-9a-f]{64}")
_ADDRESS: Final = re.compile(r"(0x)?[0-9a-f]{40}")
_ID: Final = re.compile(r"[0-9a-f]{24}")
_DEPOSIT: Final = re.compile(r"[0-9a-f]{64}")
_BURN: Final = re.compile(r"0x[0-9a-f]{64}:[0-9]{1,6}")
_KEYS: Final = {
    _DEPOSIT: "the 64 hex digits of the deposit's transaction",
    _BURN: "0x, the 64 hex digits of the burn's transaction, a colon and its place among that transaction's burns",
}
_FORMS: Final = "give a transaction hash, a document's _id, an event key, a recipient's address, or `signing`"


@dataclass(frozen=True, slots=True)
class Target:
    """`scopes` of holds; `events` are the keys among them; `notes` what the operator should know."""

    scopes: tuple[str, ...]
    events: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """The notes in one line."""
        return "; ".join(self.notes)

    def event(self, asked: str) -> str:
        """The one event that is meant. Raises Problem where it is none (wrong usage) or several."""
        if len(self.events) == 1:
            return self.events[0]
        if not self.events:
            remedy = "give a transaction hash, a document's _id or an event key"
            raise Problem(f"{clean(asked)} names no event", remedy, EXIT_USAGE)
        raise Problem(f"{clean(asked)} names {len(self.events)} events", "give one of the keys: " + ", ".join(self.events))


def resolve(settings: Settings, target: str) -> Target:
    """The scopes that `target` means. Raises Problem where it means nothing: wrong usage where nothing can be written so."""
    from reactor.parts import bridge_of
    from reactor.state.holds import SIGNING, event_scope, recipient_scope

    text = target.strip()
    bridge = bridge_of(settings)
    if text == SIGNING:
        return Target((SIGNING,))
    kind, _, rest = text.partition(":")
    if kind == "recipient" and _ADDRESS.fullmatch(rest.lower()):
        return Target((recipient_scope(rest.lower()),))
    if kind == "direction":
        raise Problem(f"{clean(text)} is a direction", "use `reactor pause` and `reactor resume`", EXIT_USAGE)
    key = rest if kind == "event" else text
    for scope, form in ((bridge.pocket_scope, _DEPOSIT), (bridge.ethereum_scope, _BURN)):
        if key.startswith(f"{scope}:"):
            if not form.fullmatch(key.removeprefix(f"{scope}:")):
                raise Problem(f"{clean(text)} is no event key", f"`{scope}:` is followed by {_KEYS[form]}", EXIT_USAGE)
            return Target((event_scope(key),), (key,))
    lowered = text.lower()
    if _ADDRESS.fullmatch(lowered):
        return Target((recipient_scope(lowered),))
    if _HASH.fullmatch(lowered) or _ID.fullmatch(lowered):
        keys, notes = _events(settings, lowered)
        return Target(tuple(event_scope(one) for one in keys), tuple(keys), tuple(notes))
    raise Problem(f"{clean(text)} is nothing that can be held", _FORMS, EXIT_USAGE)


def _events(settings: Settings, text: str) -> tuple[list[str], list[str]]:
    from reactor.documents.keys import deposit_key
    from reactor.parts import bridge_of

    ledger = read_ledger(settings)
    try:
        keys = [] if ledger is None else _in_ledger(ledger, text)
    finally:
        if ledger is not None:
            ledger.close()
    if len(keys) > 1:
        return keys, [f"{len(keys)} events of this transaction are meant"]
    if keys:
        return keys, []
    if _HASH.fullmatch(text) and not text.startswith("0x"):
        # A deposit is named by its hash alone, so it can be held before it was seen; a burn's position cannot be guessed.
        return [deposit_key(bridge_of(settings), text)], ["the own ledger does not know it: it is taken for a deposit on Pocket"]
    raise Problem(
        f"the own ledger knows no event of {text}",
        "give its event key (`reactor explain` and `reactor journal show` print keys), or wait until it was scanned",
    )


def _in_ledger(ledger: Ledger, text: str) -> list[str]:
    """The keys of the requests' events: a deposit, or all burns of a transaction."""
    from bson import ObjectId

    if _ID.fullmatch(text):
        seen = ledger.by_document(ObjectId(text))
        return [] if seen is None else [seen.key]
    return [seen.key for seen in of_transaction(ledger, text.removeprefix("0x"))]
