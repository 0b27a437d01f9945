"""What a signer counts: every outcome under its purpose, with the time it took."""

import asyncio

import pytest

from reactor.keys import KeyProblem, SignerStats, Tally, create_key, open_signer
from reactor.keys.stats import PURPOSES

pytestmark = pytest.mark.unit

PASSING = KeyProblem("env://KEY", "busy", "Wait", transient=True)
LASTING = KeyProblem("env://KEY", "gone", "Look", transient=False)


@pytest.mark.parametrize(
    ("raised", "field"),
    [
        (None, "signed"),
        (PASSING, "passing"),
        (LASTING, "failed"),
        (ValueError("length"), "failed"),
        (asyncio.CancelledError(), "abandoned"),
    ],
)
def test_each_outcome_has_its_counter(raised, field):
    moments = iter([10.0, 10.25])
    stats = SignerStats(clock=lambda: next(moments))
    if raised is None:
        with stats.measured("heartbeat"):
            pass
    else:
        with pytest.raises(type(raised)), stats.measured("heartbeat"):
            raise raised
    assert stats.tallies == {"heartbeat": Tally(seconds=0.25, slowest_s=0.25, **{field: 1})}


@pytest.mark.parametrize(
    ("raised", "seconds", "trouble"),
    [
        (PASSING, 0.1, "busy"),
        (LASTING, 0.1, "gone"),
        (RuntimeError("seed 5f3c"), 0.1, "it failed: runtime error"),
        (asyncio.CancelledError(), 5.0, "it gave no answer before it was given up"),
        (asyncio.CancelledError(), 4.9, ""),
    ],
)
def test_what_the_last_call_failed_of_is_told_until_one_succeeds(raised, seconds, trouble):
    moments = iter([0.0, seconds, 10.0, 10.1])
    stats = SignerStats(clock=lambda: next(moments))
    assert stats.trouble == ""
    with pytest.raises(type(raised)), stats.measured("request"):
        raise raised
    assert stats.trouble == trouble
    with stats.measured("heartbeat"):
        pass
    assert stats.trouble == ""


def test_times_add_up_and_the_slowest_is_kept():
    moments = iter([0.0, 2.0, 5.0, 6.0, 7.0, 7.5])
    stats = SignerStats(clock=lambda: next(moments))
    for purpose in ("request", "request", "probe"):
        with stats.measured(purpose):
            pass
    assert stats.tallies["request"] == Tally(signed=2, seconds=3.0, slowest_s=2.0)
    assert stats.tallies["request"].mean_s == 1.5
    assert stats.total == Tally(signed=3, seconds=3.5, slowest_s=2.0)
    assert "3 signed, 0 passing and 0 other failures" in repr(stats)


def test_a_summary_tells_the_mean_in_milliseconds_and_the_requests_sent():
    moments = iter([0.0, 0.25, 1.0, 1.75])
    stats = SignerStats(clock=lambda: next(moments))
    with stats.measured("request"):
        pass
    with pytest.raises(KeyProblem), stats.measured("request"):
        raise PASSING
    stats.count_attempt()
    stats.count_attempt()
    assert repr(stats) == "<SignerStats 1 signed, 1 passing and 0 other failures, mean 500.0 ms, 2 requests sent>"


def test_nothing_happened_yet():
    stats = SignerStats()
    assert stats.total == Tally()
    assert stats.total.mean_s == 0.0
    assert not stats.tallies
    assert stats.attempts == 0


def test_what_is_shown_cannot_be_changed():
    stats = SignerStats()
    with pytest.raises(TypeError):
        stats.tallies["request"] = Tally(signed=1_000)
    with pytest.raises(AttributeError):
        stats.attempts = 5
    stats.count_attempt()
    assert stats.attempts == 1


def test_the_purposes_are_few_and_known():
    stats = SignerStats()
    with pytest.raises(ValueError, match="one of request"), stats.measured("0xdeadbeef"):
        pass
    for purpose in PURPOSES:
        with stats.measured(purpose):
            pass
    assert set(stats.tallies) == set(PURPOSES)


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
async def test_a_local_signer_counts_what_it_signs_and_refuses(scheme, tmp_path):
    new = create_key(scheme, tmp_path / "key", "file")
    signer = await open_signer(new.uri, scheme)
    await signer.sign(b"\1" * 32, "request")
    await signer.sign(b"\1" * 32)
    with pytest.raises(ValueError):  # noqa: PT011 - each curve has its own words
        await signer.sign(b"", "objection")
    counts = {purpose: (tally.signed, tally.failed) for purpose, tally in signer.stats.tallies.items()}
    assert counts == {"request": (1, 0), "other": (1, 0), "objection": (0, 1)}
    with pytest.raises(ValueError, match="unknown purpose"):
        await signer.sign(b"\1" * 32, "theft")
