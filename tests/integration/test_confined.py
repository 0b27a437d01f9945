"""A validator as its container runs it: an unprivileged user, no capabilities, a read-only root; only its state is writable."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from bson import ObjectId
from cli_helpers import ROOT, Network, network
from secret_helpers import Running, core_limit, owner_below_proc, running

from infra.localnet.pocket.wallet import Wallet
from reactor.cli.common import EXIT_REFUSED

pytestmark = pytest.mark.integration

USER = 10001
HEALTH = "infra/containers/health.py"
# In a mount namespace of its own, as in the image: the code where that user can read it, wherever it lies here; and every disk
# read-only but the folder of the state, which is a mount of its own.
CONFINE = """
set -eu
mount --bind "$PYTHON" "$HOME/python"
mount --bind "$PACKAGES" "$HOME/packages"
mount --bind "$TREE" "$HOME/tree"
[ -z "$STATE" ] || mount --bind "$STATE" "$STATE"
findmnt --raw --noheadings --output TARGET --types ext4,xfs,btrfs,overlay,tmpfs --options rw | while read -r disk; do
    case "$disk" in "$STATE"|/dev*|/sys*|/proc*) ;; *) mount -o remount,bind,ro "$disk" ;; esac
done
exec setpriv --reuid="$WHO" --regid="$WHO" --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
"""


def confined(home: Path, *program: str | Path, state: bool = True) -> tuple[list[str | Path], dict[str, str]]:
    """The program in its confinement, and the environment that this takes; without a state nothing at all is writable."""
    environment = {
        "HOME": str(home),
        "PYTHON": sys.base_prefix,
        "PACKAGES": sysconfig.get_path("purelib"),
        "TREE": str(ROOT),
        "STATE": str(home / "state") if state else "",
        "WHO": str(USER),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{home / 'tree'}:{home / 'packages'}",
        "LD_LIBRARY_PATH": str(home / "python" / "lib"),  # a shared libpython is looked for where it was installed
    }
    return ["unshare", "--mount", "sh", "-c", CONFINE, "confined", *program], environment


def python_of(home: Path) -> Path:
    return home / "python" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that another user can reach, unlike pytest's own; skips where nothing can be confined."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None or shutil.which("findmnt") is None:
        pytest.skip("only root may confine a process to another user and a read-only root (util-linux)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for one in ("state", "python", "packages", "tree"):
            (folder / one).mkdir()
        tried = ended(folder, "true")
        if tried.returncode != 0:
            pytest.skip(f"this machine does not let a process be confined: {tried.stderr.strip()[-200:]}")
        yield folder


def ended(home: Path, *program: str | Path, state: bool = True, **more: str) -> "subprocess.CompletedProcess[str]":
    """A confined program that has run to its end."""
    command, environment = confined(home, *program, state=state)
    environment = {**os.environ, **environment, **more}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network() as up:
        yield up


def hand_over(folder: Path) -> None:
    """Everything in it becomes the unprivileged user's."""
    for path in (*folder.iterdir(), *(folder / "state").iterdir()):
        os.chown(path, USER, USER)


@pytest.fixture
def config(net: Network, home: Path) -> Path:
    path = net.config(home, 0, mongo__database=f"confined{ObjectId()}", state__directory=str(home / "state"))
    for command in (["init-db"], ["journal", "new", "--allow-older"]):
        subprocess.run([sys.executable, "-m", "reactor.cli.main", *command, "-c", str(path)], cwd=ROOT, check=True, timeout=120)
    hand_over(home)
    return path


def health(home: Path, config: Path) -> tuple[int, str]:
    """The container's health check, confined as the validator is."""
    asked = ended(home, python_of(home), home / "tree" / HEALTH, state=False, REACTOR_CONFIG=str(config))
    return asked.returncode, asked.stdout + asked.stderr


def status_of(validator: Running) -> dict[str, str]:
    lines = Path(f"/proc/{validator.process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_confined_validator_signs(net: Network, home: Path, config: Path, tmp_path: Path) -> None:
    code, said = health(home, config)
    assert code == 1
    assert f"no validator has ever run on {home / 'state'}" in said
    program, environment = confined(home, python_of(home), "-m", "reactor.cli.main", "run", "-c", config)
    with running(tmp_path, program, **environment) as validator:
        validator.until("validator 0x")
        kernel = status_of(validator)
        assert kernel["Uid"].split() == [str(USER)] * 4
        assert {kernel[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert kernel["NoNewPrivs"] == "1"
        # Not even another process of the same user gets at its memory.
        assert owner_below_proc(validator.process.pid) == 0
        assert core_limit(validator.process.pid) == ("0", "0")
        user = Wallet.from_seed("confined user")
        net.pocket.chain.fund(bytes.fromhex(user.address), 10**9)
        memo = json.dumps({"address": "0x" + "ab" * 20, "chain_id": str(net.anvil.chain_id)}, separators=(",", ":"))
        tx = net.loop.run(user.pay(net.pocket.url, net.vault, 5_000_000, memo))
        validator.until(f"{tx}: signed")
        end = time.monotonic() + 120
        while (found := health(home, config)) != (0, "this validator is up and healthy\n"):
            assert validator.process.poll() is None
            assert time.monotonic() < end, found
        assert validator.stop() == 0
    assert {path.stat().st_uid for path in (home / "state").iterdir()} == {USER}


def test_the_confinement_holds(home: Path) -> None:
    """The twin: the validator could write nowhere else."""
    (home / "elsewhere").mkdir()
    hand_over(home)
    # A name that nobody else has used: what is there already may be refused for another reason.
    attempt = f"import sys; open(sys.argv[1] + '/written-by-{uuid4().hex}', 'w')"
    outcomes = {}
    for folder in (home / "state", home / "elsewhere", home / "tree" / "reactor", Path(tempfile.gettempdir())):
        tried = ended(home, python_of(home), "-c", attempt, folder)
        outcomes[folder.name] = "written" if tried.returncode == 0 else tried.stderr.strip().rpartition("[Errno ")[2][:2]
    assert outcomes.pop("state") == "written"
    assert set(outcomes.values()) == {"30"}  # EROFS


def test_a_validator_without_a_writable_state_says_so(config: Path, home: Path, tmp_path: Path) -> None:
    program, environment = confined(home, python_of(home), "-m", "reactor.cli.main", "run", "-c", config, state=False)
    with running(tmp_path, program, **environment) as validator:
        assert validator.process.wait(120) == EXIT_REFUSED
    assert str(home / "state") in validator.said()
    assert "remedy: " in validator.said()
    assert "Traceback" not in validator.said()


def test_a_process_that_does_not_ask_can_be_read_by_its_own_user(home: Path, tmp_path: Path) -> None:
    """The twin of the ownership below /proc: it is the validator that asks for it, not the confinement."""
    program, environment = confined(home, "sleep", "600", state=False)
    with running(tmp_path, program, **environment) as one:
        end = time.monotonic() + 60
        while Path(f"/proc/{one.process.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < end
        assert owner_below_proc(one.process.pid) == USER
