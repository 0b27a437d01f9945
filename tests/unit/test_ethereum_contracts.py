"""Selectors of the deployed contracts, call data, answers and reverts."""

from __future__ import annotations

import subprocess
import sys

import pytest
from eth_abi.abi import encode

from reactor.chains.errors import MalformedAnswer
from reactor.chains.ethereum import contracts

pytestmark = pytest.mark.unit

USER = "0x" + "ab" * 20


def test_selectors_are_the_deployed_ones() -> None:
    assert contracts.CONTROLLER_READS == {
        "signerThreshold": "0xa4a4f390",
        "validatorCount": "0x0f43a677",
        "maxMintLimit": "0x70e2f827",
        "mintPerSecond": "0x272c444d",
    }
    assert contracts.WPOKT_READS == {"paused": "0x5c975abb", "feeFlag": "0x118c6897", "feeBasis": "0x5a94ee46"}
    assert contracts.MINTER_ROLE == "0x9f2df0fed2c77648de5860a4cc508cd0818c85b8b8a1ab4ceeef8d981c8956a6"
    assert contracts.minter_call(USER) == f"0x91d14854{contracts.MINTER_ROLE[2:]}{'0' * 24}{USER[2:]}"
    assert (contracts.GET_USER_NONCE, contracts.VALIDATORS) == ("0x6834e3a8", "0xfa52c7d8")
    assert (contracts.DOMAIN, contracts.CURRENT_MINT_LIMIT) == ("0x84b0196e", "0xa40c3eab")


def test_mint_call() -> None:
    signatures = ["0x" + "01" * 65, b"\x02" * 65]
    data = contracts.mint_call(USER, 7, 3, signatures)
    expected = encode(["(address,uint256,uint256)", "bytes[]"], [(USER, 7, 3), [b"\x01" * 65, b"\x02" * 65]])
    assert data == "0x0f22ed52" + expected.hex()
    with pytest.raises(ValueError, match="65 bytes"):
        contracts.mint_call(USER, 7, 3, ["0x" + "01" * 64])


def test_burn_call() -> None:
    data = contracts.burn_call(5, "bb" * 20)
    assert data == "0x8402eb6b" + encode(["uint256", "address"], [5, "0x" + "bb" * 20]).hex()
    with pytest.raises(ValueError, match="20 bytes"):
        contracts.burn_call(5, "bb" * 19)


def test_numbers_and_flags() -> None:
    assert contracts.decode_uint("0x" + "00" * 31 + "07", "nonce") == 7
    assert contracts.decode_bool("0x" + "00" * 31 + "01", "paused") is True
    assert contracts.decode_bool("0x" + "00" * 32, "paused") is False


@pytest.mark.parametrize("answer", ["0x", "0x00", None, 7, "00" * 32, "0x" + "zz" * 32, "0x" + "00" * 33])
def test_other_answers_are_refused_by_name(answer: object) -> None:
    with pytest.raises(MalformedAnswer, match=r"^signerThreshold: "):
        contracts.decode_uint(answer, "signerThreshold")


def test_an_empty_answer_asks_for_the_address() -> None:
    with pytest.raises(MalformedAnswer, match="deployed at this address"):
        contracts.decode_bool("0x", "paused")
    with pytest.raises(MalformedAnswer, match="expected a bool"):
        contracts.decode_bool("0x" + "00" * 31 + "02", "paused")


@pytest.mark.parametrize("answer", ["0xzz", "00", None, 7, "0x0"])
def test_an_answer_that_is_no_data_is_refused(answer: object) -> None:
    with pytest.raises(MalformedAnswer, match="expected 0x and hex digits"):
        contracts.decode_data(answer)


def test_an_answer_may_be_empty_data() -> None:
    assert (contracts.decode_data("0x"), contracts.decode_data("0xAB")) == ("0x", "0xab")


_DOMAIN_TYPES = ["bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"]


def test_domain() -> None:
    answer = "0x" + encode(_DOMAIN_TYPES, [b"\x0f", "MintController", "1", 5, USER, bytes(32), []]).hex()
    domain = contracts.decode_domain(answer)
    assert (domain.name, domain.version, domain.chain_id, domain.verifying_contract) == ("MintController", "1", 5, USER)


@pytest.mark.parametrize(
    "answer",
    [
        "0x",
        "0x00",
        "0x" + "ff" * 320,
        "0x" + encode(_DOMAIN_TYPES, [b"\x1f", "MintController", "1", 5, USER, bytes(32), []]).hex(),
    ],
)
def test_other_domains_are_refused(answer: str) -> None:
    with pytest.raises(MalformedAnswer, match="eip712Domain"):
        contracts.decode_domain(answer)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("0x436a5379", "OverMintLimit()"),
        ("0x274cf401", "InvalidSignatures()"),
        ("0x67fafac1", "FeeBasisDust()"),
        ("0x654e7ff9" + encode(["address", "uint256"], [USER, 4]).hex(), f"UserNonce({USER}, 4)"),
        ("0x08c379a0" + encode(["string"], ["Pausable: paused"]).hex(), "Pausable: paused"),
        ("0x654e7ff9", None),
        ("0xdeadbeef", None),
        ("0xzz", None),
        ("", None),
        (None, None),
    ],
)
def test_reverts_are_named(data: str | None, reason: str | None) -> None:
    assert contracts.revert_reason(data) == reason


def test_only_a_client_imports_web3_and_the_recursion_limit_survives_it() -> None:
    url = '"http://127.0.0.1:1"'
    program = f"""
import sys
import reactor.chains.ethereum as package
assert not {{"web3", "aiohttp", "eth_abi"}} & sys.modules.keys(), "heavy imports"
zero = "0x" + "00" * 20
package.EthereumChain([{url}], chain_id=1, wpokt=zero, controller=zero, finality=package.Finality("latest", 1))
assert "web3" in sys.modules
assert sys.getrecursionlimit() <= 1000, "a deeply nested answer would end the process"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
