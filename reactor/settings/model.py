"""The settings themselves: frozen, checked, one class per section."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict

from reactor.foreign import MASK, url_secrets
from reactor.settings import values as v
from reactor.settings.masking import mask_mongo_uri, mask_rpc_url
from reactor.settings.schedule import Schedule, parse_schedule, schedule_fault

SECRET: JsonDict = {"secret": True}
"""Marks a field that `…_FILE` may give and that is masked."""


class _Section(BaseModel):
    # Inputs are never quoted in errors: they may be secrets.
    # Defaults are checked too: the default floor is compared with the configured finality.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class MongoCollections(_Section):
    """Names of the collections: configuration, so that a frontend that reads other names is served unchanged."""

    mint: v.MongoName = Field("mint", description="deposits to be minted")
    invalid_mint: v.MongoName = Field("invalid_mint", description="deposits to be refunded")
    burn: v.MongoName = Field("burn", description="burns to be returned")
    minted: v.MongoName = Field("minted", description="Minted events seen")
    returned: v.MongoName = Field("returned", description="outgoing vault transfers seen")
    heartbeat: v.MongoName = Field("heartbeat", description="signed heartbeats of the validators")
    audit: v.MongoName = Field("audit", description="what operators did, who and why")

    @model_validator(mode="after")
    def _distinct(self) -> "MongoCollections":
        v.no_duplicates(tuple(getattr(self, name) for name in type(self).model_fields))
        return self


class MongoSettings(_Section):
    """The shared replica set."""

    uri: v.MongoUri = Field(description="connection string of the replica set", json_schema_extra=SECRET)
    database: v.MongoName = Field("bridge", description="database that all validators share")
    timeout_ms: v.Milliseconds = Field(10_000, description="time-out of one operation")
    collections: MongoCollections = Field(default_factory=MongoCollections, description="names of the collections")


def _agreement_of(value: int, endpoints: object) -> int:
    """SECURITY: an agreement that can never be reached would only be noticed when nothing is signed."""
    if isinstance(endpoints, tuple) and value > len(endpoints):
        raise v.refuse(
            "is {agreement}, but there are {endpoints} endpoints",
            "Lower agreement to at most {endpoints}, or add endpoints to rpc_urls",
            agreement=value,
            endpoints=len(endpoints),
        )
    return value


class EthereumSettings(_Section):
    """The Ethereum side."""

    rpc_urls: v.RpcUrls = Field(repr=False, description="endpoints, the preferred one first", json_schema_extra=SECRET)
    agreement: v.Count = Field(
        1, description="endpoints that must say the same of what a signature rests on; at most as many as there are"
    )
    requests_per_second: v.Count | None = Field(
        None, description="calls per second to one endpoint at most; by default 100, on this machine without limit"
    )
    chain_id: v.ChainNumber = Field(description="chain id that every endpoint must serve")
    wrapped_pocket_address: v.EthereumAddress = Field(description="the WrappedPocket token")
    mint_controller_address: v.EthereumAddress = Field(description="the MintController")
    start_block: v.Start = Field(description="first block of the bridge; part of its identity")
    burn_fee: Schedule = Field(
        description="fee kept from a burn, in upokt, by Ethereum block: one amount or [{from_block, amount}]"
    )
    finality: v.FinalityRule = Field("finalized", description="when a block is final: latest-<blocks>, safe, finalized")
    finality_floor: v.Depth = Field(12, description="blocks below the head that are never final, whatever a node says")
    rpc_timeout_ms: v.Milliseconds = Field(10_000, description="time-out of one call")
    poll_interval_ms: v.Milliseconds = Field(2_000, description="how often the head is asked for")
    max_window: v.Count = Field(2_000, description="blocks read in one window at most")
    validator_addresses: v.EthereumAddresses = Field(description="addresses that may be validators (the contract decides)")
    key: v.KeyUri | None = Field(None, description="URI of the secp256k1 key; not needed to observe", json_schema_extra=SECRET)
    key_passphrase: SecretStr | None = Field(
        None, min_length=1, description="passphrase of a keystore:// key", json_schema_extra=SECRET
    )

    @field_validator("agreement")
    @classmethod
    def _agreement(cls, value: int, info: ValidationInfo) -> int:
        return _agreement_of(value, info.data.get("rpc_urls"))

    @field_validator("mint_controller_address")
    @classmethod
    def _two_contracts(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("wrapped_pocket_address"):
            raise v.refuse("is the token's address", "Give the MintController's own address")
        return value

    @field_validator("burn_fee", mode="before")
    @classmethod
    def _burn_fee(cls, value: object, info: ValidationInfo) -> Schedule:
        return parse_schedule(value, info.data.get("start_block"), "from_block")

    @field_validator("finality_floor")
    @classmethod
    def _floor(cls, value: int, info: ValidationInfo) -> int:
        depth = v.finality_depth(info.data.get("finality", ""))
        # SECURITY: the floor is what a hurried change of `finality` must not undercut unnoticed.
        if depth is not None and depth < value:
            raise v.refuse(
                "is {floor}, but finality counts a block as final after {depth}",
                "Raise finality to latest-{floor}, or lower the floor on a development chain",
                floor=value,
                depth=depth,
            )
        return value


class PocketSettings(_Section):
    """The Pocket side."""

    generation: Literal["morse"] = Field("morse", description="which Pocket network: morse")
    rpc_urls: v.RpcUrls = Field(repr=False, description="endpoints, the preferred one first", json_schema_extra=SECRET)
    agreement: v.Count = Field(
        1, description="endpoints that must say the same of what a signature rests on; at most as many as there are"
    )
    requests_per_second: v.Count | None = Field(
        None, description="calls per second to one endpoint at most; by default 100, on this machine without limit"
    )
    chain_id: v.PocketChainId = Field(description="chain id that every endpoint must serve")
    start_height: v.Start = Field(description="first height of the bridge; part of its identity")
    confirmations: v.Count = Field(1, description="head - height at which a block is final")
    rpc_timeout_ms: v.Milliseconds = Field(10_000, description="time-out of one call")
    poll_interval_ms: v.Milliseconds = Field(5_000, description="how often the height is asked for")
    multisig_public_keys: v.PocketPublicKeys = Field(
        description="Ed25519 public keys of the vault, in vault order; part of the identity"
    )
    vault_address: v.PocketAddress = Field(description="the vault: the multisig address of those keys in that order")
    tx_fee: Schedule = Field(description="fee of a deposit, in upokt, by Pocket height: one amount or [{from_height, amount}]")
    max_mint: Schedule = Field(
        description="largest deposit that is minted, in upokt, by Pocket height: one amount or [{from_height, amount}]"
    )
    key: v.KeyUri | None = Field(None, description="URI of the Ed25519 key; not needed to observe", json_schema_extra=SECRET)
    key_passphrase: SecretStr | None = Field(
        None, min_length=1, description="passphrase of a keystore:// key", json_schema_extra=SECRET
    )

    @field_validator("agreement")
    @classmethod
    def _agreement(cls, value: int, info: ValidationInfo) -> int:
        return _agreement_of(value, info.data.get("rpc_urls"))

    @field_validator("tx_fee", "max_mint", mode="before")
    @classmethod
    def _schedules(cls, value: object, info: ValidationInfo) -> Schedule:
        return parse_schedule(value, info.data.get("start_height"), "from_height")

    @field_validator("max_mint")
    @classmethod
    def _above_the_fee(cls, value: Schedule, info: ValidationInfo) -> Schedule:
        fee = info.data.get("tx_fee")
        if not isinstance(fee, Schedule):
            return value
        for height in sorted({*value.heights(), *fee.heights()}):
            if value.at(height) <= fee.at(height):
                raise schedule_fault("is not above the fee from height {height} on", "from_height", height=height)
        return value


class StateSettings(_Section):
    """What is this validator's alone."""

    directory: Path = Field(description="folder of the ledger and the signing journal, on a durable disk")

    @field_validator("directory", mode="before")
    @classmethod
    def _directory(cls, value: object) -> Path:
        text = str(value).strip() if isinstance(value, str | Path) else ""
        if not text or "\0" in text:
            raise v.refuse("is not a path", "Give the folder of this validator's state")
        try:
            return Path(text).expanduser()
        except RuntimeError:
            raise v.refuse("begins with ~ and a name that is no user's", "Give an absolute path") from None


class LimitSettings(_Section):
    """What one direction may move without a person. Amounts are what left the other side, fees included."""

    single_transfer: v.Amount | None = Field(None, description="largest transfer that is signed at once, in upokt; off if absent")
    window_amount: v.Amount | None = Field(None, description="most that is signed within the window, in upokt; off if absent")
    window_s: v.LongSeconds = Field(86_400, description="length of the rolling window")
    delay_s: v.LongSeconds | None = Field(
        None, description="after so long a held transfer is signed all the same; if absent only an operator releases it"
    )

    @model_validator(mode="after")
    def _sensible(self) -> "LimitSettings":
        if self.single_transfer is None and self.window_amount is None:
            if self.delay_s is not None:
                raise v.refuse("delay_s delays nothing", "Set single_transfer or window_amount too, or remove delay_s")
        elif self.window_amount is not None and (self.single_transfer or 0) > self.window_amount:
            raise v.refuse(
                "single_transfer ({single}) is more than fits the window ({window})",
                "Lower single_transfer to at most window_amount, or raise window_amount",
                single=self.single_transfer,
                window=self.window_amount,
            )
        return self


class LimitsSettings(_Section):
    """Limits per direction; this validator's own, off by default."""

    mint: LimitSettings = Field(default_factory=LimitSettings, description="mints on Ethereum")
    payout: LimitSettings = Field(default_factory=LimitSettings, description="refunds and returns on Pocket")


class EngineSettings(_Section):
    """How hard the reactor works."""

    concurrency: v.Count = Field(256, description="documents handled at once")
    handling_timeout_s: v.Seconds = Field(60.0, description="time-out of one handling of one document")
    batch_size: v.Count = Field(500, description="writes in one bulk at most")
    sweep_interval_s: v.Seconds = Field(30.0, description="pause between two sweeps over the open documents")
    heartbeat_interval_s: v.Seconds = Field(30.0, description="pause between two heartbeats")
    stop_timeout_s: v.Seconds = Field(5.0, description="how long work under way may finish after SIGTERM")


class LogSettings(_Section):
    """The log on standard error."""

    level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is shown")
    format: Literal["human", "json"] = Field("human", description="human or json (one object per line)")

    @field_validator("level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value


class ValidatorSettings(_Section):
    """Who this validator is, for people."""

    name: v.Name | None = Field(None, description="name in heartbeats and logs; by default made from the key's place")


class Settings(_Section):
    """Everything that a validator is told."""

    mongo: MongoSettings
    ethereum: EthereumSettings
    pocket: PocketSettings
    state: StateSettings
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    validator: ValidatorSettings = Field(default_factory=ValidatorSettings)

    def identity(self) -> dict[str, object]:
        """Give the bridge's identity as plain JSON values: all that enters signed bytes or classification.

        Two validators whose identities differ never sign for each other. What is each validator's own choice
        (endpoints, finality, keys, names) is not in it.
        """
        return {
            "pocket_chain_id": self.pocket.chain_id,
            "vault_address": self.pocket.vault_address,
            "multisig_public_keys": list(self.pocket.multisig_public_keys),
            "pocket_start_height": str(self.pocket.start_height),
            "deposit_fee": self.pocket.tx_fee.canonical(),
            "maximum": self.pocket.max_mint.canonical(),
            "ethereum_chain_id": str(self.ethereum.chain_id),
            "wpokt_address": self.ethereum.wrapped_pocket_address,
            "mint_controller_address": self.ethereum.mint_controller_address,
            "ethereum_start_block": str(self.ethereum.start_block),
            "burn_fee": self.ethereum.burn_fee.canonical(),
        }

    def identity_hash(self) -> str:
        """Give the SHA-256 (hex) of the identity as JSON with sorted keys and no spaces."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def masked(self) -> dict[str, object]:
        """Give the settings as plain values for people, without secrets: TOML shape, absent ones left out."""
        return {name: _masked(getattr(self, name)) for name in type(self).model_fields}

    def secrets(self) -> tuple[str, ...]:
        """Give every text that must not be shown anywhere, for `reactor.foreign`."""
        found = list(url_secrets(self.mongo.uri.get_secret_value()))
        for section in (self.ethereum, self.pocket):
            if section.key_passphrase is not None:
                found.append(section.key_passphrase.get_secret_value())
            for url in section.rpc_urls:
                found.extend(url_secrets(url))
        return tuple(dict.fromkeys(found))


def _masked(value: object) -> object:
    if not isinstance(value, _Section):
        return _plain(value)
    shown: dict[str, object] = {}
    for name in type(value).model_fields:
        item = getattr(value, name)
        if item is None:
            continue
        if name == "rpc_urls":
            shown[name] = [mask_rpc_url(url) for url in item]
        elif isinstance(value, MongoSettings) and name == "uri":
            shown[name] = mask_mongo_uri(item.get_secret_value())
        else:
            shown[name] = _masked(item)
    return shown


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Schedule):
        return value.canonical()
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
