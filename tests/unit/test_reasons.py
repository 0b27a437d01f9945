"""Each reason is declared once, with its sentence and its parameters, and is used as it is declared.

The product's source is read for every place where a reason is given: the parameters that are written beside it there are those
that its declaration names, neither more nor fewer.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reactor.chains.errors import NotAgreed
from reactor.documents.reasons import Ends, HoldReason, ObjectionCode, Of, Reason, Refusal, WaitReason
from reactor.flows.decisions import nothing
from reactor.state.holds import PAUSED
from reactor.state.limits import LIMIT_REASONS

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
DECLARED = ROOT / "reactor" / "documents" / "reasons.py"
KINDS: dict[str, type[Reason]] = {kind.__name__: kind for kind in (WaitReason, ObjectionCode, HoldReason, Refusal)}
GIVES = {"Wait": 0, "Blocked": 0, "Rest": 1, "Over": 0}
"""What says a reason for a document, with the place of the reason among its arguments. The parameters follow it (`Over`: behind
the hold)."""


@dataclass(frozen=True)
class Given:
    """One place where reasons are given. `params` is None where what somebody else gave is passed on as it is."""

    where: str
    reasons: frozenset[WaitReason]
    params: frozenset[str] | None


class Reader:
    """Reads one function, or the top of a module, for the reasons that it gives."""

    def __init__(self, where: str, module: ast.Module, scope: ast.AST) -> None:
        self.where = where
        self.functions = {one.name: one for one in module.body if isinstance(one, ast.FunctionDef)}
        self.names: dict[str, list[ast.expr]] = {}
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assigned(target, node.value)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                self._assigned(node.target, node.value)

    def _assigned(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.names.setdefault(target.id, []).append(value)

    def reasons(self, node: ast.expr) -> frozenset[WaitReason]:
        """The wait reasons that an expression may be; none where it is taken from somebody else."""
        if isinstance(node, ast.Name):
            return frozenset().union(*(self.reasons(value) for value in self.names.get(node.id, ())))
        if isinstance(node, ast.IfExp):
            return self.reasons(node.body) | self.reasons(node.orelse)
        text = ast.unparse(node)
        if text == "verdict.reason.wait":
            return frozenset(one.wait for one in Refusal)
        name = text.removeprefix("WaitReason.").removesuffix(".value")
        return frozenset({WaitReason[name]}) if name in WaitReason.__members__ else frozenset()

    def params(self, node: ast.expr | None) -> frozenset[str] | None:
        """The names that a mapping may have; None where it is `params` of something that was given elsewhere."""
        match node:
            case None:
                return frozenset()
            case ast.Dict():
                return frozenset().union(*self._entries(node))
            case ast.IfExp():
                return self._sure(node.body) | self._sure(node.orelse)
            case ast.Name() if node.id in self.names:
                return frozenset().union(*(self._sure(value) for value in self.names[node.id]))
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                returned = [one.value for one in ast.walk(self.functions[name]) if isinstance(one, ast.Return)]
                return frozenset().union(
                    *(Reader(self.where, ast.Module([], []), self.functions[name])._sure(one) for one in returned)
                )
            case ast.Attribute(attr="params"):
                return None
        raise AssertionError(f"{self.where}: what are the names in {ast.unparse(node)}?")

    def _entries(self, node: ast.Dict) -> Iterator[frozenset[str]]:
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                yield self._sure(value)
            else:
                assert isinstance(key, ast.Constant), f"{self.where}: {ast.unparse(node)}"
                yield frozenset({key.value})

    def _sure(self, node: ast.expr | None) -> frozenset[str]:
        found = self.params(node)
        assert found is not None, f"{self.where}: {ast.unparse(node) if node else node} is mixed with names of its own"
        return found

    def given(self, node: ast.AST) -> Given | None:
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in GIVES:
                named = {one.arg: one.value for one in node.keywords}
                place = GIVES[name]
                reason = node.args[place] if len(node.args) > place else named.get("reason")
                place += 1 + (name == "Over")
                params = node.args[place] if len(node.args) > place else named.get("params")
                return None if reason is None else Given(self.where, self.reasons(reason), self.params(params))
            case ast.Tuple(elts=[first, second]) if ast.unparse(first).startswith("WaitReason."):
                return Given(self.where, self.reasons(first), self.params(second))
        return None


def sources() -> Iterator[Path]:
    for folder in ("reactor", "scanners"):
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if path != DECLARED)


def given_in(text: str, where: str) -> list[Given]:
    """What a module gives. A function is read with its own names, what stands at the top with the module's."""
    module = ast.parse(text)
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    top = Reader(where, module, ast.Module([node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign)], []))
    found = [top.given(node) for node in ast.walk(module) if id(node) not in inside]
    for function in functions:
        reader = Reader(f"{where}:{function.name}", module, function)
        found += [reader.given(node) for node in ast.walk(function)]
    return [one for one in found if one is not None]


GIVEN = [one for path in sources() for one in given_in(path.read_text(), path.relative_to(ROOT).as_posix())]
NOT_AGREED = NotAgreed("x", needed=2, agreeing=["a"], others={"b": "c"})


def test_what_is_written_beside_a_reason_is_declared() -> None:
    assert len(GIVEN) > 50
    for one in GIVEN:
        for reason in one.reasons:
            assert (one.params or frozenset()) <= reason.params, f"{one.where}: {reason}"


def test_what_is_declared_is_written_somewhere() -> None:
    written = {reason: frozenset[str]() for reason in WaitReason}
    for one in GIVEN:
        for reason in one.reasons:
            written[reason] |= one.params or frozenset()
    written[WaitReason.NOT_AGREED] |= frozenset(NOT_AGREED.params)
    assert written == {reason: reason.params for reason in WaitReason}


def test_who_passes_on_a_reason_passes_on_its_parameters() -> None:
    passed = [one for one in GIVEN if one.params is None]
    assert [one for one in passed if one.reasons not in (frozenset(), {WaitReason.NOT_AGREED})] == []
    assert [one for one in GIVEN if not one.reasons and one.params is not None] == []
    assert len(passed) > 3


def test_every_code_that_is_used_is_declared_and_every_declared_one_is_used() -> None:
    used: dict[str, set[str]] = {name: set() for name in KINDS}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id=kind), attr=name) if kind in used and not name.startswith("of_"):
                    used[kind].add(name)
    limits = {one.name for one in Refusal if one.of_limits}
    # Of these the journal takes the one whose wait the limits name.
    assert {**used, "Refusal": used["Refusal"] | limits} == {name: set(kind.__members__) for name, kind in KINDS.items()}


@pytest.mark.parametrize(
    "reason", [one for kind in KINDS.values() for one in kind], ids=lambda one: f"{type(one).__name__}.{one.name}"
)
def test_each_has_a_code_and_a_sentence_for_people(reason: Reason) -> None:
    assert reason == reason.value == reason.name.lower()
    assert type(reason).of_code(reason.value) is reason
    assert type(reason).of_code("moon") is None
    assert len(reason.sentence.split()) > 3
    assert not reason.sentence.endswith(".")
    assert reason.value not in reason.sentence or "_" not in reason.value


def test_a_reason_that_passes_by_itself_or_is_this_processs_own_stands_in_no_list_for_people() -> None:
    by_kind = {kind: {one for one in WaitReason if one.of is kind} for kind in Of}
    assert by_kind[Of.MOMENT] == {WaitReason.TURN, WaitReason.LOST_RACE, WaitReason.WRITTEN}
    assert by_kind[Of.PROCESS] == {WaitReason.OBSERVING}
    refusals = {"over_limit", "cooling_down", "minting_paused", "fee_indivisible", "no_minter_role"}
    assert by_kind[Of.CONTRACT] == refusals
    own = {"held", "paused", "over_threshold", "over_window", "identity", "other_process", "state_replaced", "not_a_member"}
    assert by_kind[Of.VALIDATOR] == own | {"older_than_journal", "journal_conflict"}


def test_what_the_journal_refuses_is_shown_as_a_validators_own_wait_with_its_detail() -> None:
    for refusal in Refusal:
        assert refusal.params <= refusal.wait.params
        assert refusal.sentence == refusal.wait.sentence
        assert refusal.wait.of is Of.VALIDATOR or refusal is Refusal.AMOUNT_UNKNOWN


def test_how_holds_end() -> None:
    assert LIMIT_REASONS == ("over_threshold", "over_window")
    assert {one for one in HoldReason if one.ends is Ends.RESUMED} == {PAUSED}
    assert {one for one in HoldReason if one.ends is Ends.AFTER_READING} == {HoldReason.LOST_JOURNAL}


def test_a_parameter_that_is_not_declared_is_noticed() -> None:
    """The twin: literally, by a name, by a function, and where what is passed on is mixed with something of its own."""
    text = """
def more():
    return {"moon": "full"} if True else {}
def literal():
    return Wait(WaitReason.USER, {"have": "1"})
def by_name():
    one = {"a": "1", **more()}
    return Blocked(WaitReason.HELD if one else WaitReason.PAUSED, params=one)
TOP = Rest(True, WaitReason.TURN, {"for": "x"})
"""
    top, literal, by_name = given_in(text, "here")
    assert top == Given("here", frozenset({WaitReason.TURN}), frozenset({"for"}))
    assert literal == Given("here:literal", frozenset({WaitReason.USER}), frozenset({"have"}))
    assert by_name == Given("here:by_name", frozenset({WaitReason.HELD, WaitReason.PAUSED}), frozenset({"a", "moon"}))
    with pytest.raises(AssertionError, match="mixed"):
        given_in("def f(x):\n    return Wait(WaitReason.USER, {**x.params})", "here")
    with pytest.raises(AssertionError, match="what are the names"):
        given_in("def f(x):\n    return Wait(WaitReason.USER, x)", "here")
    assert nothing() == {}
