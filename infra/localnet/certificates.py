"""Certificates for development and tests: an authority of our own, servers on the loopback interface, clients."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.localnet.ports import HOST

_LIFE = timedelta(days=2)
"""Short: nothing that is made here is meant to last."""
_EARLY = timedelta(hours=1)


class Authority:
    """A certificate authority in a folder; `ca` is the file that its clients and servers trust."""

    def __init__(self, directory: Path, name: str = "development authority") -> None:
        """Make key and certificate of the authority; its key is never written."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._begin(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str = "server") -> Path:
        """Key and certificate of a server on this machine, in one file."""
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
        # A client whose organisation equals the server's would pass for a member of the replica set.
        return self._issue(name, "servers", names, ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

    def client(self, name: str, unit: str = "validators") -> Path:
        """Key and certificate of a client, in one file; `subject` says what MongoDB calls it."""
        return self._issue(name, unit, None, ExtendedKeyUsageOID.CLIENT_AUTH)

    @staticmethod
    def subject(name: str, unit: str = "validators") -> str:
        """The subject of `client(name, unit)` as RFC 2253 writes it: the name of its user in MongoDB."""
        return _subject(name, unit).rfc4514_string()

    def _issue(self, name: str, unit: str, names: x509.SubjectAlternativeName | None, *usage: x509.ObjectIdentifier) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._begin(_subject(name, unit), key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        file = self._directory / f"{unit}-{name}.pem"
        file.touch(mode=0o600)
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        return file

    def _begin(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLY)
            .not_valid_after(now + _LIFE)
        )


def _subject(name: str, unit: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, "bridge"), (NameOID.ORGANIZATIONAL_UNIT_NAME, unit), (NameOID.COMMON_NAME, name))
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])
