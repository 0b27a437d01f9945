"""Several burns in one Ethereum transaction, without a contract of their own: the creation code of one does the calls.

The new contract's address is known beforehand, so it can be given the tokens that it is to burn.
"""

from collections.abc import Sequence

from eth_utils.crypto import keccak

_BURN_SELECTOR = keccak(text="burnAndBridge(uint256,address)")[:4]
_PUSH1, _PUSH2, _PUSH20, _PUSH32 = b"\x60", b"\x61", b"\x73", b"\x7f"
_MSTORE, _GAS, _CALL, _JUMPI, _JUMPDEST = b"\x52", b"\x5a", b"\xf1", b"\x57", b"\x5b"
_STOP, _REVERT = b"\x00", b"\xfd"
_CALLDATA_SIZE = 68


def burn_batch_code(token: str, burns: Sequence[tuple[int, str]]) -> bytes:
    """Creation code that calls `burnAndBridge(amount, recipient)` of `token` for each pair, or reverts as a whole.

    `recipient`: 40 hex characters.
    """
    return b"".join(_burn(token, amount, recipient, place) for place, (amount, recipient) in enumerate(burns)) + _STOP


def _burn(token: str, amount: int, recipient: str, place: int) -> bytes:
    calldata = _BURN_SELECTOR + amount.to_bytes(32, "big") + bytes(12) + bytes.fromhex(recipient.removeprefix("0x"))
    words = [calldata[start : start + 32].ljust(32, b"\0") for start in range(0, _CALLDATA_SIZE, 32)]
    code = b"".join(_PUSH32 + word + _PUSH1 + bytes([32 * number]) + _MSTORE for number, word in enumerate(words))
    code += _PUSH1 + b"\0" + _PUSH1 + b"\0"  # where the answer goes: nowhere
    code += _PUSH1 + bytes([_CALLDATA_SIZE]) + _PUSH1 + b"\0" + _PUSH1 + b"\0"  # size, offset, value
    code += _PUSH20 + bytes.fromhex(token.removeprefix("0x")) + _GAS + _CALL
    # Jump over the revert if the call succeeded.
    revert = _PUSH1 + b"\0" + _PUSH1 + b"\0" + _REVERT
    target = place * _size() + len(code) + 3 + 1 + len(revert)
    return code + _PUSH2 + target.to_bytes(2, "big") + _JUMPI + revert + _JUMPDEST


def _size() -> int:
    """Bytes of the code of one burn: the same for all."""
    return 3 * (33 + 2 + 1) + 4 + 6 + 21 + 2 + 3 + 1 + 5 + 1
