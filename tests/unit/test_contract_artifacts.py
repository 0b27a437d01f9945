"""The committed artifacts come from their sources and have the deployed contracts' interface."""

import hashlib
import json
import re

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from eth_utils.crypto import keccak

from infra.contracts import FOLDER, MINT_CONTROLLER, WRAPPED_POCKET, load_artifact

pytestmark = pytest.mark.unit

TOKEN_FUNCTIONS = {
    "burnAndBridge(uint256,address)": "8402eb6b",
    "mint(address,uint256,uint256)": "156e29f6",
    "batchMint(address[],uint256[],uint256[])": "d559f05b",
    "setFee(bool,uint256,address)": "e11ee7c8",
    "getUserNonce(address)": "6834e3a8",
    "burn(uint256)": "42966c68",
    "burnFrom(address,uint256)": "79cc6790",
    "pause()": "8456cb59",
    "unpause()": "3f4ba83a",
    "feeFlag()": "118c6897",
    "feeBasis()": "5a94ee46",
    "feeCollector()": "c415b95c",
    "transfer(address,uint256)": "a9059cbb",
    "approve(address,uint256)": "095ea7b3",
    "transferFrom(address,address,uint256)": "23b872dd",
    "balanceOf(address)": "70a08231",
    "totalSupply()": "18160ddd",
    "decimals()": "313ce567",
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)": "d505accf",
    "nonces(address)": "7ecebe00",
    "hasRole(bytes32,address)": "91d14854",
    "grantRole(bytes32,address)": "2f2ff15d",
    "renounceRole(bytes32,address)": "36568abe",
    "paused()": "5c975abb",
    "eip712Domain()": "84b0196e",
}
CONTROLLER_FUNCTIONS = {
    "mintWrappedPocket((address,uint256,uint256),bytes[])": "0f22ed52",
    "addValidator(address)": "4d238c8e",
    "removeValidator(address)": "40a141ff",
    "setSignerThreshold(uint256)": "251b8192",
    "setMintCooldown(uint256,uint256)": "59aa6859",
    "currentMintLimit()": "a40c3eab",
    "lastMintLimit()": "2f99582a",
    "eip712Domain()": "84b0196e",
    "wPokt()": "d72a828b",
    "validators(address)": "fa52c7d8",
    "validatorCount()": "0f43a677",
    "signerThreshold()": "a4a4f390",
    "lastMint()": "586fc5b5",
    "maxMintLimit()": "70e2f827",
    "mintPerSecond()": "272c444d",
}
TOKEN_EVENTS = {
    "Minted(address indexed,uint256 indexed,uint256 indexed)": (
        "25b428dfde728ccfaddad7e29e4ac23c24ed7fd1a6e3e3f91894a9a073f5dfff"
    ),
    "BurnAndBridge(uint256 indexed,address indexed,address indexed)": (
        "ac314bfa2d21af3d3e0937c97bc805574e3b1abb58a457ef02280c6f5e3faa75"
    ),
    "FeeSet(bool indexed,uint256 indexed,address indexed)": ("d67a9beee624d9012cc270d0c9f894e26cc7f615c2762f9081862e653ea4c7b8"),
    "FeeCollected(address indexed,uint256 indexed)": ("06c5efeff5c320943d265dc4e5f1af95ad523555ce0c1957e367dda5514572df"),
    "Transfer(address indexed,address indexed,uint256)": ("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"),
}
CONTROLLER_EVENTS = {
    "CurrentMintLimit(uint256 indexed,uint256 indexed)": ("37ce17c2014463ff310cd0d994a30795f5c48b6d6c3104ba83677f096383e3e4"),
    "MintCooldownSet(uint256,uint256)": "2c1471be9f5586272d41bc8d7d0ce89b3b10e4693755e30752510cb88d42fdf5",
    "NewValidator(address indexed)": "29b4645f23b856eccf12b3b38e036c3221ca1b5a9afa2a83aea7ead34e47987c",
    "RemovedValidator(address indexed)": "b625c55cf7e37b54fcd18bc4edafdf3f4f9acd59a5ec824c77c795dcb2d65070",
    "SignerThresholdSet(uint256 indexed)": "030f8d880b0bf7b6311c00e028809570118cbccc8302e08c8776ad77d10f505e",
}
TOKEN_ERRORS = {
    "UserNonce(address,uint256)": "654e7ff9",
    "FeeCollectorZero()": "8b31f1ed",
    "FeeBasisDust()": "67fafac1",
    "BatchMintLength()": "5141df1b",
    "MaxBasis()": "a14e92d9",
    "BlockBurn()": "8bf6d214",
}
CONTROLLER_ERRORS = {
    "OverMintLimit()": "436a5379",
    "NonAdmin()": "8202605b",
    "InvalidSignatureRatio()": "17630fb1",
    "InvalidSignatures()": "274cf401",
    "InvalidRemoveValidator()": "2436a300",
    "InvalidAddValidator()": "68a17529",
    "NonZero()": "dfa8318d",
    "BelowMinThreshold()": "6a552f6a",
    "InvalidCooldownConfig()": "5d4fc1a6",
}
NAMES = (WRAPPED_POCKET, MINT_CONTROLLER)


def _type(parameter: dict) -> str:
    if parameter["type"].startswith("tuple"):
        inner = ",".join(_type(part) for part in parameter["components"])
        return f"({inner}){parameter['type'].removeprefix('tuple')}"
    return parameter["type"]


def _entries(name: str, kind: str) -> list[dict]:
    return [entry for entry in load_artifact(name).abi if entry["type"] == kind]


def _signature(entry: dict) -> str:
    marks = (_type(one) + (" indexed" if one.get("indexed") else "") for one in entry["inputs"])
    return f"{entry['name']}({','.join(marks)})"


def _functions(name: str, kind: str) -> dict[str, str]:
    """Selectors by signature; errors have selectors as functions do."""
    entries = _entries(name, kind)
    return {_signature(entry): function_abi_to_4byte_selector({**entry, "type": "function"}).hex() for entry in entries}


def _events(name: str) -> dict[str, str]:
    return {_signature(entry): event_abi_to_log_topic(entry).hex() for entry in _entries(name, "event")}


def test_there_is_one_artifact_per_source() -> None:
    sources = {path.stem for path in (FOLDER / "src").glob("*.sol")}
    assert sources == {path.stem for path in (FOLDER / "artifacts").glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_artifact_matches_its_source(name: str) -> None:
    artifact = load_artifact(name)
    assert hashlib.sha256(artifact.source.read_bytes()).hexdigest() == artifact.source_sha256
    assert artifact.compiler["solc"].startswith("0.8.20+")


@pytest.mark.parametrize("name", NAMES)
def test_bytecode_is_whole_and_within_the_chain_limit(name: str) -> None:
    artifact = load_artifact(name)
    for code in (artifact.bytecode, artifact.deployed_bytecode):
        assert re.fullmatch(r"0x([0-9a-f]{2})+", code), "not hex, or a library is not linked"
    assert len(artifact.deployed_bytecode) // 2 - 1 <= 24_576


def test_unknown_artifact_names_those_there_are() -> None:
    with pytest.raises(LookupError, match="MintController, WrappedPocket"):
        load_artifact("WrappedPokt")


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (WRAPPED_POCKET, "function", TOKEN_FUNCTIONS),
        (MINT_CONTROLLER, "function", CONTROLLER_FUNCTIONS),
        (WRAPPED_POCKET, "error", TOKEN_ERRORS),
        (MINT_CONTROLLER, "error", CONTROLLER_ERRORS),
    ],
)
def test_selectors(name: str, kind: str, expected: dict[str, str]) -> None:
    present = _functions(name, kind)
    assert {signature: present.get(signature) for signature in expected} == expected


@pytest.mark.parametrize("name", NAMES)
def test_no_error_beyond_the_deployed_ones(name: str) -> None:
    # OpenZeppelin's string helper brings two of its own.
    known = {*TOKEN_ERRORS, *CONTROLLER_ERRORS, "InvalidShortString()", "StringTooLong(string)"}
    assert set(_functions(name, "error")) <= known


@pytest.mark.parametrize(("name", "expected"), [(WRAPPED_POCKET, TOKEN_EVENTS), (MINT_CONTROLLER, CONTROLLER_EVENTS)])
def test_events_with_their_indexed_arguments(name: str, expected: dict[str, str]) -> None:
    present = _events(name)
    assert {signature: present.get(signature) for signature in expected} == expected


def test_only_the_token_mints_and_burns() -> None:
    assert not set(_functions(MINT_CONTROLLER, "function")) & {"mint(address,uint256,uint256)", "burn(uint256)"}
    assert not set(_events(MINT_CONTROLLER)) & set(TOKEN_EVENTS)


def test_the_type_that_validators_sign() -> None:
    domain = {"name": "Test", "version": "1", "chainId": 1, "verifyingContract": "0x" + "00" * 20}
    types = {
        "MintData": [
            {"name": "recipient", "type": "address"},
            {"name": "amount", "type": "uint256"},
            {"name": "nonce", "type": "uint256"},
        ]
    }
    message = encode_typed_data(domain, types, {"recipient": "0x" + "00" * 20, "amount": 100, "nonce": 1})
    assert message.header.hex() == "1b23aee8f7c1b0e2d17b66b0d2a1a96d31deb41315b9a846e9803adae63431f4"
    assert message.body.hex() == "89516ffc8dab157a0958c00eda0b4e6c391201d881eb41a6efe44d1f907301c6"
    typehash = keccak(text="MintData(address recipient,uint256 amount,uint256 nonce)").hex()
    assert typehash == "6721b4026585b4fadb77a5437a5afbb668cdaaefcd24e850f179a5e0c2eb1b9a"
    assert typehash in load_artifact(MINT_CONTROLLER).deployed_bytecode
    assert typehash not in load_artifact(WRAPPED_POCKET).deployed_bytecode


def test_lock_file_names_no_host() -> None:
    text = (FOLDER / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert set(re.findall(r"https?://([^/\"]+)", text)) <= {"github.com"}  # where authors ask for donations


def test_lock_file_is_complete_for_every_platform() -> None:
    packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    named = {f"node_modules/{name}" for entry in packages.values() for name in entry.get("optionalDependencies", {})}
    assert "node_modules/@foundry-rs/anvil-linux-arm64" in named
    assert named <= set(packages)  # else `npm ci` refuses, everywhere
