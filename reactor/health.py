"""Health: what a validator can do at this moment, computed from facts by pure functions.

Three readers rest on them and on nothing else: the heartbeat (`problems_of`), `reactor status` and the health check of a
container (`standing_of`). Healthy means: it can read every chain to its head, reach its change stream, write its own state, and
may sign mints and payouts. Whatever else is wrong is told as a warning, and does not make a validator unhealthy.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from reactor.documents.models import Heartbeat
from reactor.sentences import cut

SCAN_SECONDS: Final = 10.0
"""A chain must have been read to its head within this time, or within twice its poll where that is longer."""
STREAM_SECONDS: Final = 10.0
"""A change stream answers at least each second, with an event or without; one that was silent for longer is not reached."""
BEHIND_SECONDS: Final = 60.0
"""The position of the stream moves on or stands at its end; one that rests for longer waits for work that does not end."""
LATE_SHARE: Final = 0.5
LATE_SECONDS: Final = 3.0
"""A heartbeat counts for the pause that it names and this share of it, or so many seconds where that is more: for the time that
it takes to be written and read. So nobody is believed for longer than two pauses, where they are of three seconds or more."""
UNNAMED_SECONDS: Final = 120.0
"""For so long counts a heartbeat of an earlier version, which names no pause."""
FINALITY_TIMES: Final = 2
"""A chain whose newest final block is so many times as far below its head as it ever is on a chain that is well has stopped
finalizing."""
GONE_SECONDS: Final = 900.0
"""Who was not heard for this long is gone and not merely late."""
FRESH_SECONDS: Final = 900.0
"""A heartbeat older than this, or dated farther ahead, says nothing about the present."""
ENTRY: Final = 500
"""Characters of one entry of what is wrong."""
_MOST_NAMED: Final = 8
"""Of those that suffer from one cause so many are named."""
_NAME: Final = 40
"""Characters of such a name."""
STREAM: Final = "MongoDB"
OWN_STATE: Final = "the own state"
"""What is away where it is no chain; `subjects` and `scanners` use the same words."""
QUESTION: Final = "a question to "
"""Begins what fails where a node answers, but not with what was asked for: nothing is away, and each asked for another thing."""


class Ability(StrEnum):
    """What a healthy validator can do."""

    SCAN = "scan"
    STREAM = "stream"
    STATE = "state"
    MINT = "mint"
    PAYOUT = "payout"


SIGNING: Final = frozenset({Ability.MINT, Ability.PAYOUT})
NEEDED: Final = frozenset({Ability.SCAN, Ability.STREAM, Ability.STATE})
"""Without any of these nothing is signed: not decided, not noted, or not published."""


class Phase(StrEnum):
    """Where a validator stands in its life, as its heartbeat says."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"


class Code(StrEnum):
    """What is wrong, for machines."""

    NO_HEAD = "no_head"
    CATCHING_UP = "catching_up"
    NOT_READ = "not_read"
    LAGGING = "lagging"
    NOT_FINALIZING = "not_finalizing"
    STREAM_STARTING = "stream_starting"
    STREAM_DOWN = "stream_down"
    STREAM_SILENT = "stream_silent"
    STREAM_BEHIND = "stream_behind"
    STATE_UNWRITABLE = "state_unwritable"
    HELD = "held"
    PAUSED = "paused"
    OTHER_PROCESS = "other_process"
    IDENTITY = "identity"
    NOT_A_MEMBER = "not_a_member"
    KEY_FAILS = "key_fails"


_OUTAGES: Final = frozenset({Code.NO_HEAD, Code.NOT_READ, Code.STREAM_DOWN, Code.STATE_UNWRITABLE})
"""Of these everybody suffers who needs the same."""


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """One chain. `poll` and `read_age` in seconds: since when it was last read to its head, None if never in this process.

    `ahead`: a height that so many others have told of that they cannot all be wrong, and so long ago that this validator should
    have read it; 0 if there is none. `trouble`: why the last attempt failed, empty if it did not;
    `cause`: what it failed of then, in the words of `subjects`; empty where that is the chain, or nothing.

    `final`: the newest final block that the node showed with the head that was read last, `depth` the blocks between the two,
    `usual` how many those are at most on a chain that is well (0: not judged). `final_since`: when that block was made, empty if
    that is not known; `opens`: what is signed for the chain's events.
    """

    name: str
    poll: float
    head: int = 0
    cursor: int = 0
    read_age: float | None = None
    ahead: int = 0
    trouble: str = ""
    final: int = 0
    final_since: str = ""
    depth: int = 0
    usual: int = 0
    opens: Ability = Ability.PAYOUT
    cause: str = ""

    @property
    def patience(self) -> float:
        """How long ago it may have been read to its head."""
        return max(SCAN_SECONDS, 2 * self.poll)


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """The change stream. `went_live`: in this process, ever; `answer_age`: seconds since the server answered on it, None before
    the first time; `resting`: seconds for which its position has not moved, short of what was read; `silent`: the cluster
    writes and nothing of it arrives.
    """

    live: bool
    went_live: bool
    answer_age: float | None = None
    resting: float = 0.0
    silent: bool = False


@dataclass(frozen=True, slots=True)
class HoldFacts:
    """A hold or pause that stops more than one event or recipient. `stops`: mints, payouts, or both."""

    stops: frozenset[Ability]
    reason: str
    detail: str = ""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class SigningFacts:
    """Whether it may sign. `silenced`, `clash`: why not, because of another process or another identity; empty: it may.

    `member`: whether the contract knows its address, None while that is not known. `keys`: what is wrong with the key for mints
    and the key for payouts.
    """

    holds: Sequence[HoldFacts] = ()
    silenced: str = ""
    clash: str = ""
    member: bool | None = None
    keys: Sequence[tuple[Ability, str]] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that health is computed from, at one moment. `unwritable`: what the disk said to the last attempts to write the journal
    and the ledger; empty: both were written. `running_for` in seconds.
    """

    running_for: float = 0.0
    chains: Sequence[ChainFacts] = ()
    stream: StreamFacts = StreamFacts(live=True, went_live=True)
    unwritable: Sequence[str] = ()
    signing: SigningFacts = SigningFacts()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a validator cannot do, and why, in a sentence for people. `about`: what is away or wrong, in a few words,
    the same for as long as it lasts; what else fails of the same is told with it (`entries`). `cause`: what it fails of just now,
    where that goes by another name; who else fails of that is told with it too.
    """

    code: Code
    sentence: str
    costs: frozenset[Ability]
    about: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something else that is wrong, as a sentence. `about`: as of a `Problem`, told with what else is wrong
    of the same, empty where that is not known; `who`: where it is only a consequence of that, who suffers from it.
    """

    text: str
    about: str = ""
    who: str = ""


def problems_of(facts: Facts) -> tuple[Problem, ...]:
    """Why a validator is not healthy, the most far-reaching first; empty: it is."""
    scan = [found for chain in facts.chains if (found := _scan(chain, facts.running_for)) is not None]
    state = [
        Problem(Code.STATE_UNWRITABLE, f"cannot write its state: {one}", _only(Ability.STATE), OWN_STATE)
        for one in facts.unwritable
    ]
    return (*_signing(facts.signing), *state, *_stream(facts.stream), *scan)


def entries(problems: Iterable[Problem], troubles: Iterable[Trouble]) -> list[str]:
    """All that is wrong, for people: one cause, one entry. In it first what it costs, then details, then who else suffers.

    An entry that would be longer than `ENTRY` characters becomes several; a sentence that is longer than that ends with `…`.
    """
    found: dict[str, list[str]] = {}
    suffer: dict[str, list[str]] = {}
    outages: set[str] = set()
    names: dict[str, str] = {}
    for problem in problems:
        found.setdefault(problem.about, []).append(problem.sentence)
        names.setdefault(problem.cause, problem.about)
        if problem.code in _OUTAGES:
            outages.add(problem.about)
    named = [replace(one, about=_named(one.about, found, names)) for one in troubles]
    for one in (one for one in named if one.who):
        about = one.about or one.who
        if about in outages:
            suffer.setdefault(about, []).append(one.who)
        elif about in found:
            # A chain that is still being read, say, explains nothing: what else fails may fail of something of its own.
            found[about].append(one.text)
        else:
            found[about] = [one.text]
            if not about.startswith(QUESTION):
                outages.add(about)
    apart: list[str] = []
    for one in (one for one in named if not one.who):
        # One of several endpoints, say: as long as the chain is read, nothing comes of it and each stands by itself.
        said = found.get(one.about, apart) if one.about else apart
        if not any(one.text in other for other in said):
            said.append(one.text)
    told = [entry for about, said in found.items() for entry in _entry(about, said, suffer.get(about, ()))]
    return [*told, *(cut(one, ENTRY) for one in apart)]


def _named(about: str, found: Container[str], names: Mapping[str, str]) -> str:
    return names.get(about, about) if about and about not in found else about


def _entry(about: str, said: Sequence[str], suffer: Sequence[str]) -> list[str]:
    names = [cut(one, _NAME) for one in dict.fromkeys(suffer)]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    who = ", ".join(names[:_MOST_NAMED]) + more
    whole = "; ".join([*said, *([f"so fail: {who}"] if who else [])])
    if len(whole) <= ENTRY:
        return [whole]
    return [cut(one, ENTRY) for one in (*said, *([f"of {about} also fail: {who}"] if who else []))]


def phase_of(facts: Facts) -> Phase:
    """`starting` until every chain was read to its head and the stream was followed once."""
    ready = facts.stream.went_live and all(chain.read_age is not None for chain in facts.chains)
    return Phase.RUNNING if ready else Phase.STARTING


def cannot(problems: Iterable[Problem]) -> list[str]:
    """The abilities that problems cost, in the order of `Ability`."""
    lost = {one for problem in problems for one in problem.costs}
    return [one.value for one in Ability if one in lost]


def signs(problems: Iterable[Problem]) -> list[str]:
    """What can be signed in spite of these problems: `mint`, `payout`, both or neither."""
    lost = {one for problem in problems for one in problem.costs}
    return [] if lost & NEEDED else [one.value for one in Ability if one in SIGNING - lost]


def _only(*abilities: Ability) -> frozenset[Ability]:
    return frozenset(abilities)


def _scan(chain: ChainFacts, running_for: float) -> Problem | None:
    why = f": {chain.trouble}" if chain.trouble else ""
    # By the chain's own name, whatever its node answers from one second to the next: it is one trouble for as long as it lasts.
    about = chain.cause if chain.cause in _ELSEWHERE else chain.name
    if chain.read_age is None and not chain.head:
        text = f"{chain.name}: its node has shown no block in the {running_for:.0f} s since the start{why}"
        return Problem(Code.NO_HEAD, text, _only(Ability.SCAN), about, chain.cause)
    if chain.read_age is None:
        text = f"{chain.name}: read up to block {chain.cursor} of {chain.head} since the start{why}"
        return Problem(Code.CATCHING_UP, text, _only(Ability.SCAN), about, chain.cause)
    if chain.read_age > chain.patience:
        text = f"{chain.name}: not read to its head for {chain.read_age:.0f} s{why}"
        return Problem(Code.NOT_READ, text, _only(Ability.SCAN), about, chain.cause)
    if chain.ahead > chain.head:
        text = f"{chain.name}: its node shows block {chain.head}, others have read block {chain.ahead} some time ago"
        return Problem(Code.LAGGING, text, _only(Ability.SCAN), chain.name)
    if chain.usual and chain.depth > FINALITY_TIMES * chain.usual:
        # What became final before can still be signed, and so can what the other chain's events ask for.
        made = f" (of {chain.final_since})" if chain.final_since else ""
        text = (
            f"{chain.name}: block {chain.final}{made} stays its newest final one while its head moves on:"
            f" no {chain.opens.value}s for what came after it"
        )
        return Problem(Code.NOT_FINALIZING, text, _only(chain.opens), f"the finality of {chain.name}")
    return None


def _stream(stream: StreamFacts) -> list[Problem]:
    costs = _only(Ability.STREAM)
    if not stream.went_live:
        return [Problem(Code.STREAM_STARTING, "the change stream is not followed yet", costs, STREAM)]
    age = stream.answer_age or 0.0
    if age > STREAM_SECONDS:
        how = "answered nothing" if stream.live else "been down"
        return [Problem(Code.STREAM_DOWN, f"the change stream has {how} for {age:.0f} s", costs, STREAM)]
    if stream.silent:
        text = "the change stream is silent, though the cluster writes"
        return [Problem(Code.STREAM_SILENT, text, costs, STREAM)]
    if stream.resting > BEHIND_SECONDS:
        text = f"the position of the change stream has rested for {stream.resting:.0f} s: work on a document does not end"
        return [Problem(Code.STREAM_BEHIND, text, costs, "work on a document")]
    return []


def stopped(stops: Container[Ability], why: str) -> str:
    """What a hold or pause costs, in a sentence."""
    return f"signs no {' and no '.join(f'{one.value}s' for one in Ability if one in stops)}: {why}"


def stop_of(stops: Container[Ability], *, paused: bool = False) -> str:
    """What a hold or pause is called: what else stands still because of it is told with it."""
    return f"{'pause' if paused else 'hold'} of {' and '.join(f'{one.value}s' for one in Ability if one in stops)}"


SIGNING_HELD: Final = stop_of(SIGNING)
_ELSEWHERE: Final = frozenset({STREAM, OWN_STATE, SIGNING_HELD})
"""Of these a chain is not read though its node may be well."""


def _signing(facts: SigningFacts) -> list[Problem]:
    found = [
        Problem(
            Code.PAUSED if hold.paused else Code.HELD,
            stopped(hold.stops, f"{hold.reason} {hold.detail}".strip()),
            hold.stops,
            stop_of(hold.stops, paused=hold.paused),
        )
        for hold in facts.holds
    ]
    if facts.silenced:
        found.append(Problem(Code.OTHER_PROCESS, facts.silenced, SIGNING, "another process"))
    if facts.clash:
        found.append(Problem(Code.IDENTITY, facts.clash, SIGNING, "the bridge's identity"))
    if facts.member is False:
        text = "its address is not among the validators of the contract: its signatures of mints do not count"
        found.append(Problem(Code.NOT_A_MEMBER, text, _only(Ability.MINT), "membership"))
    found += [
        Problem(Code.KEY_FAILS, f"its key for {ability.value}s fails: {why}", _only(ability), f"the key for {ability.value}s")
        for ability, why in facts.keys
    ]
    return found


# ---------------------------------------------------------------------- what others make of a heartbeat


class State(StrEnum):
    """How a validator looks to who reads its heartbeat."""

    NEVER = "never"
    STARTING = "starting"
    UP = "up"
    STOPPED = "stopped"
    LATE = "late"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a heartbeat says to who reads it now. `signs`: `mint`, `payout`, both or neither; `why` it is not healthy."""

    state: State
    healthy: bool
    signs: frozenset[str]
    why: str = ""


def standing_of(beat: Heartbeat | None, now: datetime) -> Standing:
    """Judge a heartbeat, whose signature was verified, by its own words and its age.

    SECURITY: what was said counts for as long as its writer said that it would, and no longer: who ended without a word, and
    whose old heartbeat somebody put back, is not taken for one that can sign.
    """
    nothing: frozenset[str] = frozenset()
    if beat is None:
        return Standing(State.NEVER, healthy=False, signs=nothing, why="no heartbeat of it was ever heard")
    if beat.phase == Phase.STOPPED:
        return Standing(State.STOPPED, healthy=False, signs=nothing, why="; ".join(beat.problems) or "it was stopped")
    age, patience = (now - beat.updated_at).total_seconds(), patience_of(beat)
    if age < -patience:
        why = f"its heartbeat {dated_ahead(-age)}"
        return Standing(State.LATE, healthy=False, signs=nothing, why=why)
    if age > patience:
        state = State.LATE if age <= max(GONE_SECONDS, 2 * patience) else State.GONE
        why = f"its last heartbeat is {age:.0f} s old"
        return Standing(state, healthy=False, signs=nothing, why=why)
    state = State.STARTING if beat.phase == Phase.STARTING else State.UP
    able = frozenset(beat.signs) if beat.phase else frozenset(SIGNING if beat.healthy else ())
    why = "" if beat.healthy else "; ".join(beat.problems) or "it says that it is not healthy, and not why"
    return Standing(state, healthy=beat.healthy, signs=able, why=why)


def dated_ahead(seconds: float) -> str:
    """What is said of a heartbeat that is dated so far ahead, in a sentence without its subject."""
    return f"is dated {seconds:.0f} s ahead: its clock or the clock here is wrong"


def seconds_ahead(beat: Heartbeat, now: datetime) -> float:
    """By how much it is dated ahead of the clock here, where that is too much to be of the present; else 0."""
    ahead = (beat.updated_at - now).total_seconds()
    return ahead if ahead > FRESH_SECONDS else 0.0


def rank(beat: Heartbeat, now: datetime) -> tuple[int, datetime]:
    """Of several heartbeats of one validator the greatest counts: the newest, but for one that is dated far ahead.

    A clock that was wrong once must not outrank for ever what the same validator says afterwards: such a date counts as older
    than those of the present, and as newer than those that say nothing about it.
    """
    if seconds_ahead(beat, now):
        return 1, beat.updated_at
    return (2 if (now - beat.updated_at).total_seconds() <= FRESH_SECONDS else 0), beat.updated_at


def patience_of(beat: Heartbeat) -> float:
    """Seconds for which a heartbeat counts after its date."""
    pause = beat.interval_ms / 1000
    return pause + max(LATE_SECONDS, LATE_SHARE * pause) if beat.interval_ms else UNNAMED_SECONDS
