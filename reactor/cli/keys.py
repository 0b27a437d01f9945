"""`keys new|show`: key files and what their public halves are."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli.common import ConfigOption, JsonOption, Problem, print_json, read_settings, say, warn

if TYPE_CHECKING:
    from reactor.keys import KeyDescription, Scheme
    from reactor.settings import Settings

app = typer.Typer(help="Keys of this validator.", no_args_is_help=True)


class Side(StrEnum):
    """Which chain a key is for."""

    ETHEREUM = "ethereum"
    POCKET = "pocket"


class Kind(StrEnum):
    """How a key is kept."""

    KEYSTORE = "keystore"
    FILE = "file"


SideArgument = Annotated[Side, typer.Argument(help="Which chain the key is for.")]
PathArgument = Annotated[Path, typer.Argument(help="The new file; an existing one is never overwritten.")]
KindOption = Annotated[
    Kind, typer.Option("--kind", help="keystore: encrypted; file: plain hex, for development and mounted secrets.")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File that holds the passphrase; else it is asked for.", show_default=False),
]


@app.command("new")
def new(
    side: SideArgument,
    path: PathArgument,
    kind: KindOption = Kind.KEYSTORE,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new key and say what the configuration wants."""
    from reactor.keys import create_key

    passphrase = _passphrase(passphrase_file) if kind is Kind.KEYSTORE else None
    key = create_key(_scheme(side), path, kind.value, passphrase=passphrase)
    description = key.description
    if as_json:
        print_json({"uri": key.uri, "address": description.address, "public_key": description.public_key})
        return
    say(f"uri         {key.uri}")
    say(f"address     {description.address}")
    say(f"public key  {description.public_key}")
    if kind is Kind.FILE:
        warn("the key lies unencrypted in that file (mode 0600)")


@app.command("show")
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show addresses and public keys of the configured keys, and that they sign; never the keys."""
    settings = read_settings(config)
    found = asyncio.run(_probes(settings))
    if as_json:
        print_json({side: _plain(*shown) if shown else None for side, shown in found.items()})
        return
    for side, shown in found.items():
        if shown is None:
            say(f"{side:<9} none is configured")
            continue
        one, seconds = shown
        say(f"{side:<9} {one.source}")
        say(f"{'':<9} address     {one.address}")
        say(f"{'':<9} public key  {one.public_key}")
        say(f"{'':<9} it signs, in {seconds * 1000:.0f} ms")


async def _probes(settings: Settings) -> dict[str, tuple[KeyDescription, float] | None]:
    """Each key, and the seconds that one signature over a worthless text took."""
    from reactor.keys import probe
    from reactor.parts import open_ethereum_key, open_pocket_key

    found: dict[str, tuple[KeyDescription, float] | None] = {}
    for side, opening in (("ethereum", open_ethereum_key), ("pocket", open_pocket_key)):
        signer = await opening(settings)
        found[side] = None
        if signer is not None:
            try:
                found[side] = (signer.describe(), (await probe(signer)).seconds)
            finally:
                await signer.close()
    return found


def _plain(one: KeyDescription, seconds: float) -> dict[str, object]:
    shown = {"source": one.source, "scheme": one.scheme, "address": one.address, "public_key": one.public_key}
    return {**shown, "signs_in_ms": round(seconds * 1000, 1)}


def _scheme(side: Side) -> Scheme:
    return "secp256k1" if side is Side.ETHEREUM else "ed25519"


def _passphrase(file: Path | None) -> str:
    """From a file, or asked for twice on a terminal. Never an argument: other users see those."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise Problem(f"{file} cannot be read as text", "check the path and its permissions") from None
        if not text:
            raise Problem(f"{file} is empty", "write the passphrase into it")
        return text
    if not sys.stdin.isatty():
        raise Problem("no passphrase", "give --passphrase-file, or run it on a terminal")
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True))
