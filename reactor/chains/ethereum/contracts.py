"""Calls to, events of and errors of WrappedPocket and MintController (compiler 0.8.20): selectors, topics, encoding.

The user sends mints, never a validator: `mint_call` is for wallets, the development network and simulation.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_hash.auto import keccak

from reactor.chains.errors import MalformedAnswer
from reactor.chains.ethereum.eip712 import Domain
from reactor.chains.ethereum.wire import is_data
from reactor.foreign import one_line, shown
from reactor.sentences import sentence

__all__ = [
    "BURN_TOPIC",
    "CHANGE_TOPICS",
    "CONTROLLER_READS",
    "MEMBER_TOPICS",
    "MINTED_TOPIC",
    "MINTER_ROLE",
    "WPOKT_READS",
    "address_call",
    "burn_call",
    "decode_bool",
    "decode_data",
    "decode_domain",
    "decode_uint",
    "mint_call",
    "minter_call",
    "revert_reason",
    "selector",
]


def selector(signature: str) -> str:
    """The first four bytes of the signature's hash, as `0x` text."""
    return "0x" + keccak(signature.encode())[:4].hex()


def _topic(signature: str) -> str:
    return "0x" + keccak(signature.encode()).hex()


BURN_TOPIC = _topic("BurnAndBridge(uint256,address,address)")
MINTED_TOPIC = _topic("Minted(address,uint256,uint256)")
# Events after which facts read earlier may be wrong; the first two name a validator in their first argument.
MEMBER_TOPICS = (_topic("NewValidator(address)"), _topic("RemovedValidator(address)"))
CHANGE_TOPICS = (
    *MEMBER_TOPICS,
    _topic("SignerThresholdSet(uint256)"),
    _topic("MintCooldownSet(uint256,uint256)"),
    _topic("FeeSet(bool,uint256,address)"),
    _topic("Paused(address)"),
    _topic("Unpaused(address)"),
    _topic("RoleGranted(bytes32,address,address)"),
    _topic("RoleRevoked(bytes32,address,address)"),
)
MINTER_ROLE = "0x" + keccak(b"MINTER_ROLE").hex()
"""The role on the token that lets the controller mint: whoever lacks it is refused, whatever was signed."""

GET_USER_NONCE = selector("getUserNonce(address)")
VALIDATORS = selector("validators(address)")
DOMAIN = selector("eip712Domain()")
CURRENT_MINT_LIMIT = selector("currentMintLimit()")
# Facts read together: name -> call data.
CONTROLLER_READS = {
    "signerThreshold": selector("signerThreshold()"),
    "validatorCount": selector("validatorCount()"),
    "maxMintLimit": selector("maxMintLimit()"),
    "mintPerSecond": selector("mintPerSecond()"),
}
WPOKT_READS = {
    "paused": selector("paused()"),
    "feeFlag": selector("feeFlag()"),
    "feeBasis": selector("feeBasis()"),
}

_ERRORS = {
    selector(signature)[2:]: signature
    for signature in (
        "UserNonce(address,uint256)",
        "FeeCollectorZero()",
        "FeeBasisDust()",
        "BatchMintLength()",
        "MaxBasis()",
        "BlockBurn()",
        "OverMintLimit()",
        "NonAdmin()",
        "InvalidSignatureRatio()",
        "InvalidSignatures()",
        "InvalidRemoveValidator()",
        "InvalidAddValidator()",
        "NonZero()",
        "BelowMinThreshold()",
        "InvalidCooldownConfig()",
    )
}
_REASON_LIMIT = 300
_ERROR_STRING = selector("Error(string)")[2:]
_MINT_CALL = "mintWrappedPocket((address,uint256,uint256),bytes[])"
_BURN_CALL = "burnAndBridge(uint256,address)"


def address_call(call: str, address: str) -> str:
    """Call data of a function with one address argument. Raises ValueError."""
    raw = bytes.fromhex(address.removeprefix("0x"))
    if len(raw) != 20:
        raise ValueError(f"address: expected 20 bytes, got {address!r}")
    return call + raw.rjust(32, b"\0").hex()


def minter_call(controller: str) -> str:
    """Call data of the token's `hasRole(MINTER_ROLE, controller)`. Raises ValueError."""
    return address_call(selector("hasRole(bytes32,address)") + MINTER_ROLE[2:], controller)


def mint_call(recipient: str, amount: int, nonce: int, signatures: Sequence[str | bytes]) -> str:
    """Call data of `mintWrappedPocket` on MintController.

    `amount` in upokt; `signatures` (65 bytes, or `0x` text) in ascending order of their signers' addresses, as a mint document
    keeps them: the contract does not count the others. Raises ValueError or eth-abi's EncodingError.
    """
    from eth_abi.abi import encode  # noqa: PLC0415 - costs import time that scanning need not pay

    raw = [bytes.fromhex(s.removeprefix("0x")) if isinstance(s, str) else bytes(s) for s in signatures]
    if any(len(signature) != 65 for signature in raw):
        raise ValueError("signatures: each must have 65 bytes")
    arguments = encode(["(address,uint256,uint256)", "bytes[]"], [(recipient, amount, nonce), raw])
    return selector(_MINT_CALL) + arguments.hex()


def burn_call(amount: int, pocket_address: str) -> str:
    """Call data of `burnAndBridge` on WrappedPocket; `pocket_address` is 40 hex digits, with or without `0x`."""
    return address_call(selector(_BURN_CALL) + amount.to_bytes(32, "big").hex(), pocket_address)


def decode_uint(answer: object, name: str) -> int:
    """A uint256 answer of `eth_call`. Raises MalformedAnswer naming what was asked."""
    return int.from_bytes(_words(answer, name, exact=32), "big")


def decode_bool(answer: object, name: str) -> bool:
    """A bool answer of `eth_call`. Raises MalformedAnswer naming what was asked."""
    value = decode_uint(answer, name)
    if value > 1:
        raise MalformedAnswer(f"{name}: expected a bool, got {value}")
    return value == 1


def decode_data(answer: object) -> str:
    """Any answer of `eth_call` as `0x` text in lower case, perhaps empty. Raises MalformedAnswer."""
    if not is_data(answer):
        raise MalformedAnswer(f"expected 0x and hex digits, got {shown(answer)}")
    return answer.lower()


def decode_domain(answer: object) -> Domain:
    """The answer of `eip712Domain()` (EIP-5267). Raises MalformedAnswer."""
    from eth_abi.abi import decode  # noqa: PLC0415 - costs import time that scanning need not pay

    raw = _words(answer, "eip712Domain")
    try:
        fields, name, version, chain_id, contract, _salt, _extensions = decode(
            ["bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"], raw
        )
    except Exception as error:  # noqa: BLE001 - foreign bytes: whatever they do to the decoder, they are no domain
        raise MalformedAnswer(f"eip712Domain: {sentence(error)}") from None
    if fields != b"\x0f":
        raise MalformedAnswer(f"eip712Domain: expected the fields 0x0f (no salt), got 0x{fields.hex()}")
    return Domain(name, version, chain_id, contract)


def revert_reason(data: str | None) -> str | None:
    """What a revert's data says: an error of our contracts, or Solidity's `Error(string)`; None if unknown."""
    from eth_abi.abi import decode  # noqa: PLC0415 - costs import time that scanning need not pay

    if data is None or not data.startswith("0x"):
        return None
    try:
        raw = bytes.fromhex(data[2:])
        head = raw[:4].hex()
        if head == _ERROR_STRING:
            return one_line(str(decode(["string"], raw[4:])[0]), _REASON_LIMIT)
        signature = _ERRORS.get(head)
        if signature == "UserNonce(address,uint256)":
            user, nonce = decode(["address", "uint256"], raw[4:])
            return f"UserNonce({user}, {nonce})"
    except Exception:  # noqa: BLE001 - foreign bytes: whatever they do to the decoder, they say nothing
        return None
    return signature


def _words(answer: object, name: str, exact: int | None = None) -> bytes:
    if answer == "0x":
        raise MalformedAnswer(f"{name}: empty answer: is the contract deployed at this address on this chain?")
    if not is_data(answer) or (exact is not None and len(answer) != 2 + 2 * exact):
        raise MalformedAnswer(f"{name}: expected {exact or 'ABI'} bytes of hex, got {shown(answer)}")
    return bytes.fromhex(answer[2:])
