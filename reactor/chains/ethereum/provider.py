"""One HTTP connection pool to one Ethereum node, on web3's provider. Imports web3 (one second): import it late.

What web3's own provider lacks: it opens a new connection (and TLS handshake) for each call, throws away the JSON-RPC error
that many nodes send along with an HTTP 4xx, reads answers of any size, and takes anything that is JSON for the node's answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final, cast

from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from reactor.chains.errors import ChainError, MalformedAnswer, RpcRefused, RpcUnavailable
from reactor.chains.ethereum.wire import LOGS, TooMuch
from reactor.chains.http import Failure, Http, NoReply, Reply, parse_json
from reactor.foreign import one_line, shown

__all__ = ["NodeProvider"]

# SECURITY: web3 imports py_ecc, which lifts the interpreter's recursion limit to 100,000. Python's JSON parser then overflows
# the C stack on a deeply nested answer, and any node could end the process. We use none of py_ecc: back to the default.
_RECURSION_LIMIT = 1000
sys.setrecursionlimit(min(sys.getrecursionlimit(), _RECURSION_LIMIT))

# A window of logs is a few megabytes at most; what is larger is halved by the caller instead of filling the memory.
ANSWER_LIMIT = 32 * 1024 * 1024
_TOO_MANY: Final = 429
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_NOT_THE_NODE: Final = frozenset({401, 402, 403, 404, 405, 407, 410, 451})
"""With these a gateway says that it does not let us through, whatever form its words have."""
_PERHAPS_TOO_MUCH: Final = frozenset({400, 413, 414, 416, 422, 431})
"""With these servers refuse what is asked, perhaps for its size."""
_SNIPPET: Final = 100


class NodeProvider(AsyncHTTPProvider):
    """web3's provider with kept-alive connections, bounded answers, checks of JSON-RPC's form, and typed errors."""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(url, exception_retry_configuration=None)
        self._url = url
        self._http = Http(seconds=seconds, limit=ANSWER_LIMIT, headers=self.get_request_headers())

    async def ask(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """The JSON-RPC answer: an object with `result`, or with `error` and its code and message, to this very request.

        Raises:
            RpcUnavailable, MalformedAnswer, TooMuch
        """
        return cast("dict[str, Any]", await self.make_request(RPCEndpoint(method), list(params)))

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - web3's signature
        """See `ask`; this is the one that web3 itself calls."""
        request = self.encode_rpc_request(method, params)
        try:
            reply = await self._http.post(self._url, request)
        except NoReply as failure:
            raise self._failed(failure, method) from None
        return cast("RPCResponse", self._answer(reply, json.loads(request)["id"], method))

    def _failed(self, failure: NoReply, method: str) -> ChainError:
        kinds = {Failure.UNREADABLE: MalformedAnswer, Failure.TOO_LONG: TooMuch if method == LOGS else MalformedAnswer}
        return kinds.get(failure.failure, RpcUnavailable)(str(failure), endpoint=self._url, method=method)

    def _answer(self, reply: Reply, number: object, method: str) -> dict[str, Any]:
        """SECURITY: only an answer in the protocol's own form is the node's word; anything else is this endpoint's fault."""
        try:
            answer = parse_json(reply.body)
        except ValueError:
            answer = None
        is_error = isinstance(answer, dict) and _is_error(answer.get("error"))
        # What 429 carries is an error object at some providers, but only the header says for how long.
        if reply.status in {_TOO_MANY, *_NOT_THE_NODE} or (reply.status != 200 and not is_error):
            raise self._refusal(reply, answer["error"]["message"] if is_error else "", method)
        if not isinstance(answer, dict):
            said = "empty answer" if not reply.body.strip() else "not a JSON object" if answer is not None else "not JSON"
            raise MalformedAnswer(said, endpoint=self._url, method=method)
        if answer.get("jsonrpc") != "2.0" or not _answers(answer.get("id"), number, is_error=is_error):
            said = f"jsonrpc {shown(answer.get('jsonrpc'), 20)}, id {shown(answer.get('id'), 20)}"
            raise MalformedAnswer(f"not the JSON-RPC 2.0 answer to request {number}: {said}", endpoint=self._url, method=method)
        if not is_error and (answer.get("error") is not None or "result" not in answer):
            raise MalformedAnswer("neither result nor error", endpoint=self._url, method=method)
        return answer

    def _refusal(self, reply: Reply, said: str, method: str) -> ChainError:
        perhaps = method == LOGS and reply.status in _PERHAPS_TOO_MUCH
        kind = RpcUnavailable if reply.status in _TRY_AGAIN else TooMuch if perhaps else RpcRefused
        words = one_line(said or reply.body[:4096].decode("utf-8", "replace"), _SNIPPET)
        error = kind(f"HTTP {reply.status}" + (f": {words}" if words else ""), endpoint=self._url, method=method)
        error.from_node = kind is TooMuch
        error.retry_after = reply.retry_after
        error.throttled = reply.status == _TOO_MANY or (kind is RpcUnavailable and reply.retry_after is not None)
        return error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def _answers(found: object, number: object, *, is_error: bool) -> bool:
    """Whether an answer with this id is one to our request. An error may have none: the server may not have read so far."""
    return (found == number and not isinstance(found, bool)) or (is_error and found is None)


def _is_error(error: object) -> bool:
    """Whether this is an error of JSON-RPC: a code and a message."""
    if not isinstance(error, dict):
        return False
    code, message = error.get("code"), error.get("message")
    return isinstance(code, int) and not isinstance(code, bool) and isinstance(message, str)
