"""What the topics say, for those who listen over HTTP: said here also while the broker is away.

What may be lost is heard from the publisher, what may not from the outbox, when it is committed;
both have written it as JSON already, and that is passed on as it is. What is kept of each camera
is what a reader needs at its beginning, bounded by the cameras that are known.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import BaseModel

from broker.codec import encode
from broker.handover import Publish
from broker.publisher import Publisher
from broker.topics import Topics
from gateway.news import News, Said
from schemas.batch import BatchProgress
from schemas.job import JobStatus, job_key
from schemas.outbox import Channel, OutboxMessage
from schemas.status import (
    BridgeInfo,
    Health,
    LogDocument,
    Metrics,
    Stats,
    StatusDocument,
)
from service.boundary import contained
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.documents import Documents
from service.settings import without_secrets
from service.store.outbox import Outbox
from service.store.store import Store

_BRIDGE = {
    BridgeInfo: "info",
    Stats: "stats",
    Health: "health",
    Metrics: "metrics",
    LogDocument: "log",
}
_MOST_WORKING = 256  # more than any engine has at once
_MOST_PICTURES = 8  # of a camera, by their version: what a slow page may still ask for
_RELOAD_PAUSE_S = 1.0


@dataclass(slots=True)
class _Newest:
    """What is known of a camera, as JSON."""

    result: bytes = b"null"
    status: bytes = b"null"
    image: str | None = None  #: version of the result's picture
    result_key: str | None = None  #: its job
    frame_key: str | None = None  #: job of the newest frame
    pictures: dict[str, str] = field(default_factory=dict)  #: jobs by version of their picture


class NewsFeed:
    """Tells `News`, and says how things stand.

    Args:
        topics: Of what is heard.
        cameras: Those that are known.
        store: Has captions of before the start.
        clock: For times of arrival.

    Attributes:
        news: Where readers listen.
    """

    def __init__(self, topics: Topics, cameras: Cameras, store: Store, clock: Clock) -> None:
        self.news = News(self)
        self._prefix = f"{topics.base}/"
        self._documents = Documents(topics)
        self._cameras = cameras
        self._store = store
        self._clock = clock
        self._bridge: dict[str, bytes] = {}
        self._newest: dict[str, _Newest] = {}
        self._settings: dict[str, bytes] = {}  # as they were said last
        self._working: dict[str, bytes] = {}  # statuses by job key
        self._missed = asyncio.Event()

    def follow(self, publisher: Publisher, outbox: Outbox, cameras: Cameras) -> None:
        """Hear all that is said from now on."""
        publisher.subscribe(self.heard)
        outbox.subscribe(Channel.MQTT, self.committed)
        cameras.subscribe(self.camera_changed)

    async def load(self) -> None:
        """Know what was said before the start.

        Raises:
            StoreError: It cannot be read.
        """
        for camera in self._cameras.all():
            self._settings[camera.camera_id] = encode(without_secrets(camera.settings))
        before = {camera_id: self._key_of(camera_id) for camera_id in self._settings}
        for camera_id, document in (await self._store.newest_results(before)).items():
            if camera_id in self._cameras and self._key_of(camera_id) == before[camera_id]:
                key = job_key(camera_id, document.job_id)
                self._take_result(camera_id, key, encode(document), is_newest=True)

    def _key_of(self, camera_id: str) -> str | None:
        """The job of the newest result."""
        newest = self._newest.get(camera_id)
        return None if newest is None else newest.result_key

    async def run(self) -> None:
        """Say all anew, for ever, when something has been committed of which nobody heard."""
        while True:
            await self._missed.wait()
            await asyncio.sleep(_RELOAD_PAUSE_S)
            self._missed.clear()
            await self.load()
            self._working.clear()
            self.news.tell_state()

    # -- what is heard ---------------------------------------------------------------------------

    def heard(self, document: BaseModel, message: Publish) -> None:
        """A document that may be lost is published."""
        with contained("an event cannot be told"):
            if isinstance(document, StatusDocument):
                self._status(document, message.payload)
            elif isinstance(document, BatchProgress):
                self._tell("batch", message.payload, batch_id=document.batch_id)
            elif (kind := _BRIDGE.get(type(document))) is not None:
                self._bridge[kind] = message.payload
                self._tell(kind, message.payload)

    def committed(self, rows: Sequence[OutboxMessage]) -> None:
        """What may not be lost has been committed; nothing: perhaps more than was told."""
        if not rows:
            self._missed.set()
        last = {row.job_key: row for row in rows if self._name_of(row) in {"status", "caption"}}
        for row in rows:
            with contained("an event cannot be told"):
                self._committed(row, is_last=last.get(row.job_key) is row)

    def camera_changed(self, camera_id: str) -> None:
        """A camera is known now, has other settings, or is forgotten."""
        camera = self._cameras.get(camera_id)
        before = self._settings.get(camera_id)
        if camera is None:
            self._settings.pop(camera_id, None)
            self._newest.pop(camera_id, None)
            said: dict[str, object] = {"camera_id": camera_id, "action": "forgotten"}
            self._tell("camera", _json(said), camera_id=camera_id)
            return
        self._settings[camera_id] = settings = encode(without_secrets(camera.settings))
        if before is None:
            entry = b'{"action":"added",' + self._entry(camera_id)[1:]
            self._tell("camera", entry, camera_id=camera_id)
        elif settings != before:
            data = _joined({"camera_id": _json(camera_id), "settings": settings})
            self._tell("settings", data, camera_id=camera_id)

    def _status(self, document: StatusDocument, payload: bytes) -> None:
        """`queued` or `processing`; how it ends is heard from the outbox."""
        camera_id, job_id = document.camera_id, document.job_id
        if job_id is None:
            return
        key = job_key(camera_id, job_id)
        if document.status is JobStatus.PROCESSING:
            self._working[key] = payload
            if len(self._working) > _MOST_WORKING:
                del self._working[next(iter(self._working))]
        else:
            self._working.pop(key, None)
        if camera_id in self._cameras:
            newest = self._newest.setdefault(camera_id, _Newest())
            newest.status = payload
            if document.status is JobStatus.QUEUED:
                newest.frame_key = key
        is_last = document.status.is_final
        self._tell("status", payload, camera_id=camera_id, job_id=job_id, is_last=is_last)

    def _committed(self, row: OutboxMessage, *, is_last: bool) -> None:
        name = self._name_of(row)
        if name == "bridge/dead_letter":
            self._tell("dead_letter", row.payload, camera_id=row.camera_id, job_id=row.job_id)
        elif name is not None and name.startswith("bridge/batch/"):
            batch_id = name.removeprefix("bridge/batch/")  # in the outbox is only its end
            self._tell("batch", row.payload, batch_id=batch_id, is_last=True)
        elif name in {"status", "caption"} and row.payload:
            self._ended(name, row, is_last=is_last)

    def _ended(self, name: str, row: OutboxMessage, *, is_last: bool) -> None:
        camera_id = row.destination[len(self._prefix) :].partition("/")[0]
        if row.job_key is not None:
            self._working.pop(row.job_key, None)
        if name == "status":
            kind, data = "status", row.payload
            if (newest := self._newest.get(camera_id)) is not None:
                newest.status = data
        else:
            is_newest = bool(row.options.get("retain"))
            kind = "result"
            data = self._take_result(camera_id, row.job_key or "", row.payload, is_newest=is_newest)
        said = Said(kind, data, camera_id, row.job_id, is_last=is_last)
        self.news.tell(said)

    def _take_result(self, camera_id: str, key: str, payload: bytes, *, is_newest: bool) -> bytes:
        """The result as it is told; kept where it is its camera's newest."""
        version = version_of(payload) if self._store.keep_finished_frames else None
        data = _with_picture(payload, version, is_newest=is_newest)
        if camera_id in self._cameras:
            newest = self._newest.setdefault(camera_id, _Newest())
            if version is not None:
                newest.pictures[version] = key
                if len(newest.pictures) > _MOST_PICTURES:
                    del newest.pictures[next(iter(newest.pictures))]
            if is_newest:
                newest.result, newest.image, newest.result_key = data, version, key
        return data

    def _name_of(self, row: OutboxMessage) -> str | None:
        """What is behind a topic of ours, `status`, `caption` or `bridge/…`; None for others."""
        if not row.destination.startswith(self._prefix):
            return None
        rest = row.destination[len(self._prefix) :]
        first, _, name = rest.partition("/")
        return rest if first == "bridge" else name

    def _tell(
        self,
        kind: str,
        data: bytes,
        *,
        camera_id: str | None = None,
        job_id: str | None = None,
        batch_id: str | None = None,
        is_last: bool = False,
    ) -> None:
        self.news.tell(Said(kind, data, camera_id, job_id, batch_id, is_last))

    def pictures_of(self, camera_id: str) -> list[tuple[str, str]] | None:
        """Version and job of the pictures of a camera, the newest first; None: it is not known."""
        if camera_id not in self._cameras:
            return None
        newest = self._newest.get(camera_id) or _Newest()
        found = list(reversed(newest.pictures.items()))
        if newest.frame_key is not None and newest.frame_key not in newest.pictures.values():
            found.insert(0, (version_of(newest.frame_key.encode()), newest.frame_key))
        return found

    # -- how things stand ------------------------------------------------------------------------

    def state(self) -> bytes:
        """See `gateway.news.Happenings`."""
        bridge = {
            kind: self._bridge.get(kind, b"null") for kind in _BRIDGE.values() if kind != "log"
        }
        entries = (self._entry(camera.camera_id) for camera in self._cameras.all())
        return _joined(
            {
                **bridge,
                "cameras": b"[" + b",".join(entries) + b"]",
                "working": b"[" + b",".join(self._working.values()) + b"]",
            }
        )

    def _entry(self, camera_id: str) -> bytes:
        """A camera as it stands."""
        camera = self._cameras.get(camera_id)
        newest = self._newest.get(camera_id) or _Newest()
        location, seen_at = None, None
        if camera is not None:
            location = camera.settings.location or camera.name
            age = timedelta(seconds=self._clock.monotonic() - camera.seen)
            seen_at = (self._clock.now() - age).isoformat() if camera.is_seen else None
        return _joined(
            {
                "camera_id": _json(camera_id),
                "location": _json(location),
                "settings": self._settings.get(camera_id, b"null"),
                "result": newest.result,
                "status": newest.status,
                "image": _json(newest.image),
                "seen_at": _json(seen_at),
            }
        )

    async def of_job(self, job_id: str, camera_id: str | None) -> Sequence[Said]:
        """See `gateway.news.Happenings`."""
        keys = await self._store.keys_of(job_id, camera_id)
        found: list[Said] = []
        for job in (await self._store.existing(keys)).values():
            document = self._documents.status(job, self._clock.now())
            result = await self._store.result(job.key) if job.status.is_final else None
            is_over = job.status.is_final and len(keys) == 1
            data = encode(document)
            found.append(
                Said("status", data, job.camera_id, job_id, is_last=is_over and not result)
            )
            if result is not None:
                payload = encode(result)
                data = _with_picture(payload, version_of(payload), is_newest=False)
                found.append(Said("result", data, job.camera_id, job_id, is_last=is_over))
        return found

    async def of_batch(self, batch_id: str) -> Sequence[Said]:
        """See `gateway.news.Happenings`."""
        progress = await self._store.batches.get(batch_id)
        if progress is None:
            return ()
        is_over = progress.finished_at is not None
        return (Said("batch", encode(progress), batch_id=batch_id, is_last=is_over),)


def version_of(payload: bytes) -> str:
    """Names the picture of a result: the same result, the same picture."""
    return hashlib.blake2s(payload, digest_size=8).hexdigest()


def _with_picture(payload: bytes, version: str | None, *, is_newest: bool) -> bytes:
    added = {"image": _json(version), "is_newest": _json(is_newest)}
    return payload[:-1] + b"," + _joined(added)[1:]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _joined(fields: Mapping[str, bytes]) -> bytes:
    """An object of values that are JSON already."""
    return b"{" + b",".join(_json(name) + b":" + value for name, value in fields.items()) + b"}"
