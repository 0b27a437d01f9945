"""The log's first lines: which software runs, with which configuration, for which bridge and as whom. Only `run` and `validator`
use them.
"""

from reactor.commit import software_commit
from reactor.documents.bridge import Bridge
from reactor.handlers.context import Me
from reactor.handlers.heartbeat import Instance
from reactor.parts import software_version


def asking_line(source: str) -> str:
    """Before anything is asked, which may take minutes where a dependency is away. `source`: as below."""
    return f"{_software(software_version())}, configuration {source or 'not from a file'}: asking for all that a start needs"


def first_line(bridge: Bridge, me: Me, instance: Instance, *, observe: bool, source: str) -> str:
    """`source`: the configuration file; empty where there is none."""
    who = instance.validator_id + (", observing" if observe else "")
    pocket = f"vault {bridge.vault} on Pocket {bridge.pocket_chain_id}"
    ethereum = f"token {bridge.wpokt} on Ethereum {bridge.ethereum_chain_id}"
    keys = f"Ethereum address {me.address or 'none'}, Pocket key {me.pocket_key or 'none'}"
    software = _software(instance.version)
    return (
        f"{software}: validator {who} of wPOKT bridge {bridge.identity_hash()[:12]} ({pocket}, {ethereum}), {keys}, "
        f"configuration {source or 'not from a file'}"
    )


def _software(version: str) -> str:
    commit = software_commit()
    return f"bridge-reactor {version}" + (f" (commit {commit})" if commit else "")
