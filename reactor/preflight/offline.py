"""Start conditions that need no network and no state: the configuration, and the files and variables that it names.

`config check` asks them alone; `check` and `run` ask the same ones among all others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from reactor.chains.pocket import vault_address
from reactor.keys.uri import check_key_uri, is_local
from reactor.parts import bridge_of, try_store
from reactor.preflight import own
from reactor.preflight.results import CheckResult, failed, isolated, passed
from reactor.preflight.vault_order import MOST_TRIED_WHOLE, fitting_order
from reactor.settings import Settings

_URI: Final = "correct mongo.uri"
KEYS: Final = "check the key's URI and where it leads"

FIELDS: Final = {
    "vault": "pocket.multisig_public_keys",
    "database URI": "mongo.uri",
    "Ethereum key": "ethereum.key",
    "Pocket key": "pocket.key",
    "state.directory": "state.directory",
}
"""The setting that each check is about."""


def offline_checks(settings: Settings) -> list[Awaitable[list[CheckResult]]]:
    """What a start needs and the configuration alone tells: in `config check`, `check` and `run`."""
    return [
        isolated("vault", check_vault(settings), "check pocket.multisig_public_keys"),
        isolated("identity", check_identity(settings), "check the configuration"),
        isolated("database URI", check_uri(settings), _URI),
        isolated("state.directory", check_place(settings), "name a directory in state.directory"),
    ]


def key_checks(settings: Settings) -> list[Awaitable[list[CheckResult]]]:
    """What can be told of the keys without a network: that their URIs can lead to one, and whose those on this machine are.

    One that does not open (yet) is a warning: it may be made later, or lie elsewhere. One that is not configured is no fault:
    none is needed to observe. For `config check`; `check` and `run` open every key.
    """
    found = own.Own()
    ethereum, pocket = settings.ethereum.key, settings.pocket.key
    return [
        isolated("Ethereum key", _key("Ethereum key", ethereum, lambda: own.check_ethereum_key(settings, found)), KEYS),
        isolated("Pocket key", _key("Pocket key", pocket, lambda: own.check_pocket_key(settings, found)), KEYS),
    ]


async def _key(name: str, uri: str | None, opened: Callable[[], Awaitable[list[CheckResult]]]) -> list[CheckResult]:
    if uri is None:
        return []
    check_key_uri(uri)
    return await isolated(name, opened(), KEYS, "warning") if is_local(uri) else []


async def check_place(settings: Settings) -> list[CheckResult]:
    """Nothing that is no directory stands where the state is to lie; that nothing stands there yet is no fault."""
    directory = settings.state.directory
    first = next(one for one in (directory, *directory.parents) if one.exists())
    if first.is_dir():
        return []
    return [failed("state.directory", f"{first} is no directory", f"remove it, or name another place than {directory}")]


async def check_vault(settings: Settings) -> list[CheckResult]:
    """The vault's address is that of the configured keys in their order."""
    keys, vault = settings.pocket.multisig_public_keys, settings.pocket.vault_address
    derived = vault_address(keys)
    if derived == vault:
        return [passed("vault", f"{derived}, all of {len(keys)} keys sign")]
    # SECURITY: with another order or set of keys the vault could never pay, and deposits to it would be lost.
    detail = f"the keys make {derived}, configured is {vault}"
    order = fitting_order(keys, vault)
    if order is not None:
        places = ", ".join(str(place + 1) for place in order)
        remedy = f"put pocket.multisig_public_keys into the order in which the vault was made: the present entries {places}"
    elif len(keys) <= MOST_TRIED_WHOLE:
        remedy = "no order of these keys makes that vault: correct pocket.multisig_public_keys or pocket.vault_address"
    else:
        remedy = "put pocket.multisig_public_keys into the order in which the vault was made, or correct pocket.vault_address"
    return [failed("vault", detail, remedy)]


async def check_identity(settings: Settings) -> list[CheckResult]:
    """The identity hash, to be compared with the other operators' by eye."""
    return [passed("identity", bridge_of(settings).identity_hash())]


async def check_uri(settings: Settings) -> list[CheckResult]:
    """Every client of the database that a validator has can be made of the URI; what of it is not heeded is told."""
    uri = await try_store(settings)
    results = [failed("database URI", warning, "change that option if you can", "warning") for warning in uri.warnings]
    results += [failed("database URI", note, "nothing to do; the option may be removed", "info") for note in uri.notes]
    if uri.database and uri.database != settings.mongo.database:
        detail = f"it names another database than mongo.database ({settings.mongo.database}): only where the user is kept"
        results.append(failed("database URI", detail, "set mongo.database if the documents are to lie there", "info"))
    return results or [passed("database URI", "every option is heeded")]
