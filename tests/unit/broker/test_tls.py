"""How a connection is encrypted; the handshake itself is tested with a real broker."""

import ssl
from pathlib import Path

import pytest

from broker.errors import TlsFilesError
from broker.options import TlsOptions
from broker.tls import tls_context


def test_no_options_are_no_encryption() -> None:
    assert tls_context(None) is None


@pytest.mark.parametrize("insecure", [False, True])
def test_certificates_are_required_and_old_protocols_are_not_spoken(insecure: bool) -> None:
    context = tls_context(TlsOptions(insecure=insecure))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is not insecure


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_file_that_cannot_be_used_is_named_by_its_setting(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)
    for options in (TlsOptions(ca_file=file), TlsOptions(cert_file=file)):
        with pytest.raises(TlsFilesError, match=r"^mqtt\.tls: "):
            tls_context(options)
