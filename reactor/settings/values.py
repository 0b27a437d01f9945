"""The kinds of values that settings are made of, each parsed once and refused with its remedy."""

import re
from collections.abc import Callable
from typing import Annotated

from eth_hash.auto import keccak
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from reactor.mongo_uri import MongoUriProblem, check_options
from reactor.urls import UrlProblem, endpoint_key, http_url

_ETHEREUM_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_POCKET_ADDRESS = re.compile(r"[0-9a-f]{40}")
_PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")
_POCKET_CHAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_FINALITY = re.compile(r"latest-([0-9]{1,6})|safe|finalized")
_MONGO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KEY_URI = re.compile(r"(env|file|keystore|awskms|awssecret)://[^\s]+")
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_DIGITS = re.compile(r"[0-9]{1,30}")
MAX_BLOCK = 2**63 - 1


def refuse(problem: str, remedy: str, **context: object) -> PydanticCustomError:
    """Make the error of a value; `problem` and `remedy` never hold the value of a secret."""
    return PydanticCustomError("setting", problem, {**context, "remedy": remedy.format(**context)})


def parse_whole(value: object) -> int | None:
    """Read a whole number that is not negative, or its decimal digits; none for anything else (true, 1.0, 1e3)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    return None


def _whole(value: object) -> int:
    number = parse_whole(value)
    if number is None:
        raise refuse("is not a whole number", "Give decimal digits")
    return number


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refuse("is not a number of seconds", "Give a number like 30 or 0.5")
    try:
        return float(value)
    except ValueError:
        raise refuse("is not a number of seconds", "Give a number like 30 or 0.5") from None


def _ethereum_address(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not _ETHEREUM_ADDRESS.fullmatch(text):
        raise refuse("is not an Ethereum address", "Give 0x and 40 hexadecimal characters, in quotes")
    digits = text[2:]
    if digits not in {digits.lower(), digits.upper()} and text != checksummed(text.lower()):
        raise refuse("its checksum (EIP-55) is wrong", "Copy the address again; one character or more differ")
    if int(digits, 16) == 0:
        raise refuse("is the zero address", "Give the real address")
    return text.lower()


def checksummed(address: str) -> str:
    """Give the EIP-55 form of a lower-case address."""
    digits = address.removeprefix("0x")
    pattern = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(p, 16) >= 8 else c for c, p in zip(digits, pattern, strict=False))


def _pocket_address(value: object) -> str:
    text = value.strip().lower() if isinstance(value, str) else ""
    if not _POCKET_ADDRESS.fullmatch(text):
        raise refuse("is not a Pocket address", "Give 40 hexadecimal characters without 0x, in quotes")
    return text


def _pocket_public_key(value: object) -> str:
    text = value.strip().lower() if isinstance(value, str) else ""
    if not _PUBLIC_KEY.fullmatch(text):
        # SECURITY: not shown: 128 characters here are a private key in the wrong place.
        raise refuse("is not an Ed25519 public key", "Give 64 hexadecimal characters, the public key only (`reactor keys show`)")
    return text


def _matching(pattern: re.Pattern[str], problem: str, remedy: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise refuse(problem, remedy)
        return value

    return AfterValidator(check)


def _rpc_url(value: str) -> str:
    try:
        return http_url(value)
    except UrlProblem as error:
        raise refuse(error.problem, error.remedy) from None


def _mongo_uri(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    try:
        check_options(text)
    except MongoUriProblem as error:
        raise refuse(error.problem, error.remedy) from None
    return SecretStr(text)


def _key_uri(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    # SECURITY: a key put where its URI belongs is refused here and never shown.
    if not _KEY_URI.fullmatch(text) or (text.startswith("env://") and _HEX_KEY.search(text)):
        raise refuse(
            "is not a key URI",
            "Give env://NAME, file:///path, keystore:///path, awskms://region/key-id or awssecret://region/secret-id;"
            " never the key itself",
        )
    return text


def finality_depth(finality: str) -> int | None:
    """Give k of `latest-k`, or none for `safe` and `finalized`."""
    match = _FINALITY.fullmatch(finality)
    return int(match.group(1)) if match and match.group(1) else None


def no_duplicates(values: tuple[str, ...], key: Callable[[str], str] = str) -> tuple[str, ...]:
    """Refuse a list that names one thing twice, by what `key` makes of it; says at which places, not what."""
    seen: dict[str, int] = {}
    for place, value in enumerate(values, 1):
        if key(value) in seen:
            raise refuse("its entries {first} and {second} are the same", "Remove one", first=seen[key(value)], second=place)
        seen[key(value)] = place
    return values


def _different_endpoints(values: tuple[str, ...]) -> tuple[str, ...]:
    """SECURITY: one endpoint in two spellings would agree with itself."""
    return no_duplicates(values, endpoint_key)


def _listed(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise refuse("is not a list", 'Give ["…", "…"]; in the environment, separate by commas')
    return tuple(value)


EthereumAddress = Annotated[str, BeforeValidator(_ethereum_address)]
PocketAddress = Annotated[str, BeforeValidator(_pocket_address)]
PocketPublicKey = Annotated[str, BeforeValidator(_pocket_public_key)]
PocketChainId = Annotated[
    str, _matching(_POCKET_CHAIN_ID, "is not a Pocket chain id", "Give it as the node shows it, e.g. mainnet or testnet")
]
RpcUrl = Annotated[str, AfterValidator(_rpc_url)]
RpcUrls = Annotated[tuple[RpcUrl, ...], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_different_endpoints)]
EthereumAddresses = Annotated[
    tuple[EthereumAddress, ...], BeforeValidator(_listed), Field(min_length=1), AfterValidator(no_duplicates)
]
PocketPublicKeys = Annotated[
    tuple[PocketPublicKey, ...], BeforeValidator(_listed), Field(min_length=2), AfterValidator(no_duplicates)
]
MongoUri = Annotated[SecretStr, AfterValidator(_mongo_uri)]
MongoName = Annotated[
    str, _matching(_MONGO_NAME, "is not a usable name", "Use up to 63 letters, digits, - and _; begin with a letter")
]
KeyUri = Annotated[str, BeforeValidator(_key_uri)]
FinalityRule = Annotated[str, _matching(_FINALITY, "is not a finality rule", "Give latest-<blocks>, safe or finalized")]
Name = Annotated[str, _matching(_NAME, "is not a usable name", "Use up to 63 letters, digits, dots, - and _")]
Start = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_BLOCK)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=1_000_000)]
Depth = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=1_000_000)]
ChainNumber = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=2**64 - 1)]
Amount = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=2**63 - 1)]
LongSeconds = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=31_622_400)]
Milliseconds = Annotated[int, BeforeValidator(_whole), Field(ge=10, le=600_000)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=86_400, allow_inf_nan=False)]
