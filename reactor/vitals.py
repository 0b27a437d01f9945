"""What one running validator knows of itself: the facts that its health is computed from, and what its heartbeat shows.

Only `validator` uses this. Nothing here is a flag that somebody sets: each fact is read where it arises, and what only a try can
tell (whether the disk takes a write, whether a key service signs) is tried again and again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from reactor.adapters import BatchedJournal
from reactor.documents.models import Heartbeat, OpenDocument
from reactor.documents.statuses import Collection
from reactor.engine.dispatcher import Dispatcher
from reactor.engine.feed import ChangeFeed
from reactor.engine.heads import HeadSource
from reactor.foreign import one_line
from reactor.handlers.context import Me
from reactor.handlers.display import Label
from reactor.handlers.heartbeat import OLDEST_OPEN
from reactor.health import FRESH_SECONDS, QUESTION, Ability, ChainFacts, Facts, SigningFacts, StreamFacts, Trouble
from reactor.keys.probe import probe
from reactor.keys.signer import Signer
from reactor.sentences import counted, sentence
from reactor.state.created import header_moment
from reactor.state.ledger import Ledger
from reactor.state.problems import StateProblem
from reactor.state.rows import EventKind
from reactor.state.windows import Cursor
from scanners.loop import ChainScanner

PROBE_SECONDS: Final = 10.0
"""Pause between two tries of disk and keys, where heartbeats are not closer."""
_WRITE_SECONDS: Final = 15.0
"""A disk that takes no write within this time counts as one that takes none; SQLite itself waits 10 s for another process."""
_KEY_SECONDS: Final = 300.0
"""A key service is tried when nothing was signed with it for so long; a key that failed, at each try."""
_SIGN_SECONDS: Final = 30.0
_LONGEST: Final = 300
_MOST_STUCK: Final = 20
_OPENS: Final = {"pocket": Ability.MINT, "ethereum": Ability.PAYOUT}
_KINDS: Final = {"pocket": EventKind.DEPOSIT, "ethereum": EventKind.BURN}


@dataclass(slots=True)
class Trial:
    """Something that is tried now and then: one try at a time, and one that does not end is a failure, told while it lasts."""

    name: str
    attempt: Callable[[], Awaitable[object]]
    within: float
    trouble: str = ""
    _running: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Try, unless the try before has not ended yet. Raises nothing: the outcome is `trouble`, empty where it went well."""
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._try())
        done, _ = await asyncio.wait({self._running}, timeout=self.within)
        if not done:
            self.trouble = f"{self.name}: no end within {self.within:.0f} s"

    async def _try(self) -> None:
        try:
            await self.attempt()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome of the try
            self.trouble = one_line(f"{self.name}: {sentence(error)}", _LONGEST)
        else:
            self.trouble = ""

    async def close(self) -> None:
        """Wait for the try under way, not for ever."""
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=self.within)
            self._running.cancel()


@dataclass(slots=True)
class KeyWatch:
    """Whether a key works: by its last signature, and by a probe where there was none lately or the last one failed."""

    signer: Signer
    ability: Ability
    clock: Callable[[], float] = monotonic
    _signed: int = 0
    _signed_at: float = 0.0
    _trial: Trial = field(init=False)

    def __post_init__(self) -> None:
        self._signed_at = self.clock()
        self._trial = Trial(self.signer.describe().source, self._probe, _SIGN_SECONDS)

    async def _probe(self) -> None:
        await probe(self.signer)

    @property
    def trouble(self) -> str:
        """What is wrong with it, empty where nothing is."""
        return self.signer.stats.trouble or self._trial.trouble

    async def look(self) -> None:
        """Probe it if that is due."""
        signed = self.signer.stats.total.signed
        if signed != self._signed:
            self._signed, self._signed_at = signed, self.clock()
        # What lies in the memory of this process has no service that could refuse.
        remote = self.signer.stats.attempts > 0
        if self.trouble or (remote and self.clock() - self._signed_at >= _KEY_SECONDS):
            await self._trial()

    async def close(self) -> None:
        await self._trial.close()


class OthersHeights:
    """The heights that others told of, as far as so many of them agree that they cannot all be wrong."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told: dict[str, deque[tuple[float, int]]] = {}

    def hear(self, chain: str, heights: Sequence[int], threshold: int) -> None:
        """Take in what the others say now: the height that `threshold` of them have read."""
        agreed = sorted(heights, reverse=True)[threshold - 1] if 0 < threshold <= len(heights) else 0
        told = self._told.setdefault(chain, deque(maxlen=1024))
        if not told or told[-1][1] != agreed:
            told.append((self._clock(), agreed))

    def ahead(self, chain: str, since: float) -> int:
        """The height that was told at least `since` seconds ago and still is; 0 if there is none.

        A chain may have become shorter: then the height that is told now counts.
        """
        told = self._told.get(chain)
        if not told:
            return 0
        until = self._clock() - since
        while len(told) > 1 and told[1][0] <= until:
            told.popleft()
        return min(told[0][1], told[-1][1]) if told[0][0] <= until else 0


def open_documents(
    dispatcher: Dispatcher, roles: Mapping[str, Collection], label: Callable[[Collection, Hashable], Label | None]
) -> list[OpenDocument]:
    """The oldest open documents and what each waits for. `roles`: by the name of the collection."""
    shown = []
    for row in dispatcher.waiting()[:OLDEST_OPEN]:
        role = roles[row.key.collection]
        named = label(role, row.key.id)
        shown.append(
            OpenDocument(
                collection=role.value,
                key=named.key if named else str(row.key.id),
                status=named.status if named else "",
                reason=row.outcome.reason,
                params={str(name): str(value)[:500] for name, value in row.outcome.params.items()},
                since=row.since,
            )
        )
    return shown


def stuck_documents(dispatcher: Dispatcher, about: Callable[[str], str]) -> list[Trouble]:
    """The documents whose handling fails, longest first. `about`: what somebody failed of last, by his name.

    Of those that fail each of its own only some are named: they must not crowd out what else is wrong.
    """
    shown, alone = [], 0
    for row in dispatcher.stuck():
        who = str(row.key)
        one = Trouble(f"{who}: {row.error}", about(who), who)
        by_itself = one.about in {"", who} or one.about.startswith(QUESTION)
        alone += by_itself
        if not by_itself or alone <= _MOST_STUCK:
            shown.append(one)
    if alone > _MOST_STUCK:
        shown.append(Trouble(f"{counted(alone - _MOST_STUCK, 'more document fails', 'more documents fail')}"))
    return shown


class Vitals:
    """Gathers the facts of one validator. `polls`: seconds between two looks at a chain's head; `usual`: blocks between a chain's
    head and its newest final block, at most, where it is well; `silent`: whether the cluster writes and nothing of it arrives on
    the stream; `replaced`: what happened to a file of the state since it was opened;
    `cause`: what the reading of a chain failed of last, empty where it did not.
    """

    def __init__(
        self,
        me: Me,
        ledger: Ledger,
        journal: BatchedJournal,
        feed: ChangeFeed,
        heads: HeadSource,
        scanners: Mapping[str, ChainScanner],
        polls: Mapping[str, float],
        *,
        usual: Mapping[str, int],
        silent: Callable[[], bool],
        replaced: Callable[[], str] = lambda: "",
        cause: Callable[[str], str] = lambda _: "",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._ledger = ledger
        self._feed = feed
        self._heads = heads
        self._scanners = scanners
        self._polls = polls
        self._usual = usual
        self._silent = silent
        self._replaced = replaced
        self._cause = cause
        self._clock = clock
        self._began = clock()
        self._moved: tuple[object, float] = None, clock()
        self._others = OthersHeights(clock)
        self._disk = [
            Trial("signing journal", journal.probe, _WRITE_SECONDS),
            Trial("ledger", lambda: asyncio.to_thread(ledger.probe), _WRITE_SECONDS),
        ]
        signers = ((me.ethereum_signer, Ability.MINT), (me.pocket_signer, Ability.PAYOUT))
        self._keys = [KeyWatch(signer, ability, clock) for signer, ability in signers if signer is not None]

    async def probe(self) -> None:
        """Try what only a try can tell: both files of the state, and the keys where that is due. Raises nothing of theirs."""
        await asyncio.gather(*(trial() for trial in self._disk), *(key.look() for key in self._keys))

    async def close(self) -> None:
        """End the tries under way."""
        with suppress(StateProblem):
            await asyncio.gather(*(trial.close() for trial in self._disk), *(key.close() for key in self._keys))

    def hear(self, others: Sequence[Heartbeat], threshold: int, now: float) -> None:
        """The verified heartbeats of the other members: a node that lags is found out by them. `now`: seconds since the epoch."""
        fresh = [one for one in others if abs(now - one.updated_at.timestamp()) <= FRESH_SECONDS]
        for chain in self._polls:
            heights = [int(told) for one in fresh if (told := getattr(one, f"{chain}_height"))]
            self._others.hear(chain, heights, threshold)

    def facts(self) -> Facts:
        """True at this moment."""
        return Facts(
            running_for=self._clock() - self._began,
            chains=[self._chain(name, poll) for name, poll in self._polls.items()],
            stream=self._stream(),
            unwritable=self._unwritable(),
            signing=SigningFacts(keys=[(key.ability, key.trouble) for key in self._keys if key.trouble]),
        )

    def _unwritable(self) -> list[str]:
        # What was replaced fails in each try too, and is said once.
        if why := self._replaced():
            return [why]
        return [trial.trouble for trial in self._disk if trial.trouble]

    def _chain(self, name: str, poll: float) -> ChainFacts:
        read = self._cursor(_KINDS[name])
        last = self._scanners[name].scanned
        chain = ChainFacts(
            name=name.capitalize(),
            poll=poll,
            head=self._heads.newest(name) or 0,
            cursor=read.height if read else 0,
            read_age=None if last.at is None else self._clock() - last.at,
            trouble=one_line(last.failure, _LONGEST),
            final=last.final,
            final_since=_moment(read.time) if read and read.time and read.height == last.final else "",
            depth=last.head - last.final,
            usual=self._usual[name],
            opens=_OPENS[name],
            cause=last.cause or (self._cause(name) if last.failure else ""),
        )
        return replace(chain, ahead=self._others.ahead(name, chain.patience))

    def _cursor(self, kind: EventKind) -> Cursor | None:
        try:
            return self._ledger.cursor(kind)
        except StateProblem:  # told by the tries to write to it
            return None

    def _stream(self) -> StreamFacts:
        feed = self._feed
        position, now = feed.position, self._clock()
        if position is feed.newest or position != self._moved[0]:
            self._moved = position, now
        return StreamFacts(
            live=feed.live.is_set(),
            went_live=feed.counters.scans > 0,
            answer_age=feed.answer_age(),
            resting=now - self._moved[1],
            silent=self._silent(),
        )


def _moment(seconds: int) -> str:
    return f"{header_moment(seconds):%Y-%m-%d %H:%M:%S} UTC"
