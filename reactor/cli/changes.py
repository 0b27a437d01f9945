"""From documents to the lines of `tail`: what changed since this process last saw each of them. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from reactor.cli.common import clean
from reactor.documents.models import REQUEST_MODELS, AnyRequest, Mint, Payout, read_request
from reactor.documents.reasons import HoldReason, ObjectionCode, Reason, WaitReason
from reactor.documents.statuses import Collection
from reactor.sentences import counted

_REMEMBERED: Final = 50_000
_SHORT: Final = 10
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One change. `text` is for people; `fields` the same for machines."""

    text: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Known:
    status: str
    history: int
    last: tuple[str, datetime] | None
    signers: tuple[str, ...]
    objectors: int
    waiting: str
    confirmations: str


class Changes:
    """Remembers how documents stood, the most recent ones, and says what is new.

    `keys`: how many sign a payout. `whole`: hashes, addresses and keys are not shortened.
    """

    def __init__(self, keys: int, *, display: bool = False, whole: bool = False) -> None:
        self._keys = keys
        self._short = _whole if whole else _short
        self._display = display
        self.threshold = 0
        """How many sign a mint; 0 as long as it is not known."""
        self._known: OrderedDict[object, _Known] = OrderedDict()

    def removed(self, role: Collection, document_id: object) -> list[Line]:
        """A document is gone."""
        self._known.pop((role, document_id), None)
        return [self._line(role, document_id, "removed", "removed", {})]

    def oversized(self, role: Collection, document_id: object, size: int) -> list[Line]:
        """A document is too large or broken to be read."""
        return [self._line(role, document_id, "unreadable", f"unreadable, {size} bytes", {"size": size})]

    def seen(self, role: Collection, raw: Mapping[str, Any], *, inserted: bool, status_changed: bool) -> list[Line]:
        """What is new in a document as it stands now."""
        if role not in REQUEST_MODELS:
            return [_event(role, raw, self._short)] if inserted or role is Collection.HEARTBEAT else []
        document = read_request(role, raw)
        key = (role, raw.get("_id"))
        before = self._known.pop(key, None)
        now = _known(document)
        self._known[key] = now
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        if before is None and inserted and not document.history:
            return [self._request(role, raw, document, "new", _born(document, self._short), {"to": document.status})]
        moves = self._moves(role, raw, document, before, status_changed=status_changed)
        return moves or self._small(role, raw, document, before, now)

    def _moves(
        self, role: Collection, raw: Mapping[str, Any], document: AnyRequest, before: _Known | None, *, status_changed: bool
    ) -> list[Line]:
        """One line for each history entry that is new."""
        entries = document.history
        if before is None:
            fresh = entries[-1:] if status_changed else []
        else:
            fresh = [one for one in entries if before.last is None or one.at > before.last[1]]
            if not fresh and len(entries) > before.history:
                fresh = entries[before.history :]
        lines = []
        for entry in fresh:
            place = entries.index(entry)
            start = entries[place - 1].status if place else before.status if before and before.history == 0 else "pending"
            move = f"{clean(start, 20)} → {clean(entry.status, 20)}" if start != entry.status else f"{clean(entry.status, 20)}"
            why = f"  ({clean(entry.reason, 200)})" if entry.reason else ""
            text = f"{move}  {self._count(document)}  by {self._short(entry.by)}{why}"
            extra = {"from": start, "to": entry.status, "by": entry.by, "reason": entry.reason, "at": entry.at}
            lines.append(self._request(role, raw, document, "status", text, extra))
        return lines

    def _small(
        self, role: Collection, raw: Mapping[str, Any], document: AnyRequest, before: _Known | None, now: _Known
    ) -> list[Line]:
        """Signatures, objections, and why it waits."""
        old = before.signers if before else ()
        new = [one for one in now.signers if one not in old]
        status = clean(document.status, 20)
        lines = []
        if new and before is not None:
            text = f"{status}  {self._count(document)}  signed by {', '.join(self._short(one) for one in new)}"
            lines.append(self._request(role, raw, document, "signature", text, {"signers": new}))
        if before is not None and now.objectors > before.objectors:
            last = document.objections[-1]
            text = f"{status}  objection by {self._short(last.signer)}: {objection_sentence(last.code)}"
            lines.append(self._request(role, raw, document, "objection", text, {"signer": last.signer, "code": last.code}))
        if before is None or now.waiting != before.waiting or (self._display and now.confirmations != before.confirmations):
            text = f"{status}  {self._why(document)}"
            waiting = document.current_waiting
            by = waiting.by if waiting else ""
            if waiting is not None or self._display:
                lines.append(self._request(role, raw, document, "waiting", text, {"by": by}))
        return lines

    def _why(self, document: AnyRequest) -> str:
        shown = clean(document.confirmations, 20)
        seen = f"{shown} confirmation{'' if shown == '1' else 's'}" if self._display else ""
        waiting = document.current_waiting
        if waiting is None:
            return seen
        return ", ".join(filter(None, [f"waits: {waiting_sentence(waiting.reason, waiting.params)}", seen]))

    def _count(self, document: AnyRequest) -> str:
        needed = self.threshold if isinstance(document, Mint) else self._keys
        have = len(document.signers)
        return f"{have}/{needed} signatures" if needed else counted(have, "signature")

    def _request(
        self, role: Collection, raw: Mapping[str, Any], document: AnyRequest, kind: str, text: str, extra: Mapping[str, Any]
    ) -> Line:
        fields = {
            "transaction_hash": document.transaction_hash,
            "status": document.status,
            "amount": document.amount,
            "signatures": len(document.signers),
            "needed": self.threshold if isinstance(document, Mint) else self._keys,
            "waiting": waiting.reason if (waiting := document.current_waiting) else "",
            **extra,
        }
        return self._line(role, raw.get("_id"), kind, text, fields, document.transaction_hash)

    def _line(
        self, role: Collection, document_id: object, kind: str, text: str, fields: Mapping[str, Any], tx_hash: str = ""
    ) -> Line:
        name = self._short(tx_hash) if tx_hash else str(document_id)
        return Line(
            f"{role.value:<12} {name:<13} {text}",
            {"collection": role.value, "id": str(document_id), "change": kind, **fields},
        )


def waiting_sentence(reason: str, params: Mapping[str, str]) -> str:
    """The sentence of a reason with its parameters; an unknown reason as it stands."""
    shown = ", ".join(f"{clean(name, 40)} {clean(value, 200)}" for name, value in sorted(params.items()))
    return _sentence(WaitReason, reason) + (f" ({shown})" if shown else "")


def objection_sentence(code: str) -> str:
    """The sentence of an objection's code; an unknown code as it stands."""
    return _sentence(ObjectionCode, code)


def hold_sentence(reason: str) -> str:
    """The sentence of a hold's reason; an unknown reason as it stands."""
    return _sentence(HoldReason, reason)


def _sentence(kind: type[Reason], code: str) -> str:
    known = kind.of_code(code)
    return clean(code, 100) if known is None else known.sentence


def concerns(raw: Mapping[str, Any], statuses: Sequence[str], addresses: Sequence[str], hashes: Sequence[str]) -> bool:
    """Whether a document passes the filters: of each kind that is given, one must fit. Whatever is of a wrong type fits none."""

    def texts(*names: str) -> set[str]:
        found = {value.lower() for name in names if isinstance(value := raw.get(name), str)}
        listed = raw.get("signers")
        if "signers" in names and isinstance(listed, list):
            found |= {one.lower() for one in listed if isinstance(one, str)}
        return found

    if statuses and raw.get("status") not in statuses:
        return False
    if addresses and not texts("sender_address", "recipient_address", "signers", "eth_address", "pokt_address") & set(addresses):
        return False
    if not hashes:
        return True
    traces = {one.removeprefix("0x") for one in texts("transaction_hash", "return_tx_hash", "mint_tx_hash")}
    return bool(({str(raw.get("_id"))} | traces) & set(hashes))


def pokt(amount: str) -> str:
    """An amount in upokt as people read it; empty where it is none."""
    if not amount:
        return "?"
    whole, rest = divmod(int(amount), 1_000_000)
    return f"{whole:,}.{rest:06}".rstrip("0").rstrip(".")


def _born(document: AnyRequest, short: Callable[[str], str]) -> str:
    recipient = getattr(document, "recipient_address", "")
    to = f" to {short(recipient)}" if recipient else ""
    back = "" if not isinstance(document, Payout) or recipient else " to be returned"
    return f"new, {pokt(document.amount)} POKT from {short(document.sender_address)}{to}{back}"


def _event(role: Collection, raw: Mapping[str, Any], short: Callable[[str], str]) -> Line:
    """A `minted`, `returned`, heartbeat or audit document: for display only."""

    def text(name: str) -> str:
        value = raw.get(name)
        return value if isinstance(value, str) else ""

    fields = {"collection": role.value, "id": str(raw.get("_id")), "change": "seen", "transaction_hash": text("transaction_hash")}
    if role is Collection.HEARTBEAT:
        shown = f"{role.value:<12} {short(text('eth_address')):<13} Pocket {clean(text('pocket_height'), 20)}"
        return Line(f"{shown}, Ethereum {clean(text('ethereum_height'), 20)}", {**fields, "address": text("eth_address")})
    if role is Collection.AUDIT:
        said = {name: text(name) for name in ("by", "verb", "why", "host")}
        shown = f"{role.value:<12} {clean(said['by'], 40)} on {clean(said['host'], 40)}: {clean(said['verb'], 20)}"
        return Line(f"{shown}, {clean(said['why'], 200)}", {**fields, **said})
    amount = text("amount")
    value = pokt(amount) if amount.isascii() and amount.isdigit() and len(amount) < 80 else "?"
    detail = f"{value} POKT to {short(text('recipient_address'))}"
    nonce = f", nonce {clean(text('nonce'), 20)}" if text("nonce") else ""
    return Line(
        f"{role.value:<12} {short(text('transaction_hash')):<13} seen, {detail}{nonce}",
        {**fields, "amount": amount, "recipient": text("recipient_address"), "nonce": text("nonce")},
    )


def _known(document: AnyRequest) -> _Known:
    history = document.history
    return _Known(
        document.status,
        len(history),
        (history[-1].status, history[-1].at) if history else None,
        tuple(document.signers),
        len(document.objections),
        waiting.reason if (waiting := document.current_waiting) else "",
        document.confirmations,
    )


def _whole(text: str) -> str:
    return clean(text, _LONGEST) or "?"


def _short(text: str) -> str:
    """The beginning of a hash, an address or a key."""
    length = _SHORT + 2 * text.startswith("0x")
    return clean(text if len(text) <= length + 2 else f"{text[:length]}…", 40) or "?"


__all__ = [
    "Changes",
    "Line",
    "ObjectionCode",
    "WaitReason",
    "concerns",
    "hold_sentence",
    "objection_sentence",
    "pokt",
    "waiting_sentence",
]
