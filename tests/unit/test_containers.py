"""The container's files: an unprivileged user, a read-only root, locked packages, and nothing of anybody's own in the image."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.containers import health
from reactor.cli.health import ANSWER_SECONDS
from reactor.container import begin_container, stay_down, stays_down
from reactor.settings import settings_fields
from reactor.signals import Terminated

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "containers"
USER = "10001:10001"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, with continued lines joined."""
    text = "\n".join(line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for one in instructions():
        if one[0] == "FROM":
            found.append([])
        found[-1].append(one)
    return found


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


@pytest.fixture
def service(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]["validator"]


# ---------------------------------------------------------------------- the image


def test_the_image_runs_as_nobody_in_particular() -> None:
    last = stages()[-1]
    assert [value for name, value in last if name == "USER"] == [USER]
    after = [name for name, _ in last[last.index(("USER", USER)) :]]
    # Nothing is made or copied behind it, so all of it belongs to root.
    assert set(after) <= {"USER", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert [value for name, value in last if name == "VOLUME"] == ["/var/lib/reactor"]
    assert not any("--chown" in value for name, value in instructions() if name in {"COPY", "ADD"})


def test_packages_come_from_the_lock_alone_and_by_their_hashes() -> None:
    installs = [value for name, value in instructions() if name == "RUN" and "install --require-hashes" in value]
    assert len(installs) == 1
    assert "--only-binary=:all: -r /build/requirements.lock" in installs[0]
    # No other command that would fetch something.
    fetching = re.compile(r"\b(pip3? .*install|apt|apk|curl|wget|git|npm|uv)\b")
    assert [value for name, value in instructions() if name == "RUN" and fetching.search(value)] == installs
    assert "ADD" not in {name for name, _ in instructions()}


def test_the_stages_start_from_the_same_slim_python() -> None:
    assert [stage[0][1].split()[0] for stage in stages()] == ["python:3.11-slim"] * 2
    copied = [value for name, value in stages()[-1] if name == "COPY"]
    assert copied == ["--from=build /opt/reactor /opt/reactor"]


def test_what_is_copied_is_code_and_the_lock() -> None:
    copied = [value.split()[:-1] for name, value in stages()[0] if name == "COPY"]
    sources = {one for names in copied for one in names}
    assert sources == {"requirements.lock", "reactor", "scanners", "infra/containers/entrypoint.py", "infra/containers/health.py"}
    assert all((ROOT / one).exists() for one in sources)


def test_no_secret_is_given_to_the_build_or_in_the_environment() -> None:
    assert "ARG" not in {name for name, _ in instructions()}
    named = {pair.partition("=")[0] for name, value in instructions() if name == "ENV" for pair in value.split()}
    assert not named & secret_variables()


def secret_variables() -> set[str]:
    return {field.env for field in settings_fields() if field.secret} | {"MONGODB_URI"}


# ---------------------------------------------------------------------- what the builder gets to see


def sent(path: str) -> bool:
    """Whether a file reaches the builder: of the patterns that match it or a folder above, the last one counts.

    Source: https://docs.docker.com/build/concepts/context/#dockerignore-files
    """
    seen = True
    parts = path.split("/")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, "/".join(parts[:depth])) for depth in range(1, len(parts) + 1)):
            seen = line.startswith("!")
    return seen


@pytest.mark.parametrize(
    "path",
    [
        *("reactor.toml", ".env", "key", "infra/containers/own/mongodb_uri", "infra/containers/own/reactor.toml", ".git/config"),
        *("tests/unit/test_containers.py", "infra/localnet/deploy.py", "infra/containers/compose.yaml", ".localnet/up/key"),
        *("reactor/__pycache__/logs.cpython-311.pyc", "state/journal.sqlite", "requirements-dev.lock"),
    ],
)
def test_what_is_somebodys_own_never_reaches_the_builder(path: str) -> None:
    assert not sent(path)


def test_the_builder_gets_all_the_code_and_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    got = {name for name in listed if sent(name)}
    assert {"reactor/validator.py", "scanners/loop.py", "requirements.lock", "infra/containers/health.py"} <= got
    assert {name.partition("/")[0] for name in got} == {"reactor", "scanners", "requirements.lock", "infra"}
    assert {name for name in got if name.startswith("infra")} == {
        "infra/containers/entrypoint.py",
        "infra/containers/health.py",
    }
    assert got >= {name for name in listed if name.startswith(("reactor/", "scanners/"))}


def test_git_passes_over_an_operators_own_folder() -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", "infra/containers/own/mongodb_uri"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


# ---------------------------------------------------------------------- how it is run


def test_the_service_gives_up_what_it_does_not_need(service: dict[str, Any]) -> None:
    assert service["user"] == USER
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"]["core"] == 0
    for unwanted in ("ports", "expose", "privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode"):
        assert unwanted not in service


def test_the_state_is_the_only_disk_that_it_may_write(service: dict[str, Any], compose: dict[str, Any]) -> None:
    writable = [one for one in service["volumes"] if not one.endswith(":ro")]
    assert writable == ["state:/var/lib/reactor"]
    assert "state" in compose["volumes"]
    (scratch,) = service["tmpfs"]
    assert scratch.startswith("/tmp:")
    assert {"noexec", "nosuid", "nodev"} <= set(scratch.partition(":")[2].split(","))


def test_secrets_are_files_of_the_operator(service: dict[str, Any], compose: dict[str, Any]) -> None:
    assert not set(service["environment"]) & secret_variables()
    for name, value in service["environment"].items():
        if name == "STAY_DOWN_AFTER":
            continue
        assert name.removesuffix("_FILE") in secret_variables()
        assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert {one["file"].startswith("./own/") for one in compose["secrets"].values()} == {True}
    assert set(service["secrets"]) == set(compose["secrets"])


def test_it_is_started_again_but_after_what_a_start_does_not_mend(service: dict[str, Any]) -> None:
    assert service["restart"] == "unless-stopped"
    assert service["environment"]["STAY_DOWN_AFTER"].split() == ["2", "4"]
    assert "command" not in service
    assert "entrypoint" not in service


def environment(folder: Path, codes: str = "2 4") -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "STAY_DOWN_AFTER": codes, "TMPDIR": str(folder)}


def health_check(folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, str(FOLDER / "health.py")]
    return subprocess.run(arguments, env=environment(folder), cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("command", "codes", "stays"),
    [
        ("run", "2 4", True),
        ("run --config none.toml", "2 4", True),
        ("run", "", False),
        ("run", "4", False),
        ("check", "2 4", False),
        ("run --observe", "2 4", False),
    ],
)
def test_a_container_stays_down_after_the_codes_that_are_named(command: str, codes: str, stays: bool, tmp_path: Path) -> None:
    """Nothing is configured here: each command ends with 2."""
    child = subprocess.Popen(
        [sys.executable, str(FOLDER / "entrypoint.py"), *command.split()],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path, codes),
    )
    assert child.stderr is not None
    try:
        if stays:
            assert any("runs no validator: it ended with exit code 2" in line for line in child.stderr)
            assert child.poll() is None
            checked = health_check(tmp_path)
            assert (checked.returncode, checked.stdout) == (1, "this container runs no validator: its log says why\n")
            child.terminate()
        _, rest = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 2
    assert "runs no validator" not in rest
    assert list(tmp_path.iterdir()) == [], "the next start of this container begins as one that runs"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("STAY_DOWN_AFTER", "2 4")
    return tmp_path


def woken(_: float) -> None:
    raise Terminated(143)


def test_what_a_killed_container_left_is_forgotten_by_its_next_start_alone(scratch: Path) -> None:
    (scratch / "reactor-stays-down").write_text("4")
    for other in (["check"], ["run", "--observe"], []):
        begin_container(other)
        assert stays_down()
    begin_container(["run"])
    assert not stays_down()


@pytest.mark.parametrize(("parent", "process", "stays"), [(0, 1, True), (1, 7, True), (0, 7, False)])
def test_what_exec_starts_in_a_container_is_not_its_validator(
    parent: int, process: int, stays: bool, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent lies outside of the container; that of its own command is nobody, or the init process."""
    slept: list[bool] = []
    monkeypatch.setattr("reactor.container.os.getppid", lambda: parent)
    monkeypatch.setattr("reactor.container.os.getpid", lambda: process)
    monkeypatch.setattr("reactor.container.hear_sigterm", lambda: None)
    monkeypatch.setattr("reactor.container.time.sleep", lambda seconds: (slept.append(stays_down()), woken(seconds)))
    stay_down(["run"], 4)
    assert slept == [True] * stays
    assert not stays_down()


def test_it_stays_and_says_so_where_the_health_check_cannot_be_told(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(scratch / "none"))
    monkeypatch.setattr("reactor.container.hear_sigterm", lambda: None)
    monkeypatch.setattr("reactor.container.time.sleep", woken)
    stay_down(["run"], 4)
    said = capsys.readouterr().err
    assert "the health check of this container cannot know that" in said
    assert "runs no validator: it ended with exit code 4" in said


def test_the_health_check_is_the_images(service: dict[str, Any]) -> None:
    (image,) = [value for name, value in stages()[-1] if name == "HEALTHCHECK"]
    assert json.dumps(service["healthcheck"]["test"][1:]) in image
    assert (FOLDER / "health.py").name in image


def test_the_health_check_is_given_time_to_start_and_to_answer(service: dict[str, Any]) -> None:
    check = service["healthcheck"]
    assert float(check["start_period"].removesuffix("s")) >= 60
    assert float(check["timeout"].removesuffix("s")) > ANSWER_SECONDS, "its own words are better than being cut off"
    (image,) = [value for name, value in stages()[-1] if name == "HEALTHCHECK"]
    for name in ("interval", "timeout", "retries"):
        assert f"--{name}={check[name]} " in image
    assert f"--start-period={check['start_period']} " in image


@pytest.mark.parametrize(("code", "told"), [(0, 0), (1, 1), (2, 1), (3, 1), (130, 1)])
def test_the_health_check_knows_two_codes_only(code: int, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def main() -> int:
        asked.append(sys.argv[1:])
        return code

    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(health, "main", main)
    monkeypatch.setattr(sys, "argv", ["health.py"])
    assert health.check() == told
    assert asked == [["health"]]


def test_the_health_check_asks_for_no_host_name(service: dict[str, Any]) -> None:
    """The compose file gives the same to every operator's container."""
    assert "hostname" not in (FOLDER / "health.py").read_text()
    assert "health check" not in (FOLDER / "compose.yaml").read_text().partition("hostname:")[0].rpartition("build:")[2]
