"""How a connection to the broker is encrypted: the same for the service and for its commands."""

import ssl

from broker.errors import TlsFilesError
from broker.options import TlsOptions


def tls_context(options: TlsOptions | None) -> ssl.SSLContext | None:
    """Read the certificates; None: no encryption.

    Raises:
        TlsFilesError: A certificate or key cannot be read.
    """
    if options is None:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file is not None:
            context.load_cert_chain(options.cert_file, options.key_file)
    except (OSError, ValueError) as error:
        raise TlsFilesError(f"mqtt.tls: a certificate or key cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = not options.insecure
    return context
