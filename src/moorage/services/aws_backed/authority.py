"""The certificate authority of one installation: signs what ACM "issues" here, with a root that the user can install.

The root and its key are made at first use and kept in the data directory, readable by their owner only.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moorage.services.aws_backed.private_files import write_private

ROOT_FILE = "root.pem"
KEY_FILE = "root.key"
ROOT_DAYS = 3650
LEAF_DAYS = 397
"""As long as clients accept."""


class LocalAuthority:
    """`directory`: of its own, below the data directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root_file = directory / ROOT_FILE
        self._loaded: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None

    def issue(self, names: Sequence[str], now: float) -> tuple[bytes, bytes]:
        """Chain (the certificate, then the root) and private key in PEM, for these host names and addresses; `now` in
        epoch seconds."""
        root, root_key = self._root(now)
        key = ec.generate_private_key(ec.SECP256R1())
        begin = datetime.datetime.fromtimestamp(now, datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
            .issuer_name(root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - datetime.timedelta(hours=1))
            .not_valid_after(begin + datetime.timedelta(days=LEAF_DAYS))
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        made = builder.sign(root_key, hashes.SHA256())
        return _pem(made) + _pem(root), _key_pem(key)

    def _root(self, now: float) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        if self._loaded is None:
            self._loaded = self._read() or self._make(now)
        return self._loaded

    def _read(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
        try:
            certificate = x509.load_pem_x509_certificate(self.root_file.read_bytes())
            key = serialization.load_pem_private_key((self.directory / KEY_FILE).read_bytes(), None)
        except FileNotFoundError:
            return None
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return certificate, key

    def _make(self, now: float) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        begin = datetime.datetime.fromtimestamp(now, datetime.UTC)
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Moorage"),
                x509.NameAttribute(
                    NameOID.COMMON_NAME, f"Moorage local authority {x509.random_serial_number():x}"[:40]
                ),
            ]
        )
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - datetime.timedelta(hours=1))
            .not_valid_after(begin + datetime.timedelta(days=ROOT_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(self.directory / KEY_FILE, _key_pem(key))
        write_private(self.root_file, _pem(certificate))
        return certificate, key


def ends_at(chain: bytes) -> datetime.datetime:
    """When the first certificate of a PEM chain ends."""
    return x509.load_pem_x509_certificate(chain).not_valid_after_utc


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
