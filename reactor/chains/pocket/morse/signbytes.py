"""The bytes that are signed: compact JSON with sorted keys, every number a string (single key and multisig alike)."""

from __future__ import annotations

from collections.abc import Iterable

from reactor.chains.pocket.morse.gotext import json_string


def sign_bytes(
    *, chain_id: str, from_address: str, to_address: str, amount: int, fee: Iterable[tuple[int, str]], memo: str,
    entropy: int,
) -> bytes:  # fmt: skip
    """UTF-8 sign bytes of a send (Pocket RC-0.9.2 StdSignDoc), to be signed without hashing.

    Amounts in uPOKT; `fee` is (amount, denom) pairs, `[]` without coins; addresses as 40 lower-case hex characters.
    Keys, signatures and the envelope are not covered.
    """
    coins = ",".join(f'{{"amount":"{value}","denom":{json_string(denom)}}}' for value, denom in fee)
    text = (
        f'{{"chain_id":{json_string(chain_id)},"entropy":"{entropy}","fee":[{coins}],"memo":{json_string(memo)},'
        f'"msg":{{"type":"pos/Send","value":{{"amount":"{amount}","from_address":{json_string(from_address)},'
        f'"to_address":{json_string(to_address)}}}}}}}'
    )
    return text.encode()
