"""Everything the service raises on purpose.

ServiceError
├── ConfigurationError   the operator's file or environment: the command ends with 2
├── FrameError           the sender's fault: answered as `rejected`, never retried
├── EngineError          this attempt failed: retried alone, up to the job's max_attempts
│   └── EngineLostError  its process died: a new one is started first
├── StoreError           the store refused: nothing is acknowledged until it works again
│   └── StoreFullError   no room on the disk
├── InstanceInUseError   another service has our name in the same database: ours has to end
├── UrlRefusedError      an address that may not be reached
├── HostError            one of the operator's own hosts gave no answer that can be used
│   └── AnswerTooLargeError
├── FrigateError         Frigate did not do what it was asked to; tried again
│   ├── FrigateAccessError   it wants another account, or a higher role
│   └── FrigateUnknownError  it has no such object or picture
└── DeliveryError        a receiver failed: retried with backoff, then dead-lettered
    └── ReceiverGoneError  never wants it again: not retried

What is raised by mistake is the matter of `service.boundary`.
"""

#: All that is said outside of an error nobody foresaw: its own text may hold a secret.
UNEXPECTED = "An unexpected error; the log has it"


class ServiceError(Exception):
    """Root of the tree.

    Attributes:
        code: For programs; stable.
    """

    code = "internal"


class ConfigurationError(ServiceError):
    """A setting is wrong; the message names its path."""

    code = "configuration"


class FrameError(ServiceError):
    """The frame cannot be accepted as it is.

    Args:
        code: For programs, e.g. `not_an_image`.
        message: What is wrong and what would be right.
    """

    code = "bad_frame"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EngineError(ServiceError):
    """An attempt failed in the engine."""

    code = "engine"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EngineLostError(EngineError):
    """The engine's process ended or stopped answering."""

    def __init__(self, message: str) -> None:
        super().__init__("engine_lost", message)


class StoreError(ServiceError):
    """The database refused."""

    code = "store"


class StoreFullError(StoreError):
    """The database has no room left."""

    code = "store_full"


class InstanceInUseError(ServiceError):
    """Two services with one name would send and end each other's jobs; the newcomer stays."""

    code = "instance_in_use"

    def __init__(self, instance: str) -> None:
        super().__init__(
            f"another service has started as {instance!r} on the same database; "
            "give each a data_dir of its own"
        )


class UrlRefusedError(ServiceError):
    """A URL that the operator has not allowed, or an address behind one."""

    code = "url_refused"


class HostError(ServiceError):
    """A host of the operator's gave no answer in time, or none within the limits.

    Its text has the origin of the URL and nothing else of it.
    """

    code = "host"


class AnswerTooLargeError(HostError):
    """It began to send more bytes than were asked for."""


class FrigateError(ServiceError):
    """Frigate did not do what it was asked to; where it says nothing it is a `HostError`."""

    code = "frigate"


class FrigateAccessError(FrigateError):
    """Frigate does not let this account in, or not that far."""


class FrigateUnknownError(FrigateError):
    """Frigate has no such object or picture: not yet, or not any more."""


class DeliveryError(ServiceError):
    """A webhook receiver did not take the message.

    Attributes:
        retry_after: Seconds the receiver asked for, if it did.
    """

    code = "delivery"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ReceiverGoneError(DeliveryError):
    """The receiver answered that it will never take it."""

    code = "receiver_gone"
