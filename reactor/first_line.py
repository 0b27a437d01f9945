"""The log's first line: which software runs, with which configuration, for which bridge and as whom. Only `validator` uses it."""

from reactor.commit import software_commit
from reactor.documents.bridge import Bridge
from reactor.handlers.context import Me
from reactor.handlers.heartbeat import Instance


def first_line(bridge: Bridge, me: Me, instance: Instance, *, observe: bool, source: str) -> str:
    """`source`: the configuration file; empty where there is none."""
    commit = software_commit()
    software = f"bridge-reactor {instance.version}" + (f" (commit {commit})" if commit else "")
    who = instance.validator_id + (", observing" if observe else "")
    pocket = f"vault {bridge.vault} on Pocket {bridge.pocket_chain_id}"
    ethereum = f"token {bridge.wpokt} on Ethereum {bridge.ethereum_chain_id}"
    keys = f"Ethereum address {me.address or 'none'}, Pocket key {me.pocket_key or 'none'}"
    return (
        f"{software}: validator {who} of wPOKT bridge {bridge.identity_hash()[:12]} ({pocket}, {ethereum}), {keys}, "
        f"configuration {source or 'not from a file'}"
    )
