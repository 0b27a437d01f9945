"""Child processes of the development network: started with a log file, awaited until ready, ended for sure."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.localnet.ports import HOST

DEFAULT_READY_SECONDS = 60.0
DEFAULT_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02
_TAIL_BYTES = 4096
_LAUNCHER = Path(__file__).with_name("die_with_parent.py")

Condition = Callable[[], Awaitable[bool]]


class ProcessError(RuntimeError):
    """A child process did not start, ended early or did not become ready; the message shows its last words."""


async def wait_until(condition: Condition, *, seconds: float, what: str) -> None:
    """Return as soon as `condition()` is true; raises `TimeoutError` naming `what` after `seconds`."""

    async def poll() -> None:
        while not await condition():  # noqa: ASYNC110 - the condition is outside this process
            await asyncio.sleep(_POLL_SECONDS)

    try:
        await asyncio.wait_for(poll(), seconds)
    except TimeoutError as error:
        raise TimeoutError(f"waited {seconds:g} s in vain for {what}") from error


async def accepts_connections(port: int, host: str = HOST) -> bool:
    """Whether something accepts TCP connections on `port`."""
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


class ChildProcess:
    """One child process, in a process group of its own.

    Bound to no event loop: it may be started in one and stopped in another. On Linux the kernel kills it when the
    thread that started it ends, so that nothing is left behind even by `kill -9`; start it from a thread that lives
    as long as the child should.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Describe the process; `environment` is added to ours, standard output and error are appended to `log`."""
        self.name = name
        self.command = tuple(str(part) for part in command)
        self.log = log
        self._environment = {**os.environ, **environment} if environment is not None else None
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self._log_start = 0

    @property
    def pid(self) -> int:
        """The process id; raises `ProcessError` if it was never started."""
        if self._process is None:
            raise ProcessError(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while running or never started."""
        return None if self._process is None else self._process.poll()

    async def start(self, ready: Condition | None = None, *, seconds: float = DEFAULT_READY_SECONDS) -> None:
        """Start the process and wait until `ready()` is true.

        Raises `ProcessError` if it can't be started, ends before it is ready, or is not ready within `seconds`; it
        doesn't run any more then.
        """
        if self.running:
            raise ProcessError(f"{self.name} runs already (process {self.pid})")
        self._spawn()
        if ready is None:
            return
        try:
            await self._ready(ready, seconds)
        except BaseException:  # cancellation too: a half-started child must not stay behind
            self.kill()
            raise

    async def wait(self, seconds: float) -> int:
        """Wait until the process has ended and return its exit code; raises `TimeoutError`."""
        await wait_until(self._ended, seconds=seconds, what=f"the end of {self.name}")
        return self._reaped()

    async def stop(self, seconds: float = DEFAULT_STOP_SECONDS) -> int | None:
        """End it with SIGTERM, after `seconds` with SIGKILL. Returns the exit code, None if it never ran."""
        if not self.running:
            return self.exit_code
        self.thaw()
        self.send(signal.SIGTERM)
        try:
            return await self.wait(seconds)
        except TimeoutError:
            return self.kill()
        except asyncio.CancelledError:
            self.kill()
            raise

    def kill(self) -> int | None:
        """End the whole process group with SIGKILL and reap it. Returns the exit code, None if it never ran."""
        if self._process is None:
            return None
        self.send(signal.SIGKILL)
        self._frozen = False
        return self._process.wait(60)

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): it keeps its connections but answers nothing, like a hung machine."""
        self.send(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let a frozen process go on; does nothing to others."""
        if self._frozen:
            self.send(signal.SIGCONT)
            self._frozen = False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process group, if the process lives."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def said(self, text: str) -> bool:
        """Whether it wrote `text` since its last start."""
        try:
            with self.log.open("rb") as file:
                file.seek(self._log_start)
                return text.encode() in file.read()
        except FileNotFoundError:
            return False

    def log_tail(self) -> str:
        """The last few kilobytes that the process wrote."""
        try:
            with self.log.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                return file.read().decode(errors="replace")
        except OSError as error:
            return f"(no log: {error})"

    async def __aenter__(self) -> Self:
        """Start without waiting for readiness."""
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        await self.stop()

    def _spawn(self) -> None:
        self._frozen = False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        program = shutil.which(self.command[0])
        if program is None:
            raise ProcessError(f"{self.name} can't be started: no program {self.command[0]}")
        launcher = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()))
        with self.log.open("ab") as output:
            self._log_start = output.seek(0, os.SEEK_END)
            try:
                self._process = subprocess.Popen(
                    (*launcher, str(Path(program).absolute()), *self.command[1:]),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._directory,
                    start_new_session=True,  # the terminal's Ctrl-C reaches us alone; we end the children in order
                )
            except OSError as error:
                raise ProcessError(f"{self.name} can't be started as {self.command[0]}: {error}") from error

    async def _ready(self, ready: Condition, seconds: float) -> None:
        began = time.monotonic()

        async def ready_or_ended() -> bool:
            return not self.running or await ready()

        try:
            await wait_until(ready_or_ended, seconds=seconds, what=f"{self.name} to be ready")
        except TimeoutError as error:
            raise ProcessError(f"{self.name} is not ready after {seconds:g} s; {self._last_words()}") from error
        if not self.running:
            after = time.monotonic() - began
            raise ProcessError(f"{self.name} ended after {after:.1f} s, code {self.exit_code}; {self._last_words()}")

    def _last_words(self) -> str:
        return f"end of its log {self.log}:\n{self.log_tail()}"

    async def _ended(self) -> bool:
        return not self.running

    def _reaped(self) -> int:
        code = self.exit_code
        assert code is not None
        return code
