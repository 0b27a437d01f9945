"""The one reading of endpoint URLs: what is taken and in which form, what is refused, and that every client reads it alike."""

from urllib.parse import urlsplit

import pytest
from yarl import URL

from reactor.urls import UrlProblem, endpoint_key, http_url, on_this_machine

pytestmark = pytest.mark.unit

TAKEN = [
    ("http://a", "http://a"),
    ("HTTP://A", "http://a"),
    ("hTTpS://Node.Example/V3/Key?K=V", "https://node.example/V3/Key?K=V"),
    ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
    ("http://[::1]:8545/", "http://[::1]:8545/"),
    ("http://[2001:DB8::0:1]", "http://[2001:db8::1]"),
    ("http://a:80/x", "http://a/x"),
    ("https://a:443", "https://a"),
    ("https://a:80", "https://a:80"),
    ("http://a:65535", "http://a:65535"),
    ("http://a:08545", "http://a:8545"),
    ("http://a:", "http://a"),
    ("http://a.", "http://a."),
    ("https://user:pa55@Host/x", "https://user:pa55@host/x"),
    ("https://us%40er:p%20w@h", "https://us%40er:p%20w@h"),
    ("https://:token@h", "https://:token@h"),
    ("http://h/path?apikey=K&x=y%20z", "http://h/path?apikey=K&x=y%20z"),
    ("http://h?apikey=K", "http://h?apikey=K"),
    ("http://h/a//b/../c", "http://h/a//b/../c"),
    ("http://eth_node-1:1", "http://eth_node-1:1"),
    ("http://bücher.example/ü", "http://xn--bcher-kva.example/ü"),
    ("http://BÜCHER.example", "http://xn--bcher-kva.example"),
    # The older rules for names would have asked strasse.de, which is another host.
    ("https://straße.de", "https://xn--strae-oqa.de"),
    ("http://例え.jp:8545", "http://xn--r8jz45g.jp:8545"),
]
REFUSED = [
    ("", "not an http"),
    ("a", "not an http"),
    ("//a", "not an http"),
    ("a:8545", "not an http"),
    ("ws://a", "not an http"),
    ("ftp://a", "not an http"),
    ("file:///etc/passwd", "not an http"),
    ("http:", "no host"),
    ("http://", "no host"),
    ("http:///x", "no host"),
    ("http://:8545", "no host"),
    ("http://user@", "no host"),
    ("http://[", "no host"),
    ("http://[::1", "no host"),
    ("http://[1.2.3.4]", "no host"),
    ("http://[fe80::1%25eth0]", "zone"),
    ("http://::1", "port"),
    ("http://a:0", "port"),
    ("http://a:99999", "port"),
    ("http://a:-1", "port"),
    ("http://a:1_0", "port"),
    ("http://a:x", "port"),
    ("http://a:٣", "port"),
    ("http://a:1:2", "port"),
    (" http://a", "space"),
    ("http://a ", "space"),
    ("http://a b", "space"),
    ("http://a/\t", "space"),
    ("http://a\n", "space"),
    ("http://a/\x00", "control"),
    ("http://a/\x1b[2J", "control"),
    ("http://a\u202e/", "control"),
    ("http://a\\b", "backslash"),
    ("http://a#key", "fragment"),
    ("http://a/#", "fragment"),
    ("http://a?k=v#w", "fragment"),
    ("http://-a", "neither a name"),
    ("http://a..b", "neither a name"),
    ("http://a%2eb", "neither a name"),
    ("http://a,b", "neither a name"),
    ("http://" + "a" * 64, "neither a name"),
    ("http://" + "a." * 127, "neither a name"),
    ("http://1.2.3", "IPv4"),
    ("http://1.2.3.400", "IPv4"),
    ("http://10", "IPv4"),
    ("http://ü" + "a" * 70, "domain name system"),
    ("http://a/" + "x" * 5000, "longer"),
]


@pytest.mark.parametrize(("text", "wanted"), TAKEN)
def test_a_url_is_taken_in_one_form_that_every_client_reads_alike(text, wanted):
    assert http_url(text) == wanted
    assert http_url(wanted) == wanted
    asked, parts = URL(wanted), urlsplit(wanted)
    assert (asked.raw_host, asked.explicit_port, asked.scheme) == (parts.hostname, parts.port, parts.scheme)
    assert (asked.raw_user, asked.raw_password) == (parts.username or None, parts.password)


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_what_is_no_url_of_an_endpoint_is_refused(text, problem):
    with pytest.raises(UrlProblem, match=problem) as caught:
        http_url(text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text", ["{}", "{}://a", "http://{} a", "http://a:{}", "http://[{}", "http://a/#{}", "http://-{}", "http://{}.1"]
)
def test_no_refusal_repeats_the_url(text):
    with pytest.raises(UrlProblem) as caught:
        http_url(text.format("hunter2"))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a", "HTTP://A/", True),
        ("http://a:80", "http://a", True),
        ("http://a/x/", "http://a/x", True),
        ("http://a/x", "http://a/X", False),
        ("http://a?k=1", "http://a?k=2", False),
        ("http://a", "https://a", False),
        ("http://u@a", "http://a", False),
    ],
)
def test_two_spellings_of_one_endpoint_are_one(one, other, same):
    assert (endpoint_key(http_url(one)) == endpoint_key(http_url(other))) is same


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8545", "127.0.0.1", "127.9.9.9:1", "[::1]", "user:word@127.0.0.1"])
def test_this_machine_is_known(host: str) -> None:
    assert on_this_machine(f"http://{host}/path")


@pytest.mark.parametrize(
    "host",
    ["a.localhost", "localhost.example", "localhost@node.example", "10.0.0.1", "128.0.0.1", "[::2]", "node", "127.1.example"],
)
def test_any_other_machine_is_not_this_one(host: str) -> None:
    """SECURITY: what goes in clear must stay on this machine, whatever a resolver makes of a name."""
    assert not on_this_machine(f"http://{host}/path")
