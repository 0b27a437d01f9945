"""What tests of keys at AWS share: credentials that are none, and boto3 without its pauses and without its slow start."""

import functools
from collections.abc import AsyncIterator

import botocore.session
import pytest
from botocore.retries.adaptive import ClientRateLimiter
from botocore.retries.standard import ExponentialBackoff

from infra.localnet.kms import KmsStub

_loader = functools.cache(botocore.session.create_loader)


def isolate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 find development credentials and nothing of this machine."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "development")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "development")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore repeat at once, and read its service descriptions once: its waiting is its own business."""
    monkeypatch.setattr(botocore.session, "create_loader", _loader)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0.0)
    monkeypatch.setattr(ClientRateLimiter, "on_sending_request", lambda self, request, **_: None)


@pytest.fixture
async def kms_stub() -> AsyncIterator[KmsStub]:
    """The strict local key service, with no key in it."""
    async with KmsStub() as stub:
        yield stub
