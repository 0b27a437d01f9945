"""Signers chosen by URI: `env://`, `file://`, `keystore://`, `awskms://` and `awssecret://` behind one protocol.

>>> signer = await open_signer("keystore:///etc/reactor/ethereum.json", "secp256k1", passphrase=passphrase)
>>> signature = await signer.sign(digest, "request")
>>> signer.stats.total.signed
1

Everything that can go wrong is a `KeyProblem`, which never holds a key.
"""

from reactor.keys.create import NewKey, create_key
from reactor.keys.probe import Probe, probe
from reactor.keys.problem import KeyProblem
from reactor.keys.signer import KeyDescription, Scheme, Signer
from reactor.keys.stats import Purpose, SignerStats, Tally
from reactor.keys.uri import open_signer

__all__ = [
    "KeyDescription",
    "KeyProblem",
    "NewKey",
    "Probe",
    "Purpose",
    "Scheme",
    "Signer",
    "SignerStats",
    "Tally",
    "create_key",
    "open_signer",
    "probe",
]
