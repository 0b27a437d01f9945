"""What `make lint` asks of the tree beyond style and types: no secret in it, no known vulnerability below it."""

import json
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.hygiene import dependency_audit, secret_scan

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

# ---------------------------------------------------------------------- secrets


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one innocent file and its baseline."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "innocent.py").write_text('NAME = "a bridge"\n')
    assert secret_scan.accept(tmp_path, secret_scan.tree_files(tmp_path)) == 0
    return tmp_path


def found(tree: Path) -> list[str]:
    return secret_scan.new_secrets(tree, secret_scan.tree_files(tree))


PLANTED: dict[str, Callable[[], str]] = {
    "a key of a chain": lambda: f'KEY = "{secrets.token_hex(32)}"\n',
    "a keystore's password": lambda: f'keystore_password = "{secrets.token_urlsafe(12)}"\n',
    "a login in a URL": lambda: f'URI = "mongodb://validator:{secrets.token_urlsafe(12)}@db-1,db-2/"\n',
    "a private key in PEM": lambda: "-----BEGIN " + "EC PRIVATE KEY-----\n",
    "an access key of AWS": lambda: f'ID = "AKIA{"".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(16))}"\n',
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_secret_is_found_and_not_repeated(tree: Path, plant: Callable[[], str]) -> None:
    text = plant()
    (tree / "settings.py").write_text(text)
    assert found(tree) != []
    assert all(one.startswith("settings.py:1: ") for one in found(tree))
    # Not by what it is: a log of lint is no better place for it.
    assert not any(part in "".join(found(tree)) for part in text.split('"')[1:2])


@pytest.mark.parametrize(("octets", "lines"), [(12, []), (15, []), (16, ["ids.py:1: Hex High Entropy String"])])
def test_what_is_too_short_for_a_key_is_none(tree: Path, octets: int, lines: list[str]) -> None:
    (tree / "ids.py").write_text(f'ONE = "{secrets.token_hex(octets)}"\n')
    assert found(tree) == lines


def test_nothing_is_found_where_nothing_is(tree: Path) -> None:
    assert found(tree) == []


def test_what_was_accepted_passes_and_only_that(tree: Path) -> None:
    (tree / "test_one.py").write_text(PLANTED["a key of a chain"]())
    assert len(found(tree)) == 1
    assert secret_scan.accept(tree, secret_scan.tree_files(tree)) == 1
    assert found(tree) == []
    (tree / "test_one.py").write_text("\n\n" + (tree / "test_one.py").read_text())
    assert found(tree) == []  # it may move
    (tree / "test_two.py").write_text((tree / "test_one.py").read_text())
    assert len(found(tree)) == 1  # but not to another file
    assert "token" not in (tree / secret_scan.BASELINE).read_text()


def test_files_that_git_ignores_are_not_read(tree: Path) -> None:
    (tree / ".gitignore").write_text("own/\n")
    (tree / "own").mkdir()
    (tree / "own" / "key").write_text(PLANTED["a key of a chain"]())
    assert found(tree) == []
    assert "own/key" not in secret_scan.tree_files(tree)


def test_the_baseline_has_the_settings_of_the_code_and_excuses_tests_alone() -> None:
    kept = json.loads((ROOT / secret_scan.BASELINE).read_text())
    assert {name: kept[name] for name in ("plugins_used", "filters_used")} == {
        name: sorted(value, key=json.dumps) if isinstance(value, set) else value for name, value in secret_scan.settings().items()
    }
    outside = {name for name in kept["results"] if not name.startswith("tests/")}
    # The identifier of a KMS key that is no one's, and the word "password" in a docstring.
    assert outside == {"README.md", "reactor/mongo_uri.py"}


# ---------------------------------------------------------------------- dependencies


class Osv:
    """A database of vulnerabilities on this machine, with the answers of https://google.github.io/osv.dev/post-v1-query/."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.status, self.patience = 200, threading.Event()
        self.slow = False
        self.asked: list[str] = []
        osv = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                osv.asked.append(f"{query['package']['name']}=={query['version']}")
                if osv.slow:
                    osv.patience.wait(600)
                body = json.dumps(osv.answer(query)).encode()
                self.send_response(osv.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/query"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, query: dict[str, Any]) -> dict[str, Any]:
        name, version = query["package"]["name"], query["version"]
        if self.known.get(name) != version:
            return {}
        events = [{"introduced": "0"}, {"fixed": "99.0"}]
        affected = [{"package": query["package"], "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
        return {"vulns": [{"id": "GHSA-test-0001", "summary": "it is broken", "affected": affected, "aliases": []}]}

    def close(self) -> None:
        self.patience.set()
        self.server.shutdown()
        self.thread.join(60)
        self.server.server_close()


@pytest.fixture
def osv() -> Iterator[Osv]:
    running = Osv()
    yield running
    running.close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text("".join(f"{name} \\\n    --hash=sha256:{'ab' * 32}\n" for name in ("aiohttp==3.14.5", "web3==7.6.0")))
    return path


def audit(lock: Path, url: str, *more: str) -> int:
    return dependency_audit.main(["--lock", str(lock), "--url", url, *more])


def test_a_lock_without_known_vulnerabilities_passes(osv: Osv, lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    osv.known = {"web3": "7.5.0"}
    assert audit(lock, osv.url) == 0
    assert "2 locked packages audited" in capsys.readouterr().out
    assert sorted(osv.asked) == ["aiohttp==3.14.5", "web3==7.6.0"]


def test_a_known_vulnerability_fails_lint(
    osv: Osv, lock: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    osv.known = {"web3": "7.6.0"}
    assert audit(lock, osv.url) == 1
    assert "web3 7.6.0: GHSA-test-0001, fixed in 99.0" in capsys.readouterr().err
    monkeypatch.setitem(dependency_audit.ACCEPTED, "GHSA-test-0001", "of a part that no validator calls")
    assert audit(lock, osv.url) == 0


@pytest.mark.parametrize("fault", ["nobody listens", "it answers 503", "it does not answer"])
def test_a_database_that_cannot_be_asked_is_said_in_one_line(
    osv: Osv, lock: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    osv.status = 503 if fault == "it answers 503" else 200
    osv.slow = fault == "it does not answer"
    url = "http://127.0.0.1:1/v1/query" if fault == "nobody listens" else osv.url
    started = time.monotonic()
    assert audit(lock, url, "--seconds", "20") == 0
    assert time.monotonic() - started < 300, "as long as the database keeps silent"
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("WARNING: DEPENDENCIES NOT AUDITED")
    assert audit(lock, "http://127.0.0.1:1/v1/query", "--required") == 1


@pytest.mark.parametrize("line", ["web3==7.6.0", "web3>=7.6.0 --hash=sha256:" + "ab" * 32], ids=["without hash", "not pinned"])
def test_a_lock_that_does_not_lock_fails_lint_without_any_network(
    lock: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    lock.write_text(lock.read_text() + line + "\n")
    assert audit(lock, "http://127.0.0.1:1/v1/query") == 1
    assert "cannot be audited" in capsys.readouterr().err


def test_the_locks_hold_hashes_and_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "index-url" not in text
        assert text.count("==") <= text.count("--hash=sha256:")
    packages = json.loads((ROOT / "infra" / "contracts" / "package-lock.json").read_text())["packages"]
    assert not any("resolved" in one for one in packages.values())
    # Binaries of platforms that the README does not name; npm installs none of them on Linux x86_64.
    unhashed = {name.rpartition("anvil-")[2] for name, one in packages.items() if name and "integrity" not in one}
    assert unhashed == {"darwin-amd64", "darwin-arm64", "linux-arm64", "win32-amd64"}
