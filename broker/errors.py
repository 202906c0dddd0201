"""Everything the broker's side raises on purpose, besides `codec.PayloadError`.

BrokerError
├── NotConnectedError   nothing is lost: keep the message and send it again later
│   └── ConnectionLostError  it was on its way: count that, see `Publish.num_lost`
├── PublishError        this one message is refused, and would be refused again
├── TlsFilesError       a certificate or key cannot be read
├── EmbeddedBrokerError no broker could be started
└── TakenOverError      another client uses our client id: the service has to stop
"""


class BrokerError(Exception):
    """Root of the tree."""


class NotConnectedError(BrokerError):
    """There is no connection, or it ended before the broker acknowledged."""


class ConnectionLostError(NotConnectedError):
    """The connection ended after the message had left and before the broker acknowledged it."""


class PublishError(BrokerError):
    """The broker, or the size or topic it allows, refuses this message.

    Attributes:
        code: `too_large`, `bad_topic`, `refused`, or `unsendable` where the broker says nothing.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TlsFilesError(BrokerError):
    """A file named in `mqtt.tls` cannot be used."""


class EmbeddedBrokerError(BrokerError):
    """The broker for the demo did not start, or none is installed."""


class TakenOverError(BrokerError):
    """Another client connects with our client id, and each throws the other out.

    Attributes:
        client_id: The id in question.
    """

    def __init__(self, client_id: str, evidence: str) -> None:
        super().__init__(
            f"another client seems to use the MQTT client id {client_id!r} ({evidence}); "
            "give each instance its own mqtt.client_id"
        )
        self.client_id = client_id
