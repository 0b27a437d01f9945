"""A process hears that it is to end from its first moment on, and says with which code it ended."""

import ast
import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from loguru import logger

from reactor import commit as commits
from reactor import hardening, parts
from reactor.cli.common import EXIT_DUPLICATE, EXIT_PROBLEM, EXIT_REFUSED, EXIT_USAGE
from reactor.cli.faults import told
from reactor.cli.main import main
from reactor.engine.supervisor import LoopError, Stop, Supervisor
from reactor.engine.tasks import unless
from reactor.signals import TERMINATED, Terminated, hear_sigterm
from reactor.state.problems import SecondProcess, StateLocked, StateProblem

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def test_sigterm_ends_a_command_through_its_clean_ups() -> None:
    program = """
import os, signal, time
from reactor.signals import hear_sigterm
hear_sigterm()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
finally:
    print("cleaned up")
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (TERMINATED, "cleaned up\n")
    assert not ended.stderr


def test_the_image_hears_it_before_anything_is_loaded() -> None:
    """As process 1 it would lose what comes before the handler; so nothing heavy is imported before."""
    tree = ast.parse((ROOT / "infra" / "containers" / "entrypoint.py").read_text("utf-8"))
    steps = [ast.unparse(one) for one in tree.body if not isinstance(one, ast.Expr) or isinstance(one.value, ast.Call)]
    assert steps[:3] == ["import sys", "from reactor.signals import hear_sigterm", "hear_sigterm()"]
    program = "import sys, reactor.signals; print(sorted(one for one in sys.modules if one.startswith('reactor')))"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == "['reactor', 'reactor.signals']"


async def test_a_stop_is_heard_twice_and_a_hang_up_is_told() -> None:
    lines: list[str] = []
    number = logger.add(lambda line: lines.append(str(line).strip()), level="INFO", format="{message}")
    before = signal.getsignal(signal.SIGHUP)
    try:
        with Stop().on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
            assert not stop.asked.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(stop.asked.wait(), 60)
            assert not stop.hurry.is_set()
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.wait_for(stop.hurry.wait(), 60)
    finally:
        logger.remove(number)
        signal.signal(signal.SIGHUP, before)
    assert [line.split(":")[0] for line in lines] == ["SIGHUP", "SIGTERM", "SIGINT"]


async def test_a_supervisor_obeys_a_stop_that_was_asked_before_it_ran() -> None:
    stop, order = Stop(), []

    async def loop(asked: asyncio.Event) -> None:
        await asked.wait()
        order.append("loop")

    supervisor = Supervisor(stop, grace=5)
    supervisor.add("one", loop)
    stop.asked.set()
    await asyncio.wait_for(supervisor.run(), 60)
    assert order == ["loop"]


async def test_unless_gives_the_result_or_nothing_or_the_error() -> None:
    stop = asyncio.Event()

    async def quick() -> int:
        return 7

    async def broken() -> int:
        raise KeyError("x")

    cleaned = []

    async def slow() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(1)
        return 7

    assert await unless(stop, quick()) == 7
    with pytest.raises(KeyError):
        await unless(stop, broken())
    waiting = asyncio.create_task(unless(stop, slow()))
    await asyncio.sleep(0)
    stop.set()
    assert await asyncio.wait_for(waiting, 60) is None
    assert cleaned == [1], "what was begun is cleaned up"


def test_terminated_is_a_system_exit() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        hear_sigterm()
        with pytest.raises(Terminated) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 143


# ---------------------------------------------------------------------- exit codes and versions


def cause(error: BaseException) -> LoopError:
    loop = LoopError("loop 'heartbeat' failed")
    loop.__cause__ = error
    return loop


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StateLocked("process 7 already runs", "stop it"), EXIT_DUPLICATE),
        (SecondProcess("an older one runs"), EXIT_DUPLICATE),
        (cause(SecondProcess("an older one runs")), EXIT_DUPLICATE),
        (StateProblem("disk", "mend it"), EXIT_PROBLEM),
        (LoopError("loop 'reactor' failed: KeyError()"), EXIT_PROBLEM),
    ],
)
def test_what_a_service_manager_is_told(error: BaseException, code: int) -> None:
    found = told(error)
    assert found is not None
    assert found[2] == code


def test_the_codes_differ_and_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert len({0, EXIT_PROBLEM, EXIT_USAGE, EXIT_REFUSED, EXIT_DUPLICATE}) == 5
    assert main(["run", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    readme = (ROOT / "README.md").read_text("utf-8")
    for code in (0, EXIT_PROBLEM, EXIT_USAGE, EXIT_REFUSED, EXIT_DUPLICATE):
        assert f"{code} " in text[text.index("Exit codes:") :]
        assert f"| `{code}` |" in readme


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_the_version_is_shown_with_its_commit(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "software_commit", lambda: "0123456789ab")
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"bridge-reactor {parts.software_version()} (0123456789ab)\n"


def test_what_a_command_writes_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        hardening.keep_files_private()
        (tmp_path / "export").write_text("")
        assert stat.S_IMODE((tmp_path / "export").stat().st_mode) == 0o600
    finally:
        os.umask(before)
