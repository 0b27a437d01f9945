"""Reading a node's answers: HTTP status and body into a value or a typed error, JSON objects into facts. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from reactor.chains.http import parse_json
from reactor.chains.pocket.errors import MalformedAnswer, NoNodesAnswer, PocketDecodeError, RpcRefused, RpcUnavailable
from reactor.chains.pocket.morse import refusals
from reactor.chains.pocket.morse.codec import CODEC_UPGRADE_HEIGHT, SendMsg, StdTx, decode_tx, tx_hash
from reactor.chains.pocket.types import PocketBlock, PocketTx, SubmitOutcome, SubmitResult
from reactor.foreign import one_line, shown

_DUPLICATE: Final = "this is a duplicate transaction"
_TRANSIENT: Final = frozenset({408, 425, 429})
_HASH: Final = re.compile(r"[0-9a-fA-F]{64}")
_CODESPACE_NAME: Final = re.compile(r"[a-z0-9_]{0,32}")
_SNIPPET: Final = 300
_LARGEST: Final = (1 << 63) - 1
"""Heights, places, codes and balances of this chain are int64. A larger number would only fail where it is stored."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who was asked what: names the culprit in every error."""

    endpoint: str
    call: str

    def malformed(self, field: str, reason: str) -> MalformedAnswer:
        """The error for a value of the wrong shape."""
        return MalformedAnswer(self.endpoint, self.call, field, reason)


def _snippet(body: bytes) -> str:
    return one_line(body.decode("utf-8", "replace"), _SNIPPET) or "empty body"


def _parse(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """The value, unquoted once when a gateway has wrapped it in a JSON string. Raises ValueError."""
    value = parse_json(body)
    return parse_json(value) if isinstance(value, str) and value[:1] in {"{", "[", '"'} else value


def read_body(asked: Asked, status: int, body: bytes) -> Any:  # noqa: ANN401 - JSON
    """The JSON value of an answer.

    SECURITY: only what has the protocol's own form is the chain's word. A proxy's "no" must not be taken for "there is none".

    Raises:
        RpcUnavailable: 5xx, rate limit, a gateway's error, or anything else that is not in a node's form.
        NotFound, RpcRefused: the node's own refusal.
        MalformedAnswer: success without JSON.
    """
    try:
        value = _parse(body)
    except ValueError as error:
        if 200 <= status < 300:
            raise asked.malformed("body", f"not JSON ({error}): {_snippet(body)}") from None
        value = None
    if 200 <= status < 300:
        _refuse_wrapped_error(asked, value)
        return value
    if status == refusals.CODE and (text := refusals.text_of(value)) is not None:
        raise refusals.refusal(asked.endpoint, asked.call, text)
    if refusals.is_missing_route(asked.call, status, body):
        raise RpcRefused(asked.endpoint, asked.call, f"HTTP {status}: {_snippet(body)}", status)
    fault = RpcUnavailable if status >= 500 or status in _TRANSIENT else NoNodesAnswer
    raise fault(asked.endpoint, asked.call, f"HTTP {status}: {_snippet(body)}")


def _refuse_wrapped_error(asked: Asked, value: Any) -> None:  # noqa: ANN401 - JSON
    """A gateway answers 200 and puts the error into the body: its own, or the node's."""
    if not isinstance(value, dict):
        return
    error = value.get("error")
    if set(value) == {"code", "message"} and isinstance(value["message"], str):
        error = value
    if not isinstance(error, dict) or error.get("code") == 0:
        return
    text = str(error.get("message", ""))
    if refusals.is_known(text) or refusals.text_of(error) is not None:
        raise refusals.refusal(asked.endpoint, asked.call, text, status=200)
    # Most of them pass: a relay that failed, too many requests.
    raise RpcUnavailable(asked.endpoint, asked.call, f"gateway error {error.get('code')}: {text}")


# --- typed access -------------------------------------------------------------------------------------------------


def member(asked: Asked, value: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    """The value at a dotted path. Raises MalformedAnswer naming the first part that is missing or no object."""
    done = ""
    for part in path.split("."):
        if not isinstance(value, dict):
            raise asked.malformed(done or "body", f"expected an object, got {type(value).__name__}")
        done = f"{done}.{part}" if done else part
        if part not in value:
            raise asked.malformed(done, "missing")
        value = value[part]
    return value


def integer(asked: Asked, value: Any, path: str, *, text: bool = False) -> int:  # noqa: ANN401 - JSON
    """A non-negative int64 at a path: a JSON number, or a decimal string when `text`."""
    found = member(asked, value, path)
    if text and isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 20:
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)  # numbers pass through a double on the node's side
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _LARGEST:
        raise asked.malformed(path, f"expected an integer from 0 to 2^63 - 1, got {shown(found)}")
    return found


def text_of(asked: Asked, value: Any, path: str, pattern: re.Pattern[str] | None = None) -> str:  # noqa: ANN401 - JSON
    """A string at a path, matching `pattern` as a whole."""
    found = member(asked, value, path)
    if not isinstance(found, str):
        raise asked.malformed(path, f"expected a string, got {type(found).__name__}")
    if pattern is not None and not pattern.fullmatch(found):
        raise asked.malformed(path, f"unexpected text {shown(found)}")
    return found


def _base64(asked: Asked, text: str, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise asked.malformed(path, "not base64") from None


def _list(asked: Asked, value: Any, path: str) -> list[Any]:  # noqa: ANN401 - JSON
    found = member(asked, value, path)
    if found is None:
        return []
    if not isinstance(found, list):
        raise asked.malformed(path, f"expected a list, got {type(found).__name__}")
    return found


# --- facts --------------------------------------------------------------------------------------------------------


def decode_for_height(raw: bytes, height: int) -> StdTx:
    """Decode as a node does at that height: the amino envelope is read below the codec upgrade only."""
    return decode_tx(raw, allow_amino=height < CODEC_UPGRADE_HEIGHT)


def parse_block(asked: Asked, value: Any) -> PocketBlock:  # noqa: ANN401 - JSON
    """The header of a block answer (`block_meta` instead of `block_id` on older nodes)."""
    header = member(asked, value, "block.header")
    assert isinstance(value, dict)
    hash_path = "block_id.hash" if "block_id" in value else "block_meta.block_id.hash"
    when = text_of(asked, header, "time")
    try:
        time = datetime.fromisoformat(when)
    except ValueError:
        raise asked.malformed("block.header.time", f"not a time: {shown(when)}") from None
    if time.tzinfo is None:
        raise asked.malformed("block.header.time", "without a time zone")
    try:
        time = time.astimezone(UTC)
    except OverflowError:  # an offset can lead out of the years that there are
        raise asked.malformed("block.header.time", f"not a time: {shown(when)}") from None
    return PocketBlock(
        height=integer(asked, header, "height", text=True),
        hash=text_of(asked, value, hash_path, _HASH).lower(),
        time=time,
        chain_id=text_of(asked, header, "chain_id"),
        endpoint=asked.endpoint,
    )


def parse_block_txs(asked: Asked, value: Any) -> tuple[bytes, ...]:  # noqa: ANN401 - JSON
    """The raw transactions of a block answer."""
    raws = []
    for position, text in enumerate(_list(asked, value, "block.data.txs")):
        path = f"block.data.txs.{position}"
        if not isinstance(text, str):
            raise asked.malformed(path, "expected a string")
        raws.append(_base64(asked, text, path))
    return tuple(raws)


def parse_tx(asked: Asked, value: Any) -> PocketTx:  # noqa: ANN401 - JSON
    """One transaction object. Undecodable bytes are a fact, not an error; a hash that is not theirs is an error."""
    hash_ = text_of(asked, value, "hash", _HASH).lower()
    height = integer(asked, value, "height")
    raw = _base64(asked, text_of(asked, value, "tx"), "tx")
    # SECURITY: everything below is decoded from these bytes, so they must be the ones that the hash names.
    if tx_hash(raw) != hash_:
        raise asked.malformed("tx", f"the bytes hash to {tx_hash(raw)}, the answer says {hash_}")
    result = member(asked, value, "tx_result")
    undecoded = PocketTx(
        hash=hash_,
        height=height,
        index=integer(asked, value, "index"),
        raw=raw,
        code=integer(asked, result, "code"),
        codespace=_codespace_shown(result),
        decoded=False,
    )
    try:
        tx = decode_for_height(raw, height)
    except PocketDecodeError as error:
        return replace(undecoded, reason=str(error))
    known = replace(undecoded, decoded=True, memo=tx.memo, entropy=tx.entropy, fee=tx.fee_upokt)
    if not isinstance(tx.msg, SendMsg):
        return known
    send = tx.msg
    return replace(known, is_send=True, from_address=send.from_address, to_address=send.to_address, amount=send.amount)


def _codespace_shown(result: dict[str, Any]) -> str:
    """For people: it may be missing, and nothing rests on it."""
    shown = result.get("codespace")
    return shown if isinstance(shown, str) and _CODESPACE_NAME.fullmatch(shown) else ""


def parse_page(asked: Asked, value: Any) -> tuple[tuple[PocketTx, ...], int]:  # noqa: ANN401 - JSON
    """The transactions of a page, and how many match in all."""
    return tuple(parse_tx(asked, tx) for tx in _list(asked, value, "txs")), integer(asked, value, "total_txs")


_CODESPACE: Final = re.compile(r"Codespace: (\w+)")


def _codespace_of(raw_log: str) -> str:
    try:
        log = json.loads(raw_log)
    except (ValueError, RecursionError):
        log = None
    if isinstance(log, dict) and isinstance(log.get("codespace"), str):
        return str(log["codespace"])
    match = _CODESPACE.search(raw_log)
    return match.group(1) if match else ""


def parse_submission(asked: Asked, value: Any, hash_: str) -> SubmitResult:  # noqa: ANN401 - JSON
    """What `rawtx` answered. A rejection is HTTP 200 with a code; without a code it was accepted."""
    found = text_of(asked, value, "txhash", _HASH).lower()
    if found != hash_:
        raise asked.malformed("txhash", f"is {found}, expected {hash_}")
    code = integer(asked, value, "code") if "code" in value else 0
    if code == 0:
        return SubmitResult(SubmitOutcome.ACCEPTED, hash_, asked.endpoint)
    raw_log = str(value.get("raw_log", ""))
    codespace = _codespace_of(raw_log)
    # `auth` 6 is also "does not have enough coins": only the text tells them apart.
    duplicate = codespace == "auth" and code == 6 and _DUPLICATE in raw_log
    outcome = SubmitOutcome.DUPLICATE_INDEXED if duplicate else SubmitOutcome.REJECTED
    return SubmitResult(outcome, hash_, asked.endpoint, code, codespace, one_line(raw_log, _SNIPPET))
