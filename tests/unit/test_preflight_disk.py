"""`check` tries whether the state's disk takes a write: one that does not is no warning, for nothing works without it."""

import errno
import os
from pathlib import Path

import pytest
from cli_unit_helpers import settings_in

from reactor.cli.common import EXIT_DUPLICATE, EXIT_REFUSED
from reactor.cli.run import _code
from reactor.preflight.checks import lock_condition
from reactor.preflight.own import check_disk
from reactor.preflight.results import failures
from reactor.state.lock import ProcessLock

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


@pytest.mark.parametrize("call", ["open", "ftruncate", "pwrite"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
async def test_a_lock_that_cannot_be_tried_is_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """A service manager does not start again what ended because of another process."""
    settings = settings_in(tmp_path)
    settings.state.directory.mkdir()

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(f"reactor.state.lock.os.{call}", refuse)
        (failed,) = failures(await lock_condition(settings, starting=True))
    assert os.strerror(number) in failed.detail
    assert _code([failed], settings) == EXIT_REFUSED
    # The twins: free once that is over, and another process is one.
    assert failures(await lock_condition(settings, starting=True)) == []
    with ProcessLock(settings.state.directory):
        (failed,) = failures(await lock_condition(settings, starting=True))
    assert _code([failed], settings) == EXIT_DUPLICATE
