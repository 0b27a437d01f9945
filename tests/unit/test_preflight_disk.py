"""`check` tries whether the state's disk takes a write: one that does not is no warning, for nothing works without it."""

import errno
import os
from pathlib import Path

import pytest
from cli_unit_helpers import settings_in

from reactor.preflight.own import check_disk
from reactor.preflight.results import failures

pytestmark = pytest.mark.unit


async def test_a_disk_that_takes_writes_passes_and_keeps_nothing(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    before = there(tmp_path)
    results = await check_disk(settings)
    assert failures(results) == []
    assert "MiB free" in results[0].detail
    assert there(tmp_path) == before


def there(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
async def test_one_that_takes_none_forbids_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("reactor.preflight.own.os.fsync", refuse)
    (failed,) = failures(await check_disk(settings_in(tmp_path)))
    assert failed.name == "disk"
    assert os.strerror(number) in failed.detail
    assert "free some space" in failed.remedy
