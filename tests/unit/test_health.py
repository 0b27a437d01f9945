"""Health: each thing that a validator must be able to do, lost by itself; and what others make of a heartbeat."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.documents.models import Heartbeat
from reactor.health import (
    BEHIND_SECONDS,
    ENTRY,
    FRESH_SECONDS,
    GONE_SECONDS,
    LATE_SECONDS,
    LATE_SHARE,
    SCAN_SECONDS,
    SIGNING,
    SIGNING_HELD,
    STREAM_SECONDS,
    UNNAMED_SECONDS,
    Ability,
    ChainFacts,
    Code,
    Facts,
    HoldFacts,
    Phase,
    SigningFacts,
    State,
    StreamFacts,
    Trouble,
    cannot,
    entries,
    patience_of,
    phase_of,
    problems_of,
    rank,
    seconds_ahead,
    signs,
    standing_of,
)

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
POCKET = ChainFacts("Pocket", poll=20.0, head=100, cursor=98, read_age=3.0)
ETHEREUM = ChainFacts("Ethereum", poll=1.0, head=900, cursor=880, read_age=0.5)
STREAM = StreamFacts(live=True, went_live=True, answer_age=0.4)
WELL = Facts(running_for=100.0, chains=(POCKET, ETHEREUM), stream=STREAM, unwritable=(), signing=SigningFacts(member=True))
MINT, PAYOUT, SCAN, STATE = Ability.MINT, Ability.PAYOUT, Ability.SCAN, Ability.STATE


def ethereum(**changes: Any) -> Facts:
    return replace(WELL, chains=(POCKET, replace(ETHEREUM, **changes)))


def stream(**changes: Any) -> Facts:
    return replace(WELL, stream=replace(STREAM, **changes))


def signing(**changes: Any) -> Facts:
    return replace(WELL, signing=replace(WELL.signing, **changes))


def held(*stops: Ability, paused: bool = False) -> Facts:
    return signing(holds=[HoldFacts(frozenset(stops), "operator", "for a while", paused=paused)])


BOTH = ["mint", "payout"]
ILL: list[tuple[Facts, Code, list[str], list[str], str]] = [
    (ethereum(read_age=None, head=0), Code.NO_HEAD, ["scan"], [], "Ethereum: its node has shown no block in the 100 s"),
    (ethereum(read_age=None), Code.CATCHING_UP, ["scan"], [], "Ethereum: read up to block 880 of 900 since the start"),
    (ethereum(read_age=SCAN_SECONDS + 0.1), Code.NOT_READ, ["scan"], [], "Ethereum: not read to its head for 10 s"),
    (ethereum(read_age=60, trouble="HTTP 503"), Code.NOT_READ, ["scan"], [], "not read to its head for 60 s: HTTP 503"),
    (ethereum(ahead=901), Code.LAGGING, ["scan"], [], "Ethereum: its node shows block 900, others have read block 901"),
    (
        ethereum(final=700, depth=201, usual=100),
        Code.NOT_FINALIZING,
        ["payout"],
        ["mint"],
        "Ethereum: block 700 stays its newest",
    ),
    (
        replace(WELL, chains=(replace(POCKET, final=97, depth=3, usual=1, final_since="1 May", opens=MINT), ETHEREUM)),
        Code.NOT_FINALIZING,
        ["mint"],
        ["payout"],
        "Pocket: block 97 (of 1 May) stays its newest final one while its head moves on: no mints for what came after it",
    ),
    (replace(WELL, chains=(replace(POCKET, read_age=40.1), ETHEREUM)), Code.NOT_READ, ["scan"], [], "Pocket: not read"),
    (stream(went_live=False, live=False, answer_age=None), Code.STREAM_STARTING, ["stream"], [], "is not followed yet"),
    (stream(answer_age=STREAM_SECONDS + 1), Code.STREAM_DOWN, ["stream"], [], "has answered nothing for 11 s"),
    (stream(live=False, answer_age=30), Code.STREAM_DOWN, ["stream"], [], "has been down for 30 s"),
    (stream(silent=True), Code.STREAM_SILENT, ["stream"], [], "is silent"),
    (stream(resting=BEHIND_SECONDS + 1), Code.STREAM_BEHIND, ["stream"], [], "has rested for 61 s"),
    (replace(WELL, unwritable=["ledger: full"]), Code.STATE_UNWRITABLE, ["state"], [], "cannot write its state: ledger: full"),
    (held(MINT, PAYOUT), Code.HELD, BOTH, [], "signs no mints and no payouts: operator for a while"),
    (held(MINT, paused=True), Code.PAUSED, ["mint"], ["payout"], "signs no mints: operator"),
    (held(PAYOUT, paused=True), Code.PAUSED, ["payout"], ["mint"], "signs no payouts: operator"),
    (signing(silenced="another process"), Code.OTHER_PROCESS, BOTH, [], "another process"),
    (signing(clash="2 run another identity"), Code.IDENTITY, BOTH, [], "another identity"),
    (signing(member=False), Code.NOT_A_MEMBER, ["mint"], ["payout"], "not among the validators of the contract"),
    (signing(keys=[(MINT, "throttled")]), Code.KEY_FAILS, ["mint"], ["payout"], "its key for mints fails: throttled"),
    (signing(keys=[(PAYOUT, "refused")]), Code.KEY_FAILS, ["payout"], ["mint"], "its key for payouts fails: refused"),
]


@pytest.mark.parametrize(("facts", "code", "lost", "left", "text"), ILL, ids=[f"{one[1].value}-{n}" for n, one in enumerate(ILL)])
def test_each_thing_that_is_lost_is_told_and_costs_what_it_costs(
    facts: Facts, code: Code, lost: list[str], left: list[str], text: str
) -> None:
    (problem,) = problems_of(facts)
    assert problem.code is code
    assert cannot([problem]) == lost
    assert signs([problem]) == left
    assert text in problem.sentence


WELL_TOO: list[Facts] = [
    WELL,
    ethereum(read_age=SCAN_SECONDS),
    ethereum(trouble="the last try failed, the one before did not"),
    ethereum(ahead=900),
    ethereum(cursor=0),
    ethereum(final=700, depth=200, usual=100),
    ethereum(final=0, depth=900, usual=0),
    replace(WELL, chains=(replace(POCKET, read_age=40.0), ETHEREUM)),  # twice its poll
    stream(live=False, answer_age=STREAM_SECONDS),
    stream(resting=BEHIND_SECONDS),
    signing(member=None),
    Facts(),
]


@pytest.mark.parametrize("facts", WELL_TOO, ids=range(len(WELL_TOO)))
def test_what_is_within_its_bounds_is_no_problem(facts: Facts) -> None:
    assert problems_of(facts) == ()
    assert signs(problems_of(facts)) == BOTH
    assert cannot(problems_of(facts)) == []


@given(st.lists(st.sampled_from(ILL), min_size=1, max_size=6))
def test_several_at_once_are_all_told(ill: list[Any]) -> None:
    """What is lost by any is lost by all together, in whatever order."""
    problems = [problem for facts, *_ in ill for problem in problems_of(facts)]
    assert set(cannot(problems)) == {one for _, _, lost, _, _ in ill for one in lost}
    assert set(signs(problems)) == set(BOTH).intersection(*(left for _, _, _, left, _ in ill))


def test_without_scanning_a_stream_or_a_disk_nothing_is_signed() -> None:
    every = [problems_of(facts)[0] for facts, *_ in ILL]
    assert {ability for problem in every for ability in problem.costs} == set(Ability), "the table has all of them"
    for problem in every:
        if problem.costs - SIGNING:
            assert signs([problem]) == []


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        (WELL, Phase.RUNNING),
        (ethereum(read_age=None), Phase.STARTING),
        (stream(went_live=False), Phase.STARTING),
        (ethereum(read_age=10_000.0), Phase.RUNNING),  # it was able once: it is not starting any more, but ill
        (stream(live=False), Phase.RUNNING),
    ],
)
def test_it_starts_until_it_was_able_once(facts: Facts, phase: Phase) -> None:
    assert phase_of(facts) is phase


# ---------------------------------------------------------------------- what others make of it


def beat(age: float = 0.0, **changes: Any) -> Heartbeat:
    fields: dict[str, Any] = {
        "eth_address": "0x01",
        "healthy": True,
        "updated_at": NOW - timedelta(seconds=age),
        "phase": "running",
        "interval_ms": 30_000,
        "signs": ["mint", "payout"],
        **changes,
    }
    return Heartbeat.model_validate(fields)


LATE = 30.0 + LATE_SHARE * 30.0


@pytest.mark.parametrize(
    ("heard", "state", "healthy", "able"),
    [
        (None, State.NEVER, False, set()),
        (beat(), State.UP, True, {"mint", "payout"}),
        (beat(LATE), State.UP, True, {"mint", "payout"}),
        (beat(LATE + 1), State.LATE, False, set()),
        (beat(GONE_SECONDS + 1), State.GONE, False, set()),
        # by its own interval, whatever that is
        (beat(2 + LATE_SECONDS, interval_ms=2000), State.UP, True, {"mint", "payout"}),
        (beat(3 + LATE_SECONDS, interval_ms=2000), State.LATE, False, set()),
        (beat(800, interval_ms=600_000), State.UP, True, {"mint", "payout"}),
        (beat(1000, interval_ms=600_000), State.LATE, False, set()),
        (beat(healthy=False, signs=["payout"], problems=["paused"]), State.UP, False, {"payout"}),
        (beat(healthy=False, signs=[], phase="starting"), State.STARTING, False, set()),
        (beat(LATE + 1, healthy=False, signs=[], phase="starting"), State.LATE, False, set()),
        (beat(phase="stopped", healthy=False, signs=[]), State.STOPPED, False, set()),
        (beat(10**7, phase="stopped", healthy=False, signs=[]), State.STOPPED, False, set()),
        # somebody's clock is wrong: how old it is cannot be told
        (beat(-LATE - 1), State.LATE, False, set()),
        # of an earlier version
        (beat(UNNAMED_SECONDS, phase="", interval_ms=0, signs=[]), State.UP, True, {"mint", "payout"}),
        (beat(UNNAMED_SECONDS + 1, phase="", interval_ms=0, signs=[]), State.LATE, False, set()),
        (beat(phase="", interval_ms=0, signs=[], healthy=False), State.UP, False, set()),
        # what no version of this software says
        (beat(phase="dancing"), State.UP, True, {"mint", "payout"}),
    ],
)
def test_a_heartbeat_counts_by_its_own_words_and_its_age(
    heard: Heartbeat | None, state: State, healthy: bool, able: set[str]
) -> None:
    standing = standing_of(heard, NOW)
    assert (standing.state, standing.healthy, set(standing.signs)) == (state, healthy, able)
    assert bool(standing.why) != standing.healthy


CAUSES: dict[str, tuple[Facts, list[Trouble], list[str]]] = {
    "Ethereum": (
        replace(WELL, chains=(POCKET, replace(ETHEREUM, read_age=34.0, trouble="no answer in time"))),
        [
            Trouble("Ethereum endpoint http://e: no answer in time", "Ethereum"),
            Trouble("heads of ethereum failing since 10:00: no answer in time", "Ethereum", "heads of ethereum"),
            Trouble("books failing since 10:00: no answer in time", "Ethereum", "books"),
            Trouble("mint 64f0: no answer in time", "Ethereum", "mint 64f0"),
        ],
        [
            (
                "Ethereum: not read to its head for 34 s: no answer in time; Ethereum endpoint http://e: no answer in time; "
                "so fail: heads of ethereum, books, mint 64f0"
            )
        ],
    ),
    "MongoDB": (
        replace(
            WELL,
            stream=replace(STREAM, live=False, answer_age=20.0),
            chains=(replace(POCKET, read_age=50.0, trouble="no primary", cause="MongoDB"), ETHEREUM),
        ),
        [Trouble("sweep failing since 10:00: no primary", "MongoDB", "sweep"), Trouble("no index a")],
        [
            "the change stream has been down for 20 s; Pocket: not read to its head for 50 s: no primary; so fail: sweep",
            "no index a",
        ],
    ),
    "disk": (
        replace(
            WELL,
            unwritable=["ledger: the disk is full", "signing journal: the disk is full"],
            chains=tuple(replace(one, read_age=50.0, trouble="disk full", cause="the own state") for one in (POCKET, ETHEREUM)),
        ),
        [Trouble("saving the position failing since 10:00: disk full", "the own state", "saving the position")],
        [
            (
                "cannot write its state: ledger: the disk is full; cannot write its state: signing journal: the disk is full; "
                "Pocket: not read to its head for 50 s: disk full; Ethereum: not read to its head for 50 s: disk full; "
                "so fail: saving the position"
            )
        ],
    ),
    "two": (
        replace(WELL, chains=(replace(POCKET, read_age=50.0), replace(ETHEREUM, read_age=34.0))),
        [],
        ["Pocket: not read to its head for 50 s", "Ethereum: not read to its head for 34 s"],
    ),
}


@pytest.mark.parametrize("name", CAUSES)
def test_one_cause_is_one_entry(name: str) -> None:
    facts, troubles, expected = CAUSES[name]
    assert entries(problems_of(facts), troubles) == expected


def test_without_a_cause_each_stands_by_itself() -> None:
    apart = [
        Trouble("books failing", "books", "books"),
        Trouble("http://a: lags", "Ethereum"),
        Trouble("http://b: lags", "Ethereum"),
    ]
    assert entries((), [*apart, Trouble("no index a")]) == [*(one.text for one in apart), "no index a"]
    suffers = Trouble("heads failing", "Ethereum", "heads")
    assert entries((), [*apart, suffers]) == ["books failing", "heads failing; http://a: lags; http://b: lags"]


def test_of_many_that_suffer_some_are_named() -> None:
    many = [Trouble(f"mint {number}: away", "Ethereum", f"mint {number}") for number in range(30)]
    assert entries((), many) == [
        "mint 0: away; so fail: mint 1, mint 2, mint 3, mint 4, mint 5, mint 6, mint 7, mint 8 and 21 more"
    ]


def test_what_fails_of_nobody_knows_what_stands_by_itself() -> None:
    """A document that waits for its next try, say: what it failed of is over for all others."""
    alone = [Trouble("mint a: no primary", "", "mint a"), Trouble("mint b: refused", "", "mint b"), Trouble("no index a")]
    assert entries((), alone) == ["mint a: no primary", "mint b: refused", "no index a"]
    assert entries((), [*alone, Trouble("mint c: away", "Pocket", "mint c"), Trouble("books: away", "Pocket", "books")]) == [
        "mint a: no primary",
        "mint b: refused",
        "mint c: away; so fail: books",
        "no index a",
    ]


def test_questions_that_a_node_does_not_answer_are_each_another_one() -> None:
    asked = [Trouble(f"mint {name}: eth_call: {name} reverted", "a question to Ethereum", f"mint {name}") for name in "ab"]
    assert entries((), asked) == ["; ".join(one.text for one in asked)]
    (entry,) = entries(problems_of(ethereum(read_age=34.0)), [replace(one, about="Ethereum") for one in asked])
    assert entry.endswith("; so fail: mint a, mint b")


BOOKS = Trouble("books failing since 10:00: HTTP 404", "Pocket", "books")


@pytest.mark.parametrize(
    ("facts", "folded"),
    [
        (replace(WELL, chains=(replace(POCKET, read_age=None, head=0),)), True),
        (replace(WELL, chains=(replace(POCKET, read_age=50.0),)), True),
        (replace(WELL, chains=(replace(POCKET, read_age=None),)), False),
        (replace(WELL, chains=(replace(POCKET, ahead=101),)), False),
    ],
    ids=["no head", "not read", "catching up", "lagging"],
)
def test_only_an_outage_explains_what_else_fails(facts: Facts, folded: bool) -> None:
    (problem,) = problems_of(facts)
    tail = "so fail: books" if folded else BOOKS.text
    assert entries([problem], [BOOKS]) == [f"{problem.sentence}; {tail}"]


@pytest.mark.parametrize(("facts", "folded"), [(stream(live=False, answer_age=30), True), (stream(silent=True), False)])
def test_a_stream_that_is_merely_silent_explains_nothing(facts: Facts, folded: bool) -> None:
    (entry,) = entries(problems_of(facts), [replace(BOOKS, about="MongoDB")])
    assert entry.endswith("so fail: books" if folded else BOOKS.text)


def test_an_outage_keeps_its_name_whatever_the_node_answers_and_who_fails_of_the_same_is_told_with_it() -> None:
    for cause in ("", "Ethereum", "a question to Ethereum", "the agreement of the Ethereum endpoints", "heads of ethereum"):
        problems = problems_of(ethereum(read_age=34.0, trouble="no", cause=cause))
        assert [one.about for one in problems] == ["Ethereum"]
        suffers = Trouble("heads of ethereum failing", cause or "Ethereum", "heads of ethereum")
        other = Trouble("sweep failing", "MongoDB", "sweep")
        assert entries(problems, [suffers, other]) == [
            "Ethereum: not read to its head for 34 s: no; so fail: heads of ethereum",
            "sweep failing",
        ]


def test_endpoints_that_do_not_agree_are_two_outages_of_two_chains() -> None:
    chains = [
        replace(one, read_age=50.0, trouble="1 of 2", cause=f"the agreement of the {one.name} endpoints")
        for one in (POCKET, ETHEREUM)
    ]
    assert [one.about for one in problems_of(replace(WELL, chains=chains))] == ["Pocket", "Ethereum"]


def test_a_chain_that_stands_until_released_is_told_with_the_hold() -> None:
    deep = [HoldFacts(SIGNING, "deep_reorg", "ethereum block 6 was another")]
    stands = replace(ETHEREUM, read_age=11.0, trouble="stopped until released", cause=SIGNING_HELD)
    facts = replace(WELL, chains=(POCKET, stands), signing=SigningFacts(holds=deep))
    assert entries(problems_of(facts), ()) == [
        (
            "signs no mints and no payouts: deep_reorg ethereum block 6 was another;"
            " Ethereum: not read to its head for 11 s: stopped until released"
        )
    ]


def test_an_entry_that_would_be_too_long_becomes_several_and_a_cut_is_marked() -> None:
    lag = [Trouble(f"Ethereum endpoint http://{name}: lags: {'x' * 150}", "Ethereum") for name in "abc"]
    suffers = Trouble("books failing", "Ethereum", f"books {'y' * 100}")
    told = entries(problems_of(ethereum(read_age=34.0, trouble="z" * 600)), [*lag, suffers])
    assert told[0] == ("Ethereum: not read to its head for 34 s: " + "z" * 600)[: ENTRY - 1] + "…"
    assert told[1:4] == [one.text for one in lag]
    assert told[4:] == [f"of Ethereum also fail: {suffers.who[:39]}…"]
    assert max(len(one) for one in told) == ENTRY
    assert entries((), [Trouble("w" * (ENTRY + 1))]) == ["w" * (ENTRY - 1) + "…"]
    assert entries((), [Trouble("w" * ENTRY)]) == ["w" * ENTRY]


def test_of_several_the_newest_counts_but_for_a_date_far_ahead() -> None:
    ahead, new, put_back, old = beat(-FRESH_SECONDS - 1), beat(-1), beat(60), beat(FRESH_SECONDS + 1)
    heard = [old, ahead, put_back, new]
    assert sorted(heard, key=lambda one: rank(one, NOW), reverse=True) == [new, put_back, ahead, old]
    assert [seconds_ahead(one, NOW) for one in heard] == [0.0, FRESH_SECONDS + 1, 0.0, 0.0]


@given(st.floats(-1e6, 1e6), st.booleans(), st.sampled_from(["", "starting", "running", "stopped"]), st.integers(0, 10**7))
def test_nobody_signs_whose_heartbeat_is_old_or_who_stopped(age: float, healthy: bool, phase: str, interval: int) -> None:
    heard = beat(age, healthy=healthy, phase=phase, interval_ms=interval)
    standing = standing_of(heard, NOW)
    if phase == "stopped" or abs(age) > patience_of(heard) + 0.001:
        assert not standing.signs
        assert not standing.healthy
    if standing.healthy:
        assert healthy
