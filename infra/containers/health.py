"""Is the validator of this container up? Exit code 0 if its own signed heartbeat says so, else 1 with the reason.

Validators open no port that could be asked. So this asks what the other validators and the operators see: `reactor status`, which
shows a heartbeat only if its signature verifies. That one is ours which carries this container's host name.
"""

import json
import socket
import subprocess
import sys
from typing import Any

SECONDS = 25


def main() -> int:
    """Ask, and tell."""
    command = [sys.executable, "-m", "reactor.cli.main", "status", "--json", "--oldest", "0"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(f"`reactor status` gave no answer within {SECONDS} s")
        return 1
    if asked.returncode != 0:
        # Its messages are masked: they hold no secret.
        print(asked.stderr.strip()[-500:])
        return 1
    state = state_of(socket.gethostname(), json.loads(asked.stdout)["validators"])
    print(f"this validator is {state}")
    return int(state != "up")


def state_of(host: str, validators: list[dict[str, Any]]) -> str:
    """What the newest heartbeat from a host says: up, late, gone; never if there is none."""
    beats = [one for one in validators if one["heartbeat"] is not None and one["heartbeat"]["hostname"] == host]
    newest = max(beats, key=lambda one: str(one["heartbeat"]["updated_at"]), default=None)
    return "never" if newest is None else str(newest["state"])


if __name__ == "__main__":
    sys.exit(main())
