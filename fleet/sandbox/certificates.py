"""The sandbox's own certificate authority: every TLS endpoint of a sandbox is verified against it.

Keys are ECDSA P-256 and stay in the sandbox's folder (0600). Nothing here knows what the certificates are for.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=3650)
LOOPBACK_NAMES = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The paths of a certificate and its private key."""

    certificate: Path
    key: Path


def write_private(path: Path, data: bytes | str) -> Path:
    """Return the path after writing the data to it whole or not at all, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
    return partial.replace(path)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder: `ca.crt` and `ca.key`, made on first use."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """Return the path of the authority's certificate, the one that clients trust."""
        return self.folder / "ca.crt"

    def issue(
        self, name: str, hosts: Sequence[str] = LOOPBACK_NAMES, lifetime: timedelta = LIFETIME
    ) -> KeyPair:
        """Return a key pair for the hosts, usable on both ends of a connection; made when it is not there yet."""
        pair = KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if not (pair.certificate.exists() and pair.key.exists()):
            authority, authority_key = self._load()
            key = ec.generate_private_key(ec.SECP256R1())
            usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
            certificate = (
                _builder(name, authority.subject, key.public_key(), lifetime)
                .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
                .add_extension(usages, critical=False)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .sign(authority_key, hashes.SHA256())
            )
            write_private(pair.key, _private_pem(key))
            write_private(pair.certificate, certificate.public_bytes(Encoding.PEM))
        return pair

    def signing_key(self, name: str) -> tuple[Path, Path]:
        """Return the paths of a private key and its public key that sign tokens rather than connections."""
        private, public = self.folder / f"{name}.key", self.folder / f"{name}.pub"
        if not (private.exists() and public.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(private, _private_pem(key))
            write_private(
                public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            )
        return private, public

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key_path = self.folder / "ca.key"
        if not (self.certificate.exists() and key_path.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("fleet sandbox")
            usage = x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            )
            certificate = (
                _builder("fleet sandbox", name, key.public_key(), LIFETIME)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(usage, critical=True)
                .sign(key, hashes.SHA256())
            )
            write_private(key_path, _private_pem(key))
            write_private(self.certificate, certificate.public_bytes(Encoding.PEM))
        loaded = load_pem_private_key(key_path.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return certificate, cast("ec.EllipticCurvePrivateKey", loaded)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    # Back-dated, so that a clock that is a little behind accepts it; a negative lifetime gives an expired one.
    start = datetime.now(UTC) - timedelta(hours=1) + min(lifetime, timedelta())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(datetime.now(UTC) + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
