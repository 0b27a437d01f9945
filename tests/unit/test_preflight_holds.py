"""What `check` and `run` say of what is held: how each of them ends, as it is typed."""

from pathlib import Path

import pytest
from cli_unit_helpers import make_journal, settings_in

from reactor.documents.reasons import HoldReason
from reactor.preflight.own import check_journal
from reactor.preflight.results import CheckResult
from reactor.settings import Settings

pytestmark = pytest.mark.unit


async def told(settings: Settings) -> list[CheckResult]:
    return [one for one in await check_journal(settings) if one.name == "holds"]


async def test_each_hold_and_pause_is_told_with_the_command_that_ends_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    journal = make_journal(settings)
    try:
        assert await told(settings) == []
        journal.pause("mint", "alice", "maintenance")
        (only,) = await told(settings)
        assert only.remedy == "once each is understood: reactor resume mint --apply --why '…'"
        for number in (1, 2):
            journal.hold("recipient:0xab", HoldReason.OPERATOR.value, "odd", "alice", subject=str(number))
        journal.hold("signing", HoldReason.LOST_JOURNAL.value, "an unknown signature", "validator", subject="x")
        (both,) = await told(settings)
        assert both.remedy.partition(": ")[2].split("; ") == [
            "reactor resume mint --apply --why '…'",
            "reactor release recipient:0xab --apply --why '…'",
            'see reactor/state/README.md, "A lost journal"',
        ]
        assert (both.ok, both.level) == (False, "warning")
    finally:
        journal.close()
