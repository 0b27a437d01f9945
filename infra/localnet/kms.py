"""A strict stand-in for AWS KMS: CreateKey, DescribeKey, GetPublicKey and Sign of the JSON 1.1 protocol.

It works with an unmodified boto3 and behaves where it matters like the service: ECDSA signatures are DER, every other
one has high s, none is deterministic; Ed25519 signs the message itself, up to 4096 bytes; what the service would refuse (a
digest of another length, another message type, an algorithm of another key spec, an unknown key or operation, a request
signed for another region) is refused. Switches make it throttle, hang or answer with the signature of another key. For
development and tests: it keeps its keys in memory. moto cannot stand in for it: it hashes what comes as MessageType=DIGEST
once more, and refuses Ed25519 key specs (5.2).
"""

import asyncio
import base64
import binascii
import itertools
import json
import re
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_CONTENT_TYPE = "application/x-amz-json-1.1"
_TARGET_PREFIX = "TrentService."
_ACCOUNT = "000000000000"
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_SPECS: dict[str, type[ec.EllipticCurve]] = {"ECC_SECG_P256K1": ec.SECP256K1, "ECC_NIST_P256": ec.SECP256R1}
_ED25519 = "ECC_NIST_EDWARDS25519"
_ALGORITHMS: dict[str, tuple[str, ...]] = {
    "ECC_SECG_P256K1": ("ECDSA_SHA_256",),
    "ECC_NIST_P256": ("ECDSA_SHA_256",),
    _ED25519: ("ED25519_SHA_512", "ED25519_PH_SHA_512"),
}
_MOST_MESSAGE_BYTES = 4096
_HANG_S = 3600.0

_T = TypeVar("_T")


class _RefusalError(Exception):
    """An error of the protocol: its code and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        self.code, self.message, self.status = code, message, status
        super().__init__(message)


@dataclass(slots=True)
class _Key:
    private: ec.EllipticCurvePrivateKey | Ed25519PrivateKey = field(repr=False)
    spec: str
    arn: str
    enabled: bool = True


class KmsStub:
    """The stub: `async with KmsStub() as kms: key_id = kms.create_key(); kms.uri(key_id)`.

    Attributes:
        calls: requests by operation, refused ones too.
        high_s, low_s: signatures given out with either.
        throttle: this many requests from now are refused with ThrottlingException.
        hang: while true, requests are not answered.
        sign_with: a key id whose key signs instead of the one asked for.
    """

    def __init__(self, region: str = "eu-west-1") -> None:
        self.region = region
        self.calls: dict[str, int] = {}
        self.high_s = 0
        self.low_s = 0
        self.throttle = 0
        self.hang = False
        self.sign_with: str | None = None
        self.url = ""
        self._keys: dict[str, _Key] = {}
        self._aliases: dict[str, str] = {}
        self._turn = itertools.count()
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    async def start(self, port: int = 0) -> str:
        """Listen on 127.0.0.1 and give the URL."""
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_post("/", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        # With Nagle's algorithm each answer waits for the client's delayed acknowledgement: 44 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await web.SockSite(self._runner, listener).start()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        return self.url

    async def stop(self) -> None:
        """Stop listening and let go of whoever hangs."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def create_key(self, secret: int | bytes | None = None, *, spec: str = "ECC_SECG_P256K1") -> str:
        """Make a key and give its id.

        Args:
            secret: the scalar of an elliptic key, or the 32-byte seed of an Ed25519 key; drawn if none is given.
            spec: `ECC_SECG_P256K1`, `ECC_NIST_P256` or `ECC_NIST_EDWARDS25519`.
        """
        key_id = str(uuid.uuid4())
        self._keys[key_id] = _Key(_private_key(secret, spec), spec, f"arn:aws:kms:{self.region}:{_ACCOUNT}:key/{key_id}")
        return key_id

    def set_alias(self, name: str, key_id: str) -> None:
        """Point `alias/…` at a key; it may be pointed at another one later."""
        self._aliases[name] = key_id

    def disable(self, key_id: str) -> None:
        """Let every use of this key be refused."""
        self._keys[key_id].enabled = False

    def uri(self, key_id: str) -> str:
        """Give the key URI that a validator's settings take."""
        return f"awskms://{self.region}/{key_id}?endpoint={self.url}"

    async def _handle(self, request: web.Request) -> web.Response:
        target = request.headers.get("X-Amz-Target", "")
        operation = target.removeprefix(_TARGET_PREFIX)
        self.calls[operation] = self.calls.get(operation, 0) + 1
        if self.hang:
            await asyncio.wait_for(self._stopping.wait(), _HANG_S)
        try:
            self._check_rate()
            self._check_envelope(request, target)
            answer = self._operation(operation)(_json(await request.read()))
        except _RefusalError as refusal:
            body = {"__type": refusal.code, "message": refusal.message}
            return _response(body, refusal.status)
        return _response(answer, 200)

    def _check_rate(self) -> None:
        if self.throttle > 0:
            self.throttle -= 1
            raise _RefusalError("ThrottlingException", "Rate exceeded")

    def _check_envelope(self, request: web.Request, target: str) -> None:
        if not target.startswith(_TARGET_PREFIX):
            raise _RefusalError("UnknownOperationException", f"unknown target {target!r}", 404)
        if request.content_type != _CONTENT_TYPE:
            raise _RefusalError("SerializationException", f"content type {request.content_type!r}")
        scope = rf"AWS4-HMAC-SHA256 Credential=[^/]+/\d{{8}}/{re.escape(self.region)}/kms/aws4_request, SignedHeaders="
        if not re.match(scope, request.headers.get("Authorization", "")):
            raise _RefusalError("IncompleteSignatureException", "not signed for this region and service")

    def _operation(self, name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        operations = {
            "CreateKey": self._create_key,
            "DescribeKey": self._describe_key,
            "GetPublicKey": self._get_public_key,
            "Sign": self._sign,
        }
        if name not in operations:
            raise _RefusalError("UnknownOperationException", f"unknown operation {name!r}", 404)
        return operations[name]

    def _create_key(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body, {"KeySpec", "KeyUsage", "Description", "Tags"})
        if body.get("KeySpec") not in _ALGORITHMS or body.get("KeyUsage") != "SIGN_VERIFY":
            raise _RefusalError("ValidationException", "only elliptic keys for SIGN_VERIFY are made here")
        return self._metadata(self._keys[self.create_key(spec=body["KeySpec"])])

    def _describe_key(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body, {"KeyId", "GrantTokens"})
        return self._metadata(self._find(body))

    def _metadata(self, key: _Key) -> dict[str, Any]:
        return {
            "KeyMetadata": {
                "KeyId": key.arn.rpartition("/")[2],
                "Arn": key.arn,
                "Enabled": key.enabled,
                "KeyState": "Enabled" if key.enabled else "Disabled",
                "KeyUsage": "SIGN_VERIFY",
                "KeySpec": key.spec,
                "SigningAlgorithms": list(_ALGORITHMS[key.spec]),
            }
        }

    def _get_public_key(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body, {"KeyId", "GrantTokens"})
        key = self._usable(body)
        der = key.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {
            "KeyId": key.arn,
            "PublicKey": base64.b64encode(der).decode(),
            "KeySpec": key.spec,
            "CustomerMasterKeySpec": key.spec,
            "KeyUsage": "SIGN_VERIFY",
            "SigningAlgorithms": list(_ALGORITHMS[key.spec]),
        }

    def _sign(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body, {"KeyId", "Message", "MessageType", "SigningAlgorithm", "GrantTokens", "DryRun"})
        key = self._usable(body)
        algorithm = body.get("SigningAlgorithm")
        if algorithm not in _ALGORITHMS[key.spec]:
            raise _RefusalError("InvalidKeyUsageException", f"{algorithm!r} does not fit {key.spec}")
        message = _bytes(body.get("Message"))
        if not 0 < len(message) <= _MOST_MESSAGE_BYTES:
            raise _RefusalError("ValidationException", f"Message must have 1 to {_MOST_MESSAGE_BYTES} bytes.")
        signer = key if self.sign_with is None else self._keys[self.sign_with]
        if isinstance(signer.private, Ed25519PrivateKey):
            _require_raw(body)
            signature = signer.private.sign(message)
        else:
            signature = self._sign_digest(signer.private, signer.spec, body, message)
        return {
            "KeyId": key.arn,
            "Signature": base64.b64encode(signature).decode(),
            "SigningAlgorithm": algorithm,
        }

    def _sign_digest(self, private: ec.EllipticCurvePrivateKey, spec: str, body: dict[str, Any], digest: bytes) -> bytes:
        # The service hashes a RAW message (its default) itself: a digest signed so is a signature over another digest.
        if body.get("MessageType", "RAW") != "DIGEST":
            raise _RefusalError("ValidationException", "this stub signs MessageType=DIGEST only with this key spec")
        if len(digest) != 32:
            raise _RefusalError("ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256.")
        signature = private.sign(digest, ec.ECDSA(Prehashed(SHA256())))
        return self._alternating_s(signature) if spec == "ECC_SECG_P256K1" else signature

    def _alternating_s(self, der: bytes) -> bytes:
        r, s = decode_dss_signature(der)
        low = min(s, _ORDER - s)
        if next(self._turn) % 2 == 0:
            self.high_s += 1
            return encode_dss_signature(r, _ORDER - low)
        self.low_s += 1
        return encode_dss_signature(r, low)

    def _find(self, body: dict[str, Any]) -> _Key:
        name = body.get("KeyId")
        if not isinstance(name, str) or not name:
            raise _RefusalError("ValidationException", "KeyId is missing")
        name = name.removeprefix(f"arn:aws:kms:{self.region}:{_ACCOUNT}:").removeprefix("key/")
        key = self._keys.get(self._aliases.get(name, name))
        if key is None:
            raise _RefusalError("NotFoundException", f"Key {name!r} does not exist")
        return key

    def _usable(self, body: dict[str, Any]) -> _Key:
        key = self._find(body)
        if not key.enabled:
            raise _RefusalError("DisabledException", f"{key.arn} is disabled.")
        return key


def _private_key(secret: int | bytes | None, spec: str) -> ec.EllipticCurvePrivateKey | Ed25519PrivateKey:
    if spec == _ED25519:
        return Ed25519PrivateKey.generate() if secret is None else Ed25519PrivateKey.from_private_bytes(_as(bytes, secret))
    curve = _SPECS[spec]()
    return ec.generate_private_key(curve) if secret is None else ec.derive_private_key(_as(int, secret), curve)


def _as(kind: type[_T], secret: object) -> _T:
    if not isinstance(secret, kind):
        raise TypeError(f"a secret of this key spec is {kind.__name__}")
    return secret


def _require_raw(body: dict[str, Any]) -> None:
    """ED25519_SHA_512 takes RAW; with DIGEST goes ED25519_PH_SHA_512, which is another algorithm and not made here."""
    if body["SigningAlgorithm"] != "ED25519_SHA_512":
        raise _RefusalError("ValidationException", "this stub makes no prehashed Ed25519 signatures")
    if body.get("MessageType", "RAW") != "RAW":
        raise _RefusalError("ValidationException", "ED25519_SHA_512 requires MessageType RAW")


def _json(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _RefusalError("SerializationException", "the body is no JSON object")
    return body


def _only(body: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(body) - known):
        raise _RefusalError("SerializationException", f"unknown members {unknown}")


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except binascii.Error:
        raise _RefusalError("SerializationException", "Message is not base64") from None


def _response(body: dict[str, Any], status: int) -> web.Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    return web.Response(body=json.dumps(body).encode(), status=status, content_type=_CONTENT_TYPE, headers=headers)
