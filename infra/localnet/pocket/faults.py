"""HTTP faults in front of the `/v1` interface, and the error pages of Go's server."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from infra.localnet.pocket.behaviour import Behaviour
from infra.localnet.pocket.gotext import encode_json
from infra.localnet.pocket.misbehaviour import (
    DropConnection,
    EmptyAnswer,
    Fault,
    GatewayError,
    Hang,
    HtmlPage,
    QuotedAnswer,
    ServerError,
    Slow,
)
from infra.localnet.pocket.rpc import json_response, plain

_HTML = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head><body><h1>Checking your browser</h1></body></html>\n"


def fault_middleware(behaviour: Behaviour) -> Middleware:
    """Spoils requests as the switches say. Control requests are never spoilt."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/v1"):
            return await _serve(request, handler)
        fault = behaviour.take_fault(request.path)
        if fault is None:
            return await _serve(request, handler)
        return await _spoil(fault, behaviour, request, handler)

    return middleware


async def _serve(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed:
        return plain("Method Not Allowed\n", 405)
    except web.HTTPNotFound:
        return plain("404 page not found\n", 404)


async def _spoil(fault: Fault, behaviour: Behaviour, request: web.Request, handler: Handler) -> web.StreamResponse:
    match fault:
        case ServerError(status=status, body=body):
            return plain(body, status)
        case HtmlPage(status=status):
            return web.Response(text=_HTML, status=status, content_type="text/html")
        case EmptyAnswer():
            return json_response("")
        case GatewayError(code=code, message=message):
            return json_response(encode_json({"error": {"code": code, "message": message}}))
        case QuotedAnswer():
            answer = await _serve(request, handler)
            return json_response(encode_json(_text_of(answer)), answer.status)
        case Slow(seconds=seconds):
            await asyncio.sleep(seconds)
            return await _serve(request, handler)
        case Hang(after=after):
            return await _hang(behaviour, request, handler, after=after)
        case DropConnection(after=after):
            if after:
                await _serve(request, handler)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()


async def _hang(behaviour: Behaviour, request: web.Request, handler: Handler, *, after: bool) -> web.StreamResponse:
    if not after:
        await behaviour.hang()
        return await _serve(request, handler)
    answer = await _serve(request, handler)
    await behaviour.hang()
    return answer


def _text_of(answer: web.StreamResponse) -> str:
    return answer.text or "" if isinstance(answer, web.Response) else ""
