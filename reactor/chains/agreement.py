"""Agreement of k of n endpoints: what a signature rests on must not be one endpoint's word. Knows no protocol.

As many endpoints as must agree are asked first; only where they do not, the others are asked too. Who says otherwise than an
agreeing group is named and stands back; where no group is large enough nothing is decided, and all are named.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from reactor.chains.errors import Means, NotAgreed, RpcProblem
from reactor.chains.rpc import Endpoint, Endpoints
from reactor.foreign import one_line

__all__ = ["Question", "agree", "at_least", "checked_agreement"]

T = TypeVar("T")

_SHOWN = 100
"""Characters of one endpoint's answer in a message."""


@dataclass(frozen=True)
class Question(Generic[T]):
    """What is asked and how its answers are compared.

    `subject` completes "agree on …". `kind` names the check in doubts. `same`: equal results mean equal answers. `show`: one in
    a few words. `answers`: errors that are answers too ("there is none"). `soft`: errors that mean "not yet" or "ask
    for less"; one of them is raised where too few agree and nobody contradicts, the first class first. `seconds`: for how long
    who says otherwise stands back; `accuse`: what is then said of it.
    """

    subject: str
    kind: str
    same: Callable[[T], Hashable]
    show: Callable[[T], str] = str
    answers: tuple[type[RpcProblem], ...] = ()
    soft: tuple[type[RpcProblem], ...] = ()
    seconds: float = 60.0
    accuse: str = "says otherwise"


def checked_agreement(agreement: int, endpoints: int) -> int:
    """The number itself. Raises ValueError where so many endpoints cannot agree."""
    if not 1 <= agreement <= endpoints:
        raise ValueError(f"agreement: expected 1 to {endpoints}, the number of endpoints, got {agreement}")
    return agreement


async def agree(
    pool: Endpoints, needed: int, question: Question[T], operation: Callable[[Endpoint], Awaitable[T]], *, last: str = ""
) -> T:
    """The result that `needed` distinct endpoints give; with 1, that of the first endpoint that answers.

    `last`: the name of the endpoint that is asked after all the others.

    SECURITY: endpoints are distinct by their place in the list; that two of them are not one provider is the operator's care.

    Raises:
        NotAgreed: fewer say the same; it names who says what.
        RpcProblem: one of `question.answers` on which they agree, or of `question.soft`.
    """
    if needed <= 1:
        return await pool.run(operation, last=last)

    async def once() -> T:
        outcomes = await _ask(pool, needed, question, operation, last)
        return _judge(pool, needed, question, outcomes)

    return await pool.rounds(once)


async def _ask(
    pool: Endpoints, needed: int, question: Question[T], operation: Callable[[Endpoint], Awaitable[T]], last: str
) -> dict[Endpoint, T | RpcProblem]:
    outcomes: dict[Endpoint, T | RpcProblem] = {}
    waiting = pool.order(last)
    pool.try_again(waiting[:needed], operation)
    while waiting:
        missing = needed - max((len(group) for group in _groups(question, outcomes).values()), default=0)
        if missing <= 0:
            break
        batch, waiting = waiting[:missing], waiting[missing:]
        outcomes |= await pool.each(batch, operation)
    return outcomes


def _groups(question: Question[T], outcomes: Mapping[Endpoint, T | RpcProblem]) -> dict[Hashable, list[Endpoint]]:
    """Who says the same, by what is said; who said nothing that counts is in none."""
    groups: dict[Hashable, list[Endpoint]] = {}
    for endpoint, outcome in outcomes.items():
        if not isinstance(outcome, RpcProblem):
            groups.setdefault(("value", question.same(outcome)), []).append(endpoint)
        elif isinstance(outcome, question.answers):
            groups.setdefault(("error", type(outcome)), []).append(endpoint)
    return groups


def _judge(pool: Endpoints, needed: int, question: Question[T], outcomes: dict[Endpoint, T | RpcProblem]) -> T:
    groups = _groups(question, outcomes)
    best = max(groups.values(), key=len, default=[])
    if len(best) < needed:
        raise _undecided(pool, needed, question, outcomes, groups, best)
    pool.settle(question.kind)
    for endpoint in best:
        pool.trust(endpoint, question.kind)
    for endpoint in {one for group in groups.values() for one in group if group is not best}:
        # SECURITY: it stands back, so that the next ones asked are those that agree.
        said = _said(question, outcomes[endpoint])
        text = f"{question.accuse}: {question.subject}: {said}, {len(best)} others say {_said(question, outcomes[best[0]])}"
        pool.doubt(endpoint, question.kind, text, question.seconds)
    result = outcomes[best[0]]
    if isinstance(result, RpcProblem):
        raise result
    return result


def _undecided(
    pool: Endpoints,
    needed: int,
    question: Question[T],
    outcomes: dict[Endpoint, T | RpcProblem],
    groups: dict[Hashable, list[Endpoint]],
    best: list[Endpoint],
) -> RpcProblem:
    if len(groups) <= 1:
        for kind in question.soft:
            for outcome in outcomes.values():
                if isinstance(outcome, kind):
                    return outcome
    problem = NotAgreed(
        question.subject,
        needed=needed,
        agreeing=[endpoint.name for endpoint in best],
        others={one.name: _said(question, said) for one, said in outcomes.items() if one not in best},
        transient=any(isinstance(said, RpcProblem) and said.means is Means.FAULT for said in outcomes.values()),
        chain=pool.chain,
    )
    problem.throttled = any(isinstance(said, RpcProblem) and said.throttled for said in outcomes.values())
    if len(groups) > 1:
        shown = f"{best[0].name}: {_said(question, outcomes[best[0]])}"
        pool.dispute(question.kind, f"endpoints contradict each other: {question.subject}: {shown}; {problem.dissent}")
    return problem


def _said(question: Question[T], outcome: T | RpcProblem) -> str:
    return outcome.words[:_SHOWN] if isinstance(outcome, RpcProblem) else one_line(question.show(outcome), _SHOWN)


async def at_least(
    pool: Endpoints, needed: int, subject: str, operation: Callable[[Endpoint], Awaitable[T]], *, everyone: bool = False
) -> list[T]:
    """The results of `needed` distinct endpoints, the preferred ones first: for what differs by nature, like heads.

    `everyone`: ask all at once, and give all results.

    Raises:
        NotAgreed: fewer answer.
    """

    async def once() -> list[T]:
        outcomes: dict[Endpoint, T | RpcProblem] = {}
        waiting, found = pool.order(), list[T]()
        while waiting and len(found) < needed:
            size = len(waiting) if everyone else needed - len(found)
            batch, waiting = waiting[:size], waiting[size:]
            outcomes |= await pool.each(batch, operation)
            found = [outcome for outcome in outcomes.values() if not isinstance(outcome, RpcProblem)]
        if len(found) >= needed:
            return found
        raise NotAgreed(
            subject,
            needed=needed,
            agreeing=[one.name for one, said in outcomes.items() if not isinstance(said, RpcProblem)],
            others={one.name: said.words[:_SHOWN] for one, said in outcomes.items() if isinstance(said, RpcProblem)},
            transient=True,
            chain=pool.chain,
        )

    return await pool.rounds(once)
