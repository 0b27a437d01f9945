"""`python -m infra.localnet up` as a person uses it: parts of it end in every way, and it goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("localnet")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "MONGODB_URI": "", "PYTHONUNBUFFERED": "1", "COLUMNS": "400"}
SECONDS = 120.0


class Up:
    """The running command and what it has said."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-m", "infra.localnet", "up", "--validators", "2", "--threshold", "1", "--directory", "net"]
        self.directory = directory
        self.process = subprocess.Popen(
            command, cwd=directory, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout:
            for line in self.process.stdout:
                self._lines.put(line)

    def end(self) -> None:
        """End it and all its parts, which the system ends with it."""
        self.process.kill()
        self.process.wait(60)
        self._reader.join(60)

    def says(self, words: str) -> str:
        """The next line that holds these words; fails with all that was said instead."""
        deadline, heard = time.monotonic() + SECONDS, []
        while time.monotonic() < deadline and (self.process.poll() is None or not self._lines.empty()):
            try:
                heard.append(self._lines.get(timeout=0.2))
            except Empty:
                continue
            if words in heard[-1]:
                return heard[-1]
        raise AssertionError(f"never said {words!r}, but:\n{''.join(heard)}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra.localnet", *arguments, "--directory", "net"]
        return subprocess.run(
            command, cwd=self.directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=180, check=False
        )

    def child(self, words: str) -> psutil.Process:
        """The process whose command line holds these words."""
        (found,) = [one for one in psutil.Process(self.process.pid).children() if words in " ".join(one.cmdline())]
        return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    yield running
    running.end()


def test_a_network_survives_the_end_of_its_parts_and_starts_them_again(up: Up) -> None:
    up.says("Practise an outage")
    for number, how in ((signal.SIGTERM, "validator-2 was stopped"), (signal.SIGKILL, "validator-2 was ended by SIGKILL")):
        up.child("validator-2").send_signal(number)
        assert "1 of 2 validators run: mints go on, payouts wait" in up.says(how)
        assert "start --directory net validator-2" in up.says("start it again")
        done = up.run("start", "validator-2")
        assert (done.returncode, done.stderr) == (0, "")
        assert "2 of 2 validators run: mints go on, payouts go on" in done.stdout
    held = up.run("balances")
    assert up.run("kill", "mongo-1").returncode == 0
    up.says("mongo-1 is killed")
    assert up.run("start", "mongo-1").returncode == 0
    for name, chain in (("anvil", "Ethereum"), ("pocket", "Pocket")):
        assert f"without {chain} nothing is signed" in up.run("stop", name).stdout
        assert up.run("balances").returncode != 0, f"{name} does not answer"
        assert "payouts go on" in up.run("start", name).stdout
    refused = up.run("start", "validator-1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "validator-1 runs already" in refused.stderr
    # It is a bridge still: the database that was killed answers, both validators do, and both chains hold what they held.
    after = up.run("balances")
    assert after.returncode == 0
    assert after.stdout == held.stdout
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert "no network runs" in up.run("stop", "validator-1").stderr
