"""The memo decides between mint and refund: every kind of malformed text, with the verdict that Go would give."""

import pytest

from reactor.chains.pocket.memo import MAX_DEPTH, Memo, MemoError, MemoFault, parse_memo

pytestmark = pytest.mark.unit

LOWER = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
CHECKSUM = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
VALID = Memo(LOWER, CHECKSUM, "1")
A = f'"address":"{LOWER}"'
C = '"chain_id":"1"'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{{{A},{C}}}", id="canonical"),
        pytest.param(f'{{"address":"{CHECKSUM}",{C}}}', id="checksummed"),
        pytest.param(f'{{"address":"{LOWER[:2] + LOWER[2:].upper()}",{C}}}', id="upper case"),
        pytest.param(f'{{"address":"0X{LOWER[2:]}",{C}}}', id="upper case X"),
        pytest.param(f" {{ {A} ,\t{C}\r\n}} \n", id="whitespace"),
        pytest.param(f"{{{C},{A}}}", id="other order"),
        pytest.param(f'{{"ADDRESS":"{LOWER}","Chain_ID":"1"}}', id="keys in any case"),
        pytest.param(f'{{"addre\u017f\u017f":"{LOWER}",{C}}}', id="long s folds to s"),
        pytest.param(f'{{"\\u0061ddress":"{LOWER}",{C}}}', id="escaped key"),
        pytest.param(f'{{"address":"\\u0030x{LOWER[2:]}",{C}}}', id="escaped value"),
        pytest.param(f'{{{A},"chain_id":"0001"}}', id="leading zeros"),
        pytest.param(f'{{{A},"chain_id":"+1"}}', id="plus sign"),
        pytest.param(f'{{"address":"x",{A},{C}}}', id="the last of duplicates wins"),
        pytest.param(f'{{{A},{C},"address":null}}', id="null changes nothing"),
        pytest.param(f'{{{A},{C},"more":[1,-0.5e+3,{{"address":1}},true,false,null,[]],"x":{{}}}}', id="unknown keys"),
        pytest.param(f'{{{A},{C},"\\ud800":"\\udc00\\ud83d\\ude00"}}', id="surrogates"),
        pytest.param(f'{{{A},{C},"d":{"[" * (MAX_DEPTH - 1)}{"]" * (MAX_DEPTH - 1)}}}', id="as deep as Go goes"),
    ],
)
def test_valid(text: str) -> None:
    assert parse_memo(text, "1") == VALID
    assert parse_memo(text.encode("utf-8"), "1") == VALID


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", MemoFault.NOT_JSON),
        ("hello", MemoFault.NOT_JSON),
        (LOWER, MemoFault.NOT_JSON),
        (f"{{{A},{C}", MemoFault.NOT_JSON),
        (f"{{{A},{C}}}x", MemoFault.NOT_JSON),
        (f"{{{A},{C}}}{{}}", MemoFault.NOT_JSON),
        (f"{{{A},{C},}}", MemoFault.NOT_JSON),
        (f"{{{A} {C}}}", MemoFault.NOT_JSON),
        (f"{{,{A},{C}}}", MemoFault.NOT_JSON),
        ("{'address':'x'}", MemoFault.NOT_JSON),
        ('{address:"x"}', MemoFault.NOT_JSON),
        ('{"address"}', MemoFault.NOT_JSON),
        ('{"address":}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":[1,]}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":[1}}}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":NaN}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":Infinity}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":01}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":+1}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":1.}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":.5}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":tru}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":"\n"}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":"\\x41"}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":"\\u12g4"}}', MemoFault.NOT_JSON),
        (f'{{{A},{C},"x":"open}}', MemoFault.NOT_JSON),
        (f"\ufeff{{{A},{C}}}", MemoFault.NOT_JSON),
        (f"\u00a0{{{A},{C}}}", MemoFault.NOT_JSON),
        (f"{{{A},{C}}}\0", MemoFault.NOT_JSON),
        (f"/**/{{{A},{C}}}", MemoFault.NOT_JSON),
        ("[" * 200_000, MemoFault.TOO_DEEP),
        ('{"a":' * 200_000, MemoFault.TOO_DEEP),
        (f'{{{A},{C},"d":{"[" * MAX_DEPTH}{"]" * MAX_DEPTH}}}', MemoFault.TOO_DEEP),
        ("[]", MemoFault.WRONG_TYPE),
        ('"text"', MemoFault.WRONG_TYPE),
        ("1", MemoFault.WRONG_TYPE),
        ("true", MemoFault.WRONG_TYPE),
        (f'{{{A},"chain_id":1}}', MemoFault.WRONG_TYPE),
        (f'{{{A},"chain_id":1,{C}}}', MemoFault.WRONG_TYPE),
        (f'{{{A},{C},"CHAIN_ID":true}}', MemoFault.WRONG_TYPE),
        (f'{{"address":{{}},{C}}}', MemoFault.WRONG_TYPE),
        (f'{{"address":["{LOWER}"],{C}}}', MemoFault.WRONG_TYPE),
        ("null", MemoFault.ADDRESS),
        ("{}", MemoFault.ADDRESS),
        (f"{{{C}}}", MemoFault.ADDRESS),
        (f'{{"address":null,{C}}}', MemoFault.ADDRESS),
        (f'{{{A},{C},"address":""}}', MemoFault.ADDRESS),
        (f'{{"address":"{LOWER[2:]}",{C}}}', MemoFault.ADDRESS),
        (f'{{"address":"{LOWER} ",{C}}}', MemoFault.ADDRESS),
        (f'{{"address":"{LOWER}\\n",{C}}}', MemoFault.ADDRESS),
        (f'{{"address":"{LOWER[:-1]}",{C}}}', MemoFault.ADDRESS),
        (f'{{"address":"{LOWER}0",{C}}}', MemoFault.ADDRESS),
        (f'{{"address":"{LOWER[:-1]}g",{C}}}', MemoFault.ADDRESS),
        (f'{{"address":"{LOWER[:-1]}\u0661",{C}}}', MemoFault.ADDRESS),
        (f'{{"address ":"{LOWER}",{C}}}', MemoFault.ADDRESS),
        (f'{{"address":"0x{"0" * 40}",{C}}}', MemoFault.ZERO_ADDRESS),
        (f"{{{A}}}", MemoFault.CHAIN_ID),
        (f'{{{A},"chain_id":""}}', MemoFault.CHAIN_ID),
        (f'{{{A},"chain_id":" 1"}}', MemoFault.CHAIN_ID),
        (f'{{{A},"chain_id":"0x1"}}', MemoFault.CHAIN_ID),
        (f'{{{A},"chain_id":"1.0"}}', MemoFault.CHAIN_ID),
        (f'{{{A},"chain_id":"1_0"}}', MemoFault.CHAIN_ID),
        (f'{{{A},"chain_id":"\u0661"}}', MemoFault.CHAIN_ID),
        (f'{{{A},"chain-id":"1"}}', MemoFault.CHAIN_ID),
        (f'{{{A},"cha\u0131n_id":"1"}}', MemoFault.CHAIN_ID),
        (f'{{{A},"chain_id":"-1"}}', MemoFault.OTHER_CHAIN),
        (f'{{{A},"chain_id":"2"}}', MemoFault.OTHER_CHAIN),
        (f'{{{A},"chain_id":"10"}}', MemoFault.OTHER_CHAIN),
        (f'{{{A},"chain_id":"{"9" * 100_000}"}}', MemoFault.OTHER_CHAIN),
    ],
)
def test_invalid(text: str, fault: MemoFault) -> None:
    found = parse_memo(text, "1")
    assert isinstance(found, MemoError)
    assert found.fault is fault
    assert 0 < len(found.text) < 400
    assert parse_memo(text.encode("utf-8"), "1") == found


def test_invalid_utf8_counts_inside_strings_only_as_another_character() -> None:
    assert parse_memo(f'{{{A},{C},"x":"'.encode() + b'\xff"}', "1") == VALID
    bad = parse_memo(b"\xff" + f"{{{A},{C}}}".encode(), "1")
    assert isinstance(bad, MemoError)
    assert bad.fault is MemoFault.NOT_JSON


def test_the_configured_chain_id_is_what_is_kept() -> None:
    assert parse_memo(f'{{{A},"chain_id":"0031337"}}', "31337") == Memo(LOWER, CHECKSUM, "31337")
    assert isinstance(parse_memo(f"{{{A},{C}}}", "31337"), MemoError)
    with pytest.raises(ValueError, match="configured chain id"):
        parse_memo(f"{{{A},{C}}}", "main")


@pytest.mark.parametrize(
    ("memo", "address"),
    [
        ('{"\\u0061ddress":"\\u0030x%s","chain_id":"1"}', True),
        ('{"address\\ud800":"0x%s","chain_id":"1"}', False),
        ('{"\ud800":1,"address":"0x%s","chain_id":"1"}', True),
        ('{"address-of-someone":5,"address":"0x%s","chain_id":"1"}', True),
    ],
)
def test_names_are_unescaped_before_they_count(memo: str, address: bool) -> None:
    found = parse_memo(memo % ("ab" * 20), "1")
    assert isinstance(found, Memo) is address


@pytest.mark.parametrize(
    ("literal", "read"),
    [
        (r"\" \\ \/ \b\f\n\r\t", '" \\ / \b\f\n\r\t'),
        (r"\u0041\u00e9\uD7FF\uE000\uffff", "A\u00e9\ud7ff\ue000\uffff"),
        (r"\uD800\uDC00 \ud83d\ude00 \udbff\udfff", "\U00010000 \U0001f600 \U0010ffff"),
        (r"\ud800 \udbff \udc00 \uDFFF", "\ufffd \ufffd \ufffd \ufffd"),
        (r"\uDBFF\uDC00 \uDaFf\uDfFf", "\U0010fc00 \U000cffff"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        ("\ud800\udfff", "\ufffd\ufffd"),
        ("\x7f\u2028", "\x7f\u2028"),
    ],
)
def test_a_string_is_read_as_go_reads_it(literal: str, read: str) -> None:
    """Seen where a memo is refused: what is shown is what was read."""
    found = parse_memo(f'{{"address":"{literal}",{C}}}', "1")
    assert found == MemoError(MemoFault.ADDRESS, f"address {read!r} is not 0x and 40 hex characters")


@pytest.mark.parametrize(
    ("memo", "fault", "told"),
    [
        ('{"address":"0x12",}', MemoFault.NOT_JSON, "the memo is not JSON (character 18)"),
        ("", MemoFault.NOT_JSON, "the memo is not JSON (character 0)"),
        ("[" * (MAX_DEPTH + 1), MemoFault.TOO_DEEP, "the memo nests deeper than 10000 levels"),
        ("[]", MemoFault.WRONG_TYPE, "the memo is not a JSON object"),
        (f'{{{A},"Chain_ID":1}}', MemoFault.WRONG_TYPE, "chain_id is not a JSON string"),
        (f'{{"ADDRESS":[],{C}}}', MemoFault.WRONG_TYPE, "address is not a JSON string"),
        (f'{{"address":"{"x" * 100}",{C}}}', MemoFault.ADDRESS, f"address '{'x' * 60}' is not"),
        (f'{{"address":"0x{"0" * 40}",{C}}}', MemoFault.ZERO_ADDRESS, "address is the zero address"),
        (f"{{{C}}}", MemoFault.ADDRESS, "address '' is not 0x and 40 hex characters"),
        (f"{{{A}}}", MemoFault.CHAIN_ID, "chain_id '' is not a decimal number"),
        (f'{{{A},"chain_id":"{"x" * 100}"}}', MemoFault.CHAIN_ID, f"chain_id '{'x' * 60}' is not a decimal number"),
        (f'{{{A},"chain_id":"{"9" * 100}"}}', MemoFault.OTHER_CHAIN, f"chain_id is {'9' * 60}, this bridge serves 1"),
    ],
)
def test_a_refused_memo_says_which_part_and_shows_at_most_sixty_characters_of_it(memo: str, fault: MemoFault, told: str) -> None:
    found = parse_memo(memo, "1")
    assert isinstance(found, MemoError)
    assert found.fault is fault
    assert found.text.startswith(told)


@pytest.mark.parametrize(
    ("named", "configured", "same"),
    [
        ("0", "0", True),
        ("-0", "0", True),
        ("+0", "-0", True),
        ("000", "0", True),
        ("10", "010", True),
        ("-5", "-05", True),
        ("5", "-5", False),
        ("-5", "5", False),
        ("100", "1", False),
        ("0", "1", False),
    ],
)
def test_chain_ids_are_compared_as_numbers(named: str, configured: str, same: bool) -> None:
    found = parse_memo(f'{{{A},"chain_id":"{named}"}}', configured)
    if same:
        assert found == Memo(LOWER, CHECKSUM, configured)
    else:
        assert isinstance(found, MemoError)
        assert found.fault is MemoFault.OTHER_CHAIN


@pytest.mark.parametrize(
    "other",
    [
        '"x":{"address":1,"chain_id":2}',
        '"x":[{"address":1}]',
        '"x":[["address"],"chain_id"]',
        '"x":{"y":{"address":null}}',
        '"x":{},"y":[]',
        '"":0',
        '"chain_idx":5',
        '"addresss":5',
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_only_the_outermost_object_names_a_recipient(other: str, first: bool) -> None:
    members = [other, A, C] if first else [A, C, other]
    assert parse_memo("{" + ",".join(members) + "}", "1") == VALID
    inside = parse_memo(f'{{{C},"x":{{{A}}}}}', "1")
    assert inside == MemoError(MemoFault.ADDRESS, "address '' is not 0x and 40 hex characters")


@pytest.mark.parametrize("number", ["0", "-0", "10", "-1.50", "0.5E-3", "1e5", "1E+5", "2e0"])
def test_a_number_is_any_that_json_knows(number: str) -> None:
    assert parse_memo(f'{{"x":{number},{A},{C}}}', "1") == VALID
    for broken in (f"{number}.", f"{number}x", f"+{number}", f"0{number}" if number[0] != "-" else f"-{number}"):
        found = parse_memo(f'{{"x":{broken},{A},{C}}}', "1")
        assert isinstance(found, MemoError)
        assert found.fault is MemoFault.NOT_JSON


@pytest.mark.parametrize("code", range(0x20))
def test_no_control_character_stands_bare_in_a_string(code: int) -> None:
    found = parse_memo(f'{{"x":"{chr(code)}",{A},{C}}}', "1")
    assert found == MemoError(MemoFault.NOT_JSON, "the memo is not JSON (character 5)")
    assert parse_memo(f'{{"x":"\\u{code:04x}",{A},{C}}}', "1") == VALID


@pytest.mark.parametrize("char", [" ", "\x7f", "\x85", "\u2028", "\ufeff"])
def test_any_other_character_may(char: str) -> None:
    assert parse_memo(f'{{"x":"{char}",{A},{C}}}', "1") == VALID
