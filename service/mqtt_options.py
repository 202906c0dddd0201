"""The section `mqtt` of the settings as the options of a connection."""

from broker.options import ConnectionOptions, TlsOptions
from service.settings import MqttSettings, TlsSettings


def connection_options(
    mqtt: MqttSettings, client_id: str, state_topic: str | None = None
) -> ConnectionOptions:
    """Options of one connection.

    Args:
        mqtt: Where the broker is, and who we are.
        client_id: Of this connection.
        state_topic: Where it says birth and will, if it speaks for the service.
    """
    return ConnectionOptions(
        host=mqtt.host,
        port=mqtt.port,
        client_id=client_id,
        username=mqtt.username,
        password=mqtt.password.get_secret_value() if mqtt.password else None,
        protocol=mqtt.protocol,
        transport=mqtt.transport,
        websocket_path=mqtt.websocket_path,
        keepalive=mqtt.keepalive,
        session_expiry=mqtt.session_expiry,
        receive_maximum=mqtt.receive_maximum,
        max_inflight_bytes=mqtt.max_inflight_bytes,
        tls=tls_options(mqtt.tls),
        state_topic=state_topic,
    )


def tls_options(tls: TlsSettings) -> TlsOptions | None:
    """How to encrypt; None: not at all."""
    if not tls.enabled:
        return None
    return TlsOptions(tls.ca_file, tls.cert_file, tls.key_file, tls.insecure)
