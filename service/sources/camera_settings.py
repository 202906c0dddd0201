"""`<base>/<camera>/set/<setting>`: one setting of a camera as a plain value.

What Home Assistant's entities and `mosquitto_pub` can do. Nobody is answered: the retained
`settings` topic is the answer, and what is refused is named on `bridge/log`. The settings are
changed one after the other, so that the last value of each counts.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker.codec import MAX_JSON_BYTES, PayloadError, read_json
from broker.message import Message
from broker.options import Subscription
from broker.topics import Topics
from schemas.requests.cameras import CAMERA_SET, SETTINGS
from service.boundary import contained
from service.logs import Throttle
from service.operations.operations import OperationError, Operations

logger = logging.getLogger(__name__)

_MOST_WAITING = 200  # at 64 KiB each, 13 MB
# Each is a commit: at 5 ms, a tenth of the store's time. Fewer, and a full queue takes minutes.
_MOST_A_SECOND = 20.0
_MOST_NAME = 65  # characters; a longer name is refused like one of 65

#: Taken as they are, unless they are a JSON string.
_TEXTS = frozenset({"location", "prompt", "length", "webhook_url", "snapshot_url"})


@dataclass(frozen=True, slots=True)
class _Wanted:
    camera_id: str
    setting: str
    payload: bytes


class SettingTopics:
    """The source of changes, as far as the receiving connection is concerned.

    Args:
        topics: Ours.
        operations: Does what is asked for.
    """

    def __init__(self, topics: Topics, operations: Operations) -> None:
        self._topics = topics
        self._operations = operations
        self._waiting: asyncio.Queue[_Wanted] = asyncio.Queue()
        self._warnings = Throttle()

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """All settings of all cameras."""
        return (Subscription(self._topics.setting_filter),)

    def claims(self, topic: str) -> bool:
        """Whether it sets something."""
        return self._topics.setting_of(topic) is not None

    def read(self, message: Message) -> None:
        """Put a change down; one that was retained was ordered long ago."""
        named = self._topics.setting_of(message.topic)
        if message.retain or named is None:
            return
        camera_id, setting = (each[:_MOST_NAME] for each in named)
        if self._waiting.qsize() < _MOST_WAITING:
            payload = message.payload[: MAX_JSON_BYTES + 1]
            self._waiting.put_nowait(_Wanted(camera_id, setting, payload))
        elif self._warnings.allows("busy", message.arrived_monotonic):
            _refuse(camera_id, setting, "too many changes wait; set it again later")

    async def run(self) -> None:
        """Change what is wanted for ever."""
        while True:
            wanted = await self._waiting.get()
            with contained("a setting cannot be changed"):
                await self._change(wanted)
            await asyncio.sleep(1.0 / _MOST_A_SECOND)

    async def _change(self, wanted: _Wanted) -> None:
        try:
            if wanted.setting not in SETTINGS:  # `camera_id` is a field of the request, too
                raise OperationError("bad_request", f"must be one of {', '.join(SETTINGS)}")
            content = {
                "camera_id": wanted.camera_id,
                wanted.setting: read_value(wanted.setting, wanted.payload),
            }
            await self._operations.call(CAMERA_SET.name, content)
        except (OperationError, PayloadError) as error:
            _refuse(wanted.camera_id, wanted.setting, str(error))


def read_value(setting: str, payload: bytes) -> Any:
    """A plain value: text as it is, else JSON where it is JSON; None for nothing.

    `ON`, `12` and `short` stay texts: the setting's own type reads them.

    Raises:
        PayloadError: `payload_too_large`, or `bad_json`.
    """
    if len(payload) > MAX_JSON_BYTES:
        raise PayloadError("payload_too_large", f"at most {MAX_JSON_BYTES} bytes are accepted")
    try:
        text = payload.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise PayloadError("bad_json", f"is not UTF-8 at byte {error.start}") from error
    if text in {"", "null"}:
        return None
    is_json_text = len(text) > 1 and text[0] == text[-1] == '"'
    if not is_json_text and (setting in _TEXTS or text[0] not in "[{"):
        return text
    try:
        return read_json(text.encode())
    except PayloadError:
        if setting in _TEXTS:  # `"Yard" or "street"?` begins and ends like JSON
            return text
        raise


def _refuse(camera_id: str, setting: str, reason: str) -> None:
    logger.warning(
        "%s/set/%s: not changed: %s",
        camera_id,
        setting,
        reason,
        extra={"action": "setting_refused"},
    )
