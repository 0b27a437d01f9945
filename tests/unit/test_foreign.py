"""Foreign text: no configured secret comes through, in no spelling, and nothing that steers a terminal or breaks a database."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import foreign
from reactor.chains.errors import ChainError, MalformedAnswer, NotAgreed, NotFound, RpcRefused, RpcUnavailable, WrongChain
from reactor.chains.pocket import errors as pocket
from reactor.foreign import MASK, clean, one_line, redact, register_secrets, shown, url_secrets

pytestmark = pytest.mark.unit

KEY = "9f8e7d6c5b4aPROJECT1029384756ID"
PASSWORD = "p/ss w0rd@node"
URLS = {
    "path": f"https://rpc.example/v3/{KEY}",
    "query": f"https://rpc.example/rpc?apikey={KEY}&chain=mainnet",
    "short key in the query": "https://rpc.example/rpc?apikey=K3y!",
    "fragment": f"https://rpc.example/#{KEY}",
    "basic authentication": f"https://operator:{quote(PASSWORD, safe='')}@rpc.example/v1",
    "user alone": f"https://{KEY}@rpc.example/v1",
    "host": f"https://{KEY}.eth.rpc.example/",
    "mongo": f"mongodb://validator:{quote(PASSWORD, safe='')}@h1:1,h2:2/db?replicaSet=rs0",
    "mongo options": f"mongodb+srv://h1/db?authMechanismProperties=AWS_SESSION_TOKEN:{KEY}",
}
WORDS = ["v1", "v3", "rpc", "mainnet", "rpc.example", "h1", "operator", "validator", "chain", "rs0", "replicaSet", "db"]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(foreign, "_secrets", foreign._Secrets())


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_what_a_url_holds_is_masked_and_what_everybody_may_know_is_not(url):
    register_secrets(*url_secrets(url))
    for secret in (KEY, PASSWORD, "K3y!"):
        if secret in url or quote(secret, safe="") in url:
            for spelling in (secret, quote(secret, safe=""), quote(secret, safe="").lower(), json.dumps(secret), repr(secret)):
                text = redact(f"no route for {spelling} here")
                assert spelling.strip("\"'") not in text
                assert MASK in text
            assert secret not in redact(url)
    assert redact(" ".join(WORDS)) == " ".join(WORDS)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8545",
        "https://rpc.example/v1",
        "https://eth-mainnet.g.provider.example",
        "https://nd-123-456-789.p2p.example",
        "https://internal-a1b2c3d4e5f60718-1234567890.us-east-1.elb.cloud.example",
        "https://averylongnameofonenetworknode1.cluster.internal",
        "http://0123456789abcdef0123456789abcdef:8545",
        "http://0123456789abcdef0123456789abcdef.local:8545",
        "http://12345678901234567890.node.example",
        "https://rpc.example/ext/bc/C/rpc",
        "https://rpc.example/?chain=mainnet",
        "mongodb://localhost:27017/db?replicaSet=rs0",
    ],
)
def test_a_url_without_secrets_has_none(url):
    assert url_secrets(url) == ()


def test_the_header_of_basic_authentication_is_a_secret_too():
    register_secrets(*url_secrets(f"http://me:{KEY}@h/"))
    encoded = base64.b64encode(f"me:{KEY}".encode()).decode()
    assert redact(f"Authorization: Basic {encoded}") == f"Authorization: Basic {MASK}"


@given(st.text(), st.sampled_from([KEY, PASSWORD]), st.text(), st.integers(0, 200))
def test_no_cut_and_no_neighbour_lets_a_secret_through(before, secret, after, limit):
    register_secrets(KEY, PASSWORD)
    for cleaned in (clean(before + secret + after, limit), one_line(before + secret + after, limit)):
        assert secret not in cleaned
        # Nor its beginning, where the text was cut: eight characters of it stand in no other text.
        assert secret[:8] not in cleaned.replace(before, "", 1)
        assert len(cleaned) <= limit + 1
        assert cleaned.isprintable()
        cleaned.encode()  # no lone surrogates: MongoDB refuses them


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("a\nb\tc  d\r\n", "a b c d"),
        ("\x1b[2Jgone\x07", "\ufffd[2Jgone\ufffd"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("\u0085\u2028\x9b31m", "\ufffd31m"),
        ("\ud800", "\ufffd"),
        ("ä€😀", "ä€😀"),
    ],
)
def test_a_line_is_one_line_of_printable_characters(text, cleaned):
    assert one_line(text, 100) == cleaned


def test_a_long_text_is_cut_and_says_so():
    assert one_line("x" * 301, 300) == "x" * 300 + "…"
    assert one_line("x" * 300, 300) == "x" * 300
    assert clean("x" * 10_000_000, 5) == "xxxxx…"


def test_what_is_shown_of_an_answer_is_never_an_error_itself():
    register_secrets(KEY)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "a list"
    assert shown(10**5000) == "a int"
    assert KEY[:8] not in shown({"url": f"{'x' * 60}{KEY}"})
    assert shown("x" * 500) == repr("x" * 500)[:80]
    assert shown("\ud800") == repr("\ud800")


ERRORS = {
    "ChainError": lambda text: ChainError(text, endpoint="http://h/", method="eth_call"),
    "RpcUnavailable": lambda text: RpcUnavailable(text, endpoint="http://h/"),
    "RpcRefused": lambda text: RpcRefused(text, code=5),
    "MalformedAnswer": MalformedAnswer,
    "NotFound": NotFound,
    "WrongChain": WrongChain,
    "NotAgreed": lambda text: NotAgreed("heads", needed=2, agreeing=["a"], others={"b": text}),
    "pocket RpcUnavailable": lambda text: pocket.RpcUnavailable("h", "query/tx", text),
    "pocket RpcRefused": lambda text: pocket.RpcRefused("h", "query/tx", text),
    "pocket NotFound": lambda text: pocket.NotFound("h", "query/tx", text),
    "pocket WrongChain": lambda text: pocket.WrongChain("h", "query/block", "testnet", text),
    "pocket MalformedAnswer": lambda text: pocket.MalformedAnswer("h", "query/tx", "tx", text),
    "pocket WindowNotReady": lambda text: pocket.WindowNotReady("h", "window", text, 5),
    "pocket WindowTooLarge": lambda text: pocket.WindowTooLarge("h", "window", text),
}


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
def test_every_error_of_a_chain_is_clean_in_all_that_it_says(make):
    register_secrets(KEY)
    error = make(f"no such\nproject \x1b[1m\u202e{KEY}" + "x" * 10_000)
    said = [str(error), repr(error), *map(str, vars(error).values())]
    if isinstance(error, NotAgreed):
        said += [error.dissent, *error.params.values()]
    for text in said:
        assert KEY not in text
        assert KEY[:12] not in text
        assert len(text) < 1000
        assert text.isprintable()
    assert any(MASK in text for text in said)


def test_every_error_of_a_chain_is_in_the_table():
    def below(kind):
        return {kind} | {one for child in kind.__subclasses__() for one in below(child)}

    tried = {type(make("text")) for make in ERRORS.values()}
    with_words = below(ChainError) | below(pocket.PocketRpcError)
    # Subclasses without a constructor of their own are built as their base is.
    own = {kind for kind in with_words if "__init__" in vars(kind)} - {pocket.PocketRpcError}
    assert own <= tried
