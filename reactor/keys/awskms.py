"""Keys in AWS KMS: they never leave the service, which signs for us.

Facts of the service: GetPublicKey answers a DER SubjectPublicKeyInfo.

- secp256k1 (`ECC_SECG_P256K1`): Sign with MessageType=DIGEST and ECDSA_SHA_256 answers a DER signature, high-s half of the
  time and without a recovery id; two signatures over one digest differ.
- ed25519 (`ECC_NIST_EDWARDS25519`, not in every region): Sign with MessageType=RAW and ED25519_SHA_512 takes the message
  itself, up to 4096 bytes, and answers the 64 bytes of RFC 8032. MessageType=DIGEST, with ED25519_PH_SHA_512, is another
  algorithm that Pocket does not know.
"""

import functools
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from coincurve import PublicKey
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from reactor.foreign import clean, shown
from reactor.keys.aws import Calls, Place, parse_place
from reactor.keys.base import BaseSigner
from reactor.keys.curves import (
    SECP256K1_ORDER,
    ethereum_address,
    is_ed25519_signature,
    pocket_address,
    recovers_to,
    require_digest,
)
from reactor.keys.problem import KeyProblem
from reactor.keys.signer import Scheme
from reactor.keys.stats import SignerStats

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

MOST_MESSAGE_BYTES = 4096
"""What the service takes as a raw message; a return with the longest memo has well under a thousand bytes to sign."""

_LONGEST_WORD: Final = 60
"""Of what the service calls the key, in an error."""
_KEY_ID: Final = re.compile(r"[A-Za-z0-9:/_-]{1,2048}")
_SPECS: Final[dict[Scheme, str]] = {"secp256k1": "ECC_SECG_P256K1", "ed25519": "ECC_NIST_EDWARDS25519"}


class _KmsSigner(BaseSigner):
    """What both curves share: the service, and the key named so that no alias can exchange it."""

    __slots__ = ("_calls", "_client", "_key_arn")
    _algorithm: ClassVar[Literal["ECDSA_SHA_256", "ED25519_SHA_512"]]
    _message_type: ClassVar[Literal["DIGEST", "RAW"]]

    def __init__(
        self, source: str, client: "KMSClient", calls: Calls, key_arn: str, public_key: bytes, address: str, stats: SignerStats
    ) -> None:
        super().__init__(source, public_key, address, stats)
        self._client = client
        self._calls = calls
        self._key_arn = key_arn

    async def close(self) -> None:
        """Drop what waits and end the threads; a call under way ends with the attempt it is in."""
        self._calls.close()
        self._client.close()

    async def _ask(self, message: bytes) -> bytes:
        answer = await self._calls.run(
            functools.partial(
                self._client.sign,
                KeyId=self._key_arn,
                Message=message,
                MessageType=self._message_type,
                SigningAlgorithm=self._algorithm,
            )
        )
        signature = answer.get("Signature")
        # Whatever else comes verifies for no key, and is told so.
        return signature if isinstance(signature, bytes) else b""

    def _foreign(self) -> KeyProblem:
        return KeyProblem(
            self._source,
            "the service's signature does not verify for the key it showed at start",
            "Check the endpoint and who may change this key; nothing was signed",
        )


class KmsSecp256k1Signer(_KmsSigner):
    """Signs 32-byte digests for Ethereum. Not deterministic: journal first."""

    __slots__ = ("_public",)
    scheme: Scheme = "secp256k1"
    _algorithm = "ECDSA_SHA_256"
    _message_type = "DIGEST"

    def __init__(
        self, source: str, client: "KMSClient", calls: Calls, key_arn: str, public: PublicKey, stats: SignerStats
    ) -> None:
        super().__init__(source, client, calls, key_arn, public.format(), ethereum_address(public), stats)
        self._public = public

    async def _sign(self, payload: bytes) -> bytes:
        require_digest(payload)
        der = await self._ask(payload)
        try:
            r, s = decode_dss_signature(der)
        except ValueError:
            r = s = 0
        if 0 < r < SECP256K1_ORDER and 0 < s < SECP256K1_ORDER:
            # The contract refuses high s (EIP-2); n - s signs the same.
            s = min(s, SECP256K1_ORDER - s)
            compact = r.to_bytes(32, "big") + s.to_bytes(32, "big")
            # SECURITY: this is the verification too: a signature from which our key is not recovered never leaves.
            for recovery_id in (0, 1):
                if recovers_to(self._public, payload, compact, recovery_id):
                    return compact + bytes([27 + recovery_id])
        raise self._foreign()


class KmsEd25519Signer(_KmsSigner):
    """Signs raw messages for Pocket (Morse), up to 4096 bytes: RFC 8032, deterministic."""

    __slots__ = ("_public",)
    scheme: Scheme = "ed25519"
    _algorithm = "ED25519_SHA_512"
    _message_type = "RAW"

    def __init__(
        self, source: str, client: "KMSClient", calls: Calls, key_arn: str, public: Ed25519PublicKey, stats: SignerStats
    ) -> None:
        raw = public.public_bytes_raw()
        super().__init__(source, client, calls, key_arn, raw, pocket_address(raw), stats)
        self._public = public

    async def _sign(self, payload: bytes) -> bytes:
        if not 0 < len(payload) <= MOST_MESSAGE_BYTES:
            raise ValueError(f"the key service signs messages of 1 to {MOST_MESSAGE_BYTES} bytes, not {len(payload)}")
        signature = await self._ask(payload)
        # SECURITY: a signature of another key or algorithm never leaves.
        if not is_ed25519_signature(self._public, payload, signature):
            raise self._foreign()
        return signature


def kms_place(uri: str) -> Place:
    """Read the URI, asking nobody. Raises `KeyProblem`."""
    return parse_place(uri, _KEY_ID, "awskms://region/key-id")


async def open_kms_signer(uri: str, scheme: Scheme) -> KmsSecp256k1Signer | KmsEd25519Signer:
    """Open `awskms://region/key-id[?endpoint=https://…]`; the key id may be an id, `alias/name` or an ARN.

    Credentials come from where boto3 finds them (environment, profile, instance role).

    Raises:
        KeyProblem: a bad URI, no credentials, no access, or a key of another spec or usage.
    """
    place = kms_place(uri)
    stats = SignerStats()
    calls = Calls(place.source, "kms:GetPublicKey and kms:Sign", stats)
    try:
        client: KMSClient = await calls.run(functools.partial(calls.connect, place, "kms"))
        answer = dict(await calls.run(functools.partial(client.get_public_key, KeyId=place.name)))
        public = _public_key(answer, scheme, place.source)
        # SECURITY: an alias can be pointed at another key later; from here on the key itself is named.
        arn = _key_name(answer, place.source)
    except BaseException:  # whatever went wrong, cancellation too, the threads must not stay behind
        calls.close()
        raise
    if isinstance(public, PublicKey):
        return KmsSecp256k1Signer(place.source, client, calls, arn, public, stats)
    return KmsEd25519Signer(place.source, client, calls, arn, public, stats)


def _key_name(answer: dict[str, Any], source: str) -> str:
    name = answer.get("KeyId")
    if not isinstance(name, str) or not _KEY_ID.fullmatch(name):
        raise KeyProblem(source, "the service answered without the name of the key", "Check the endpoint")
    return name


def _word(value: object) -> str:
    """What the service calls something, for an error."""
    return clean(value, _LONGEST_WORD) if isinstance(value, str) else shown(value, _LONGEST_WORD)


def _public_key(answer: dict[str, Any], scheme: Scheme, source: str) -> PublicKey | Ed25519PublicKey:
    wanted = _SPECS[scheme]
    spec, usage = answer.get("KeySpec"), answer.get("KeyUsage")
    if spec != wanted or usage != "SIGN_VERIFY":
        raise KeyProblem(
            source,
            f"the key is {_word(spec)} for {_word(usage)}",
            f"Create a key with spec {wanted} and usage SIGN_VERIFY",
        )
    try:
        loaded = load_der_public_key(answer["PublicKey"])
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm):
        loaded = None
    if scheme == "ed25519" and isinstance(loaded, Ed25519PublicKey):
        return loaded
    if scheme == "secp256k1" and isinstance(loaded, EllipticCurvePublicKey) and isinstance(loaded.curve, SECP256K1):
        return PublicKey(loaded.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    raise KeyProblem(source, f"the service answered with no {scheme} public key", "Check the endpoint")
