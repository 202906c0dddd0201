"""Why there is no connection to the broker, in one line that names the setting to change."""

import socket
import ssl

import aiomqtt

from service.errors import ServiceError
from service.settings import MqttSettings

_REFUSED_VERSION = {1, 132}  # MQTT 3.1.1, MQTT 5
_REFUSED_ACCOUNT = {4, 5, 134, 135}


class BrokerError(ServiceError):
    """The broker cannot be reached, refuses, or went away.

    Attributes:
        may_be_version: Whether another version of MQTT may do better.
    """

    code = "broker"

    def __init__(self, message: str, *, may_be_version: bool = False) -> None:
        super().__init__(message)
        self.may_be_version = may_be_version


class PublishRefusedError(aiomqtt.MqttCodeError):
    """The broker acknowledged a publish, and refused it; only MQTT 5 says so."""

    def __init__(self, rc: object, topic: str) -> None:
        super().__init__(rc)  # type: ignore[arg-type]  # a ReasonCode, which is paho's
        self.topic = topic


class HangUpError(aiomqtt.MqttError):
    """The broker ended the connection before it answered to CONNECT."""


def broker_error(mqtt: MqttSettings, error: aiomqtt.MqttError) -> BrokerError:
    """The error of a connection, as it is told."""
    code = getattr(getattr(error, "rc", None), "value", getattr(error, "rc", None))
    cause = error.__context__  # what the system said; aiomqtt keeps its text only
    said = _advice(mqtt, error, code, cause)
    is_unanswered = isinstance(error, HangUpError) or not (code or isinstance(cause, OSError))
    may_be_version = code in _REFUSED_VERSION or is_unanswered
    return BrokerError(f"broker {mqtt.host}:{mqtt.port}: {said}", may_be_version=may_be_version)


def _advice(
    mqtt: MqttSettings, error: aiomqtt.MqttError, code: int | None, cause: BaseException | None
) -> str:
    match error:
        case PublishRefusedError():
            account = f"account {mqtt.username!r}" if mqtt.username else "a client without account"
            return f"{error}: {account} may not publish to {error.topic}, see the broker's rules"
        case HangUpError() if not mqtt.tls.enabled:
            return f"{error}; if it wants TLS, set mqtt.tls.enabled; else check mqtt.port"
        case aiomqtt.MqttCodeError() if code in _REFUSED_ACCOUNT:
            return f"{error}; check mqtt.username and mqtt.password"
        case aiomqtt.MqttCodeError():
            return str(error)
    text = _without_number(error, cause)
    match cause:
        case socket.gaierror():
            return f"{text}; is mqtt.host right?"
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not accepted: {cause.verify_message.strip()}; check "
                "mqtt.tls.ca_file and mqtt.host"
            )
        case ssl.SSLError() | ConnectionResetError() if mqtt.tls.enabled:
            return f"no TLS there: {error}; check mqtt.port and mqtt.tls.enabled"
    is_silent = isinstance(cause, ConnectionRefusedError | TimeoutError)
    if mqtt.transport == "websockets" and not is_silent:
        return f"{text}; check mqtt.port, mqtt.transport and mqtt.websocket_path"
    return f"{text}; is it running, and are mqtt.host and mqtt.port right?"


def _without_number(error: aiomqtt.MqttError, cause: BaseException | None) -> str:
    """What the system said, without `[Errno 111]`, which tells users nothing."""
    if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
        return cause.strerror
    return str(error)
