"""No core dumps: in a process of its own, because it cannot be undone."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.unit, pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")]

ROOT = Path(__file__).parents[2]
READ = """
import ctypes, resource
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
"""
FORBID = "from reactor.hardening import forbid_core_dumps\nforbid_core_dumps()\n"
COMMAND = "import sys\nfrom reactor.cli.main import main\nsys.argv = ['reactor', 'version']\nmain()\n"


def said(program: str) -> str:
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize("program", [FORBID, COMMAND], ids=["alone", "in the command"])
def test_limit_and_dumpable_are_off(program: str) -> None:
    assert said(program + READ) == "(0, 0) 0"


def test_a_process_that_does_not_ask_is_dumpable() -> None:
    """The twin: it is the call that does it."""
    assert said(READ).endswith(" 1")


def test_a_refusal_of_the_kernel_is_told() -> None:
    program = """
import ctypes
class Refusing:
    def __init__(self, *_, **__): pass
    def prctl(self, *_):
        ctypes.set_errno(1)
        return -1
ctypes.CDLL = Refusing
from reactor.hardening import forbid_core_dumps
try:
    forbid_core_dumps()
except OSError as error:
    print(error.errno, error)
"""
    assert said(program).startswith("1 ")
    assert "core dumps could not be switched off" in said(program)
