"""A certificate authority of a company's own: nobody believes it who is not told to."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ONE_DAY = datetime.timedelta(days=1)


class PrivateAuthority:
    """Signs certificates. `bundle` is the file by which it is believed, `directory` one that holds nothing else."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "authority"
        self.directory.mkdir()
        self.bundle = self.directory / "company.crt"
        self._secrets = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"Company {x509.random_serial_number()}")
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(
                self._name,
                self._name,
                self._key.public_key(),
                x509.random_serial_number(),
                now - ONE_DAY,
                now + ONE_DAY,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.bundle.write_bytes(certificate.public_bytes(Encoding.PEM))

    def server_context(self, *names: str, age: datetime.timedelta = datetime.timedelta()) -> ssl.SSLContext:
        """What a server of these names and addresses speaks TLS with, by a certificate that is so old."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(*names, age=age))
        return context

    def certificate(self, *names: str, age: datetime.timedelta = datetime.timedelta()) -> Path:
        """A file with such a certificate and its key, for a server that is a process of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        begins = datetime.datetime.now(datetime.UTC) - ONE_DAY - age
        certificate = (
            x509.CertificateBuilder(
                self._name, _name(names[0]), key.public_key(), x509.random_serial_number(), begins, begins + 2 * ONE_DAY
            )
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._secrets / f"{names[0]}-{certificate.serial_number}.pem"
        key_text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key_text + certificate.public_bytes(Encoding.PEM))
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
