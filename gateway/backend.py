"""What the gateway asks of the service: frames and operations in, documents out.

`service.web.backend` is the one implementation. Whatever is refused is a `Problem`, with the code
and the sentence that MQTT would give.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from schemas.readings import Readings
from schemas.result import ResultDocument
from schemas.status import StatusDocument

#: Told of each further piece of the answer's text while it is generated.
OnText = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture and what is said with it, as a request brought them; the service checks both."""

    fields: Mapping[str, Any]  #: of a `MotionFrame`; without `frame_data` where `image` is set
    origin: str  #: method and path, for a dead letter
    image: bytes | None = field(default=None, repr=False)  #: JPEG, PNG, WebP, or base64 of one

    @property
    def num_bytes(self) -> int:
        """Of its picture, as it came; what is said to be one may be anything still."""
        said = self.fields.get("frame_data") if self.image is None else self.image
        return len(said) if isinstance(said, str | bytes) else 0


class Backend(Protocol):
    """The service, as the gateway knows it."""

    async def call(self, operation: str, content: dict[str, Any]) -> BaseModel:
        """Do an operation of `schemas.requests.table`.

        Args:
            operation: Its name, e.g. `job/get`.
            content: The request's fields; taken out of the dictionary.

        Returns:
            The operation's answer.

        Raises:
            Problem: It cannot be done.
        """

    def wait_s(self, priority: str | None = None) -> float | None:
        """Seconds until a picture that came now would be answered; None: not known.

        Args:
            priority: Its class, by any of its names; None: what callers have who say none.

        Raises:
            Problem: `model_failed`: no model works, and none is being loaded.
        """

    @property
    def obstacle(self) -> str | None:
        """Why nothing that waits is answered now, in words; None: it is."""

    async def submit(self, frame: Frame) -> StatusDocument:
        """Let a frame become a job like any other, and say where it stands.

        Returns:
            Once it is committed and has its place: its `queued` status, or the end it met at once.

        Raises:
            Problem: It was rejected; the camera's status topic and a dead letter say so too.
        """

    async def wait_for_end(self, camera_id: str, job_id: str, timeout_s: float) -> None:
        """Return once a job has ended, at the latest after `timeout_s` seconds.

        Raises:
            Problem: `busy`: too many wait already.
        """

    async def ask(
        self, frame: Frame, timeout_s: float, on_text: OnText | None = None
    ) -> ResultDocument:
        """Let a frame become a job that no rule spares a caption, and wait for its end.

        Cancelling the call (who asked has hung up) cancels the job, unless it was there before.

        Args:
            frame: Its `tasks` are what is asked; priority `high` unless it says another.
            timeout_s: Then the job is cancelled, and the problem is `timeout`.
            on_text: Hears the text of the result's caption while it is generated: pieces that
                together are its beginning, unless the job ran again and says something else.

        Raises:
            Problem: There is no result, and why.
        """

    async def readings(self) -> Readings:
        """Everything that is measured, as it is now."""
