"""Manifests: strictly read, drawn from the seed alone, and each kind of fault has one that names it."""

from __future__ import annotations

from typing import get_args

import pytest

from tests.chaos import kinds
from tests.chaos.kinds import FAULT, Fault
from tests.chaos.manifest import Manifest, ManifestError, load, manifests, parse

pytestmark = pytest.mark.unit

GOOD = """
about = "a test"
seconds = 10.0
[requests]
deposits = 2
bad_deposits = 1
burns = 1
"""
KILL = '[[fault]]\nkind = "kill"\nat = 1.0\nseconds = 2.0\n'
STORM = '[[storm]]\nbegin = 1.0\nuntil = 60.0\npause = [0.5, 2.0]\nfaults = [{ kind = "kill" }, { kind = "mongo_freeze" }]\n'


def test_a_manifest_is_read_with_its_defaults() -> None:
    manifest = parse(GOOD + KILL, "x.toml")
    assert (manifest.validators, manifest.threshold, manifest.seed) == (7, 5, 1)
    (fault,) = manifest.fault
    assert isinstance(fault, kinds.Kill)
    assert (fault.at, fault.seconds, fault.target) == (1.0, 2.0, "any")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD + KILL.replace("kill", "tickle"), ("fault.0", "tickle")),
        (GOOD + KILL + "force = 9\n", ("fault.0.kill.force", "not permitted")),
        (GOOD + KILL.replace("seconds = 2.0", ""), ("fault.0.kill.seconds", "required")),
        (GOOD + KILL.replace("2.0", '"two"'), ("fault.0.kill.seconds", "valid number")),
        (GOOD + KILL.replace("2.0", "-2.0"), ("fault.0.kill.seconds", "greater than 0")),
        (GOOD + KILL + 'target = "mongod"\n', ("fault.0.kill.target", "validator-1 and so on")),
        (GOOD + KILL + 'target = "validator-8"\n', ("validator-8", "1 to 7 only")),
        ("colour = 1\n" + GOOD, ("colour", "not permitted")),
        (GOOD.replace("burns = 1", ""), ("requests.burns", "required")),
        ("validators = 6\n" + GOOD, ("validators", "greater than or equal to 7")),
        ("threshold = 8\n" + GOOD, ("threshold is 8 of 7",)),
        (GOOD + '[[fault]]\nkind = "oplog_lost"\nat = 1.0\n', ("oplog_mb", "missing")),
        (GOOD + '[[fault]]\nkind = "reorg"\nat = 1.0\ndepth = 4\nkeep = "all"\n', ("deeper than", "release must follow")),
        (
            GOOD + '[[fault]]\nkind = "rpc"\nat = 1.0\nseconds = 1.0\nchain = "pocket"\nhow = "forged_event"\n',
            ("fault.0.rpc.how", "Ethereum's"),
        ),
        (
            GOOD + '[[fault]]\nkind = "pocket_node"\nat = 1.0\nseconds = 1.0\nswitch = { kind = "dance" }\n',
            ("fault.0.pocket_node", "dance"),
        ),
        (GOOD + STORM.replace('"mongo_freeze"', '"mongo_thaw"'), ("storm.0.faults", "faults.1", "mongo_thaw")),
        (GOOD + STORM.replace('"kill" }', '"kill", at = 3.0 }'), ("faults.0.at", "remove it")),
        (GOOD + STORM.replace("[0.5, 2.0]", "[2.0, 0.5]"), ("pause is 2.0 to 0.5",)),
        (GOOD + STORM.replace("begin = 1.0", "begin = 61.0"), ("begin is 61.0", "never blows")),
        (GOOD + "[[fault]\n", ("no TOML",)),
        ("agreement = 2\n" + GOOD, ("agreement is 2 of rpc_endpoints 1",)),
        ('felt = { validator-9 = "x" }\n' + GOOD, ("felt names validator-9",)),
        ('felt = { validator-1 = "(" }\n' + GOOD, ("felt.validator-1", "regular expression")),
    ],
)
def test_what_is_wrong_is_named(text: str, named: tuple[str, ...]) -> None:
    with pytest.raises(ManifestError) as caught:
        parse(text, "x.toml")
    said = str(caught.value)
    assert said.startswith("x.toml")
    assert all(word in said for word in named), said


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        parse("colour = 1\n" + GOOD + KILL + "force = 9\n", "x.toml")
    assert len(str(caught.value).splitlines()) == 2


def test_a_manifest_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ManifestError, match="short"):
        load("no-such")


def test_a_seed_gives_one_timeline_and_another_seed_another() -> None:
    manifest = parse(GOOD + KILL + STORM, "x.toml")
    first, again, other = manifest.timeline(7), manifest.timeline(7), manifest.timeline(8)
    assert [one.told for one in first] == [one.told for one in again]
    assert [one.at for one in first] == sorted(one.at for one in again)
    assert [one.told for one in first] != [one.told for one in other]
    assert all(1.0 <= one.at < 60.0 for one in first)
    assert not any(getattr(one, "target", "") == "any" and isinstance(one, kinds.OnValidator) for one in first)


def test_only_who_is_hit_gets_lines_nodes_and_clocks_of_his_own() -> None:
    text = GOOD + '[[fault]]\nkind = "mongo_delay"\nat = 1.0\nseconds = 1.0\ntarget = "validator-3"\nmilliseconds = 5\n'
    manifest = parse(text + '[[fault]]\nkind = "clock"\nat = 1.0\nseconds = 1.0\ntarget = "all"\nby = 5.0\n', "x.toml")
    timeline = manifest.timeline(1)
    assert manifest.lined(timeline) == {"validator-3"}
    assert manifest.with_shifted_clock(timeline) == set(manifest.names)
    assert manifest.with_own_nodes(timeline) == manifest.with_key_service(timeline) == set()


@pytest.mark.parametrize("name", manifests())
def test_those_that_lie_here_are_good(name: str) -> None:
    manifest = load(name)
    assert manifest.timeline(manifest.seed), "without a fault it shows nothing"
    assert manifest.requests.count >= 10


def test_every_kind_of_fault_is_played_by_some_manifest() -> None:
    def kind(fault: Fault) -> str:
        return str(fault.model_dump()["kind"])

    known = {str(get_args(one.model_fields["kind"].annotation)[0]) for one in get_args(get_args(kinds.AnyFault)[0])}
    played = {kind(fault) for name in manifests() for fault in load(name).all_faults()}
    assert played == known
    assert FAULT.validate_python({"kind": "freeze", "at": 0.0, "seconds": 1.0}).told == "freeze any seconds=1.0"


def test_every_way_in_which_a_node_fails_or_lies_is_played() -> None:
    played = {fault.how for name in manifests() for fault in load(name).all_faults() if isinstance(fault, kinds.Rpc)}
    assert played == set(get_args(kinds.How))


def test_the_full_one_is_as_large_as_asked() -> None:
    full: Manifest = load("full")
    assert full.requests.count >= 1000
    assert full.seconds <= 1800
