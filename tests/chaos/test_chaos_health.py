"""The observer of health is not blind: what it is to find is found, in the parts that it is made of."""

import asyncio
import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.ability import Heights, Looks, Since, _write, cursor_of
from tests.chaos.disks import SmallDisk
from tests.chaos.health import FalseHealthError, Judgement

pytestmark = pytest.mark.chaos

ILL = {"scan": "0 of its ethereum nodes answer, it needs 1"}


def looks(judgement: Judgement, seen: str, *, ill: str = "", able: str = "") -> None:
    """One look a second: `H` healthy, `-` not; `x` in `ill` where it cannot work, in `able` where it can."""
    for second, word in enumerate(seen):
        cannot = ILL if ill[second : second + 1] == "x" else {}
        can = able[second : second + 1] == "x"
        judgement.note(float(second), "validator-1", "status", healthy=word == "H", cannot=cannot, can=can)


@pytest.mark.parametrize("ill", ["xxxxxx", "..xxxxxx"])
def test_who_looks_healthy_for_too_long_fails_the_run(ill: str) -> None:
    with pytest.raises(FalseHealthError, match=r"validator-1 looks healthy to status for 5.0 s.*ethereum nodes"):
        looks(Judgement(4.0), "H" * len(ill), ill=ill)


@pytest.mark.parametrize(
    ("seen", "ill"),
    [
        ("HHHHH", "xxxxx"),  # as long as is allowed
        ("HHH-HHHHH", "xxxxxxxxx"),  # told in between
        ("HHHHHHHHH", "xxx.xxxxx"),  # able in between
        ("---------", "xxxxxxxxx"),
        ("HHHHHHHHH", "........."),
    ],
)
def test_nothing_else_fails_it(seen: str, ill: str) -> None:
    judgement = Judgement(4.0)
    looks(judgement, seen, ill=ill)
    assert judgement.longest_healthy <= 4.0


def test_each_validator_and_reader_is_judged_by_itself() -> None:
    judgement = Judgement(1.0)
    for second in range(10):
        name, reader = f"validator-{second % 5}", f"reader {second // 5}"
        judgement.note(float(second), name, reader, healthy=True, cannot=ILL, can=False)
    assert judgement.longest_healthy == 0.0


def test_who_is_able_and_does_not_look_it_is_a_figure() -> None:
    judgement = Judgement(4.0)
    looks(judgement, "----H--HH", able="xxxxxxxxx")
    assert (judgement.longest_unhealthy, judgement.unhealthy) == (3.0, 4.0)
    assert "wrongly unhealthy for 3.0 s at most, 4 s in all" in judgement.told


def test_a_height_is_due_once_it_was_there_for_long_enough() -> None:
    heights = Heights()
    for second, height in enumerate([10, 11, 12, 13, 14]):
        heights.note(float(second), height)
    assert heights.before(4.0, 2.0) == 12
    assert heights.before(4.0, 60.0) == 0
    heights.note(5.0, 11)  # the chain became shorter
    assert heights.before(5.0, 2.0) == 11


def test_a_break_begins_anew() -> None:
    since = Since()
    for now, so, lasts in ((1.0, True, 0.0), (3.0, True, 2.0), (4.0, False, 0.0), (9.0, True, 0.0), (10.0, True, 1.0)):
        since.note(now, so=so)
        assert since.lasts(now) == lasts


# ---------------------------------------------------------------------- files and disks


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "ledger.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE cursors (kind TEXT, height INTEGER)")
        connection.execute("INSERT INTO cursors VALUES ('burn', 17)")
        connection.commit()
    return path


def test_files_are_read_and_written_from_outside(database: Path) -> None:
    assert cursor_of(database, "burn") == 17
    assert cursor_of(database, "deposit") is None
    assert cursor_of(database.with_name("nothing"), "burn") is None
    assert _write(database) == ""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert _write(database) == "", "another one who writes keeps nobody from writing"


@pytest.fixture
def disk(database: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(database.parent, lambda: None)
    disk.mount()
    yield disk
    disk.unmount()


def test_a_small_disk_is_full_to_the_last_byte_and_then_is_not(disk: SmallDisk, database: Path) -> None:
    if not disk.mounted:
        pytest.skip("this user may mount nothing: the process is forbidden to make files longer instead")
    assert _write(database) == ""
    disk.fill()
    with pytest.raises(OSError) as refused:  # noqa: PT011 - its number is looked at below
        (database.parent / "more").write_bytes(b"x")
    assert refused.value.errno == errno.ENOSPC
    assert _write(database)
    disk.free()
    assert _write(database) == ""
    assert cursor_of(database, "burn") == 17


def test_what_lay_on_a_small_disk_is_kept(disk: SmallDisk, database: Path) -> None:
    disk.fill()
    disk.unmount()
    assert not disk.mounted
    assert [path.name for path in database.parent.parent.iterdir()] == ["state"]
    assert cursor_of(database, "burn") == 17


@pytest.mark.asyncio
async def test_what_is_known_anew_comes_from_a_look_that_began_after_the_question() -> None:
    seen = Looks()
    async with seen.one():
        # What this look finds may have been found before the question.
        asked = asyncio.create_task(seen.anew())
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not asked.done()
    async with seen.one():
        assert not asked.done()
    async with asyncio.timeout(60):
        await asked
