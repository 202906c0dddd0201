"""Pictures for the gateway: the frames that the store keeps, and smaller ones made of them."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from engine.images import ImageLimits, inspect
from gateway.pictures import Picture
from gateway.problems import Problem
from service.errors import StoreError
from service.store.store import Store
from service.web.news import NewsFeed
from service.web.shrinking import Shrinker

_MOST_CACHED_BYTES = 32 << 20
_MEDIA_TYPES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"), (b"RIFF", "image/webp"))

Key = tuple[str, int | None]  # of a job, and the width


class ServicePictures:
    """See `gateway.pictures.Pictures`.

    Args:
        feed: Knows the newest of each camera.
        store: Has them.
        shrinker: Makes them smaller.
        limits: What a picture may be.
    """

    def __init__(
        self, feed: NewsFeed, store: Store, shrinker: Shrinker, limits: ImageLimits
    ) -> None:
        self._feed = feed
        self._store = store
        self._shrinker = shrinker
        self._limits = limits
        self._cache = _Cache(_MOST_CACHED_BYTES)

    async def of_camera(self, camera_id: str, version: str | None, width: int | None) -> Picture:
        """See `Pictures.of_camera`."""
        known = self._feed.pictures_of(camera_id)
        if known is None:
            raise Problem("not_found", f"there is no camera {camera_id[:64]}")
        wanted = known if version is None else [each for each in known if each[0] == version]
        for name, key in wanted:
            if (data := await self._picture(key, width)) is not None:
                return _picture(data, name, width)
        if version is None and not known:
            raise Problem("not_found", f"no frame of {camera_id} has come yet")
        raise Problem("frame_gone", f"this picture of {camera_id} is no longer kept")

    async def of_job(self, job_id: str, camera_id: str | None, width: int | None) -> Picture:
        """See `Pictures.of_job`."""
        key = await self._key_of(job_id, camera_id)
        if (data := await self._picture(key, width)) is not None:
            digest = hashlib.blake2s(data, digest_size=8).hexdigest()
            return _picture(data, digest, None)
        raise Problem("frame_gone", f"the picture of job {job_id} is not kept, or not there yet")

    async def _key_of(self, job_id: str, camera_id: str | None) -> str:
        keys: Sequence[str] = ()
        try:
            keys = await self._store.keys_of(job_id, camera_id)
        except StoreError as error:
            raise Problem("store", str(error)) from error
        if len(keys) > 1:
            raise Problem("ambiguous", f"{job_id} is a job of several cameras: say which, `camera`")
        if not keys:
            of = "" if camera_id is None else f" of {camera_id[:64]}"
            raise Problem("not_found", f"there is no job {job_id[:64]}{of}")
        return keys[0]

    async def _picture(self, key: str, width: int | None) -> bytes | None:
        """As it was sent, or smaller; None: it is not kept."""
        try:
            original = await self._cache.get((key, None), lambda: self._store.image(key))
        except StoreError as error:
            raise Problem("store", str(error)) from error
        if original is None or width is None:
            return original
        if inspect(original, self._limits).width <= width:
            return original
        made = await self._cache.get((key, width), lambda: self._shrinker.shrink(original, width))
        if made is None:
            raise Problem("image_corrupt", "the picture cannot be decoded, so not made smaller")
        return made


class _Cache:
    """Pictures that were asked for, up to a number of bytes; each is made once at a time."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._num_bytes = 0
        self._making: dict[Key, asyncio.Task[bytes | None]] = {}

    async def get(self, key: Key, make: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        """What is kept, or is made now."""
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        making = self._making.get(key)
        if making is None:
            making = asyncio.create_task(self._make(key, make))
            self._making[key] = making
            making.add_done_callback(lambda made: self._made(key, made))
        return await asyncio.shield(making)  # others may wait for it too

    def _made(self, key: Key, making: asyncio.Task[bytes | None]) -> None:
        del self._making[key]
        if not making.cancelled():
            making.exception()  # whoever waited has it; nobody may have

    async def _make(self, key: Key, make: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        data = await make()
        if data is not None and len(data) <= self._most_bytes // 4:
            self._kept[key] = data
            self._num_bytes += len(data)
            while self._num_bytes > self._most_bytes:
                self._num_bytes -= len(self._kept.popitem(last=False)[1])
        return data


def _picture(data: bytes, version: str, width: int | None) -> Picture:
    media_type = next(
        (kind for start, kind in _MEDIA_TYPES if data.startswith(start)), "image/jpeg"
    )
    name = version if width is None else f"{version}-{width}"
    return Picture(data, media_type, name)
