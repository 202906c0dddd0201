"""A certificate that somebody vouches for: the tests."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Certificate:
    """Both sides of TLS.

    Attributes:
        server: Shows the certificate.
        client: Trusts it and nothing else.
        ca_file: What a client has to trust.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext
    ca_file: Path


def make_certificate(folder: Path, *names: str) -> Certificate:
    """For these host names; skips the test where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem"
    alternatives = ",".join(f"DNS:{name}" for name in names)
    subprocess.run(
        [
            *(openssl, "req", *options.split(), "-subj", f"/CN={names[0]}"),
            *("-addext", f"subjectAltName={alternatives}"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    ca_file = folder / "cert.pem"
    return Certificate(server, ssl.create_default_context(cafile=str(ca_file)), ca_file)
