"""Frigate's real HTTP application and event processor, in a process of their own.

Run in the environment of `make test-frigate`: `python application.py SOURCE FOLDER PORT`. Real are
its configuration, its database with all migrations, every HTTP path, logins, sessions and roles,
and the code that writes tracked objects. Played are its nginx (port PORT as 5000, PORT + 1 as 8971)
and its detectors: `POST /__test/event` with `{"id", "type": "new|update|end"}` is a tracked object.
"""

import asyncio
import importlib.util
import json
import os
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

SOURCE, FOLDER, PORT = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
CAMERAS = ("front_door", "described_by_frigate")
PASSWORD = "secret"  # noqa: S105 - of a Frigate that is made for a test

sys.path[:0] = [str(Path(__file__).parent), str(SOURCE)]

import stand_ins  # noqa: E402

stand_ins.install()


def redirect_constants() -> Any:
    """Run `frigate/const.py` with folders of the test's: the paths in it are absolute."""
    frigate: Any = __import__("frigate")
    if importlib.util.find_spec("frigate.version") is None:  # its build makes this file
        version = types.ModuleType("frigate.version")
        version.VERSION = "0.0.0-test"  # type: ignore[attr-defined]
        sys.modules["frigate.version"] = version
    path = SOURCE / "frigate" / "const.py"
    text = path.read_text()
    for absolute, own in (
        ('"/config"', "config"),
        ('"/media/frigate"', "media"),
        ('"/tmp/cache', "cache"),
    ):
        text = text.replace(absolute, f'"{FOLDER / own}' + ("" if own == "cache" else '"'))
    const = types.ModuleType("frigate.const")
    const.__file__ = str(path)
    exec(compile(text, str(path), "exec"), const.__dict__)  # noqa: S102 - that file
    sys.modules["frigate.const"] = frigate.const = const
    for name in ("CONFIG_DIR", "CLIPS_DIR", "THUMB_DIR", "RECORD_DIR", "CACHE_DIR"):
        Path(getattr(const, name)).mkdir(parents=True, exist_ok=True)
    return const


const = redirect_constants()
os.chdir(SOURCE)  # migrations are looked for in the working folder

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import uvicorn  # noqa: E402
from frigate import models  # noqa: E402
from frigate.api.auth import hash_password  # noqa: E402
from frigate.api.fastapi_app import create_fastapi_app  # noqa: E402
from frigate.config import FrigateConfig  # noqa: E402
from frigate.events import maintainer  # noqa: E402
from frigate.track.object_processing import TrackedObjectProcessor  # noqa: E402
from peewee_migrate import Router  # noqa: E402
from playhouse.sqlite_ext import SqliteExtDatabase  # noqa: E402
from playhouse.sqliteq import SqliteQueueDatabase  # noqa: E402


def open_database() -> Any:
    path = str(FOLDER / "config" / "frigate.db")
    migrated = SqliteExtDatabase(path)
    Router(migrated).run()
    migrated.close()
    database = SqliteQueueDatabase(path, pragmas={"synchronous": "NORMAL"}, timeout=60)
    database.bind(
        [
            each
            for each in vars(models).values()
            if isinstance(each, type)
            and issubclass(each, models.Model)
            and each is not models.Model
        ]
    )
    return database


def read_config() -> Any:
    camera = {
        "ffmpeg": {"inputs": [{"path": "rtsp://127.0.0.1:1/video", "roles": ["detect"]}]},
        "detect": {"height": 720, "width": 1280, "fps": 5},
    }
    content: dict[str, Any] = {
        "mqtt": {"enabled": False},
        # Every use of a session is near its end, so every use renews it.
        "auth": {"enabled": True, "session_length": 60, "refresh_time": 60},
        "snapshots": {"enabled": True},
        "detect": {"enabled": True},
        "model": {"labelmap_path": str(FOLDER / "labelmap.txt")},
        "cameras": {name: dict(camera) for name in CAMERAS},
    }
    config = FrigateConfig(**content)
    own = config.cameras["described_by_frigate"]
    genai = own.genai if hasattr(own, "genai") else own.objects.genai
    genai.enabled = True
    return config


class Frames:
    """Stands for what follows objects in pictures."""

    camera_states: dict[str, Any] = {}  # noqa: RUF012 - nothing is tracked there

    def get_current_frame(self, *_: object) -> Any:
        frame = np.zeros((720, 1280, 3), np.uint8)
        cv2.circle(frame, (int(time.time() * 50) % 1280, 360), 80, (60, 200, 255), -1)
        return frame

    def get_current_frame_time(self, _: str) -> float:
        return time.time()


class Metadata:
    """Stands for the queue between processes: what comes out is done by Frigate's own code."""

    def publish(self, *given: Any) -> None:
        """Take a topic and what is said, in either order: 0.17 has changed it."""
        topic, said = sorted(given, key=lambda each: isinstance(each, tuple))
        if topic == "sub_label":
            threading.Timer(0.3, TrackedObjectProcessor.set_sub_label, (Frames(), *said)).start()


def make_application(database: Any, config: Any) -> Any:
    given = {
        "frigate_config": config,
        "database": database,
        "embeddings": None,
        "detected_frames_processor": Frames(),
        "storage_maintainer": MagicMock(),
        "onvif": MagicMock(),
        "stats_emitter": MagicMock(),
        "event_metadata_updater": Metadata(),
        "config_publisher": MagicMock(),
        "replay_manager": MagicMock(),
        "dispatcher": MagicMock(),
        "profile_manager": MagicMock(),
    }
    names = create_fastapi_app.__code__.co_varnames[: create_fastapi_app.__code__.co_argcount]
    return create_fastapi_app(**{name: given[name] for name in names if name in given})


def add_users(config: Any) -> None:
    user = models.User
    for name in ("admin", "viewer"):
        user.insert(
            {
                user.username: name,
                user.role: name,
                user.password_hash: hash_password(PASSWORD, iterations=config.auth.hash_iterations),
                user.notification_tokens: [],
            }
        ).on_conflict_ignore().execute()


class Objects:
    """Tracked objects, written by Frigate's own processor."""

    def __init__(self, config: Any) -> None:
        maintainer.EventUpdateSubscriber = MagicMock()  # they are sockets
        maintainer.EventEndPublisher = MagicMock()
        self._processor = maintainer.EventProcessor(config, MagicMock(), threading.Event())

    def hear(self, said: dict[str, Any]) -> None:
        """An object appears, moves or leaves.

        As with Frigate, the first word of it is only remembered, and an object that was not there
        when it started is forgotten with it.
        """
        event_id, kind = said["id"], said["type"]
        content = self._content(said)
        if kind == "new" or event_id not in self._processor.events_in_process:
            self._processor.events_in_process[event_id] = {
                **content,
                "has_clip": False,
                "has_snapshot": False,
            }
            if kind == "new":
                return
        if content["has_snapshot"]:
            self._draw(event_id, content["camera"])
        self._processor.handle_object_detection(kind, content["camera"], content)

    def _content(self, said: dict[str, Any]) -> dict[str, Any]:
        is_kept = said.get("is_kept", True)
        now = time.time()
        return {
            "id": said["id"],
            "camera": said.get("camera", CAMERAS[0]),
            "label": "person",
            "sub_label": None,
            "start_time": float(said["id"].split("-")[0]),
            "end_time": now if said["type"] == "end" else None,
            "entered_zones": [],
            "current_zones": [],
            "has_clip": is_kept,
            "has_snapshot": is_kept,
            "snapshot_clean": True,
            "top_score": said.get("top_score", 0.8),
            "stationary": False,
            "attributes": {},
            "average_estimated_speed": 0,
            "velocity_angle": 0,
            "recognized_license_plate": None,
            "max_severity": "alert",
            "path_data": [[[0.1, 0.1], now]],
            "thumbnail": None,
            "snapshot": {
                "frame_time": now,
                "box": [100, 100, 400, 600],
                "area": 150000,
                "region": [0, 0, 700, 700],
                "score": 0.8,
                "attributes": [],
                "current_estimated_speed": 0,
            },
        }

    def _draw(self, event_id: str, camera: str) -> None:
        """The files that Frigate keeps of it."""
        name = f"{const.CLIPS_DIR}/{camera}-{event_id}"
        if Path(f"{name}.jpg").exists():
            return
        image = Frames().get_current_frame()
        rng = np.random.default_rng(abs(hash(event_id)))
        image[:200, :200] = rng.integers(0, 255, (200, 200, 3), np.uint8)  # each differs
        for end in ("-clean.webp", "-clean.png", ".jpg"):
            cv2.imwrite(name + end, image)
        folder = Path(const.THUMB_DIR, camera)
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{event_id}.webp"), cv2.resize(image, (311, 175)))


class Nginx:
    """What stands before Frigate: takes `/api` off, asks `/auth`, passes role and cookie on."""

    open_paths = ("/login", "/version")

    def __init__(self, application: Any, objects: Objects, port: int) -> None:
        self._application = application
        self._objects = objects
        self._port = port  # as it would be

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path == "/__test/event":
            body = (await receive())["body"]
            await asyncio.to_thread(self._objects.hear, json.loads(body))
            await _answer(send, 200, [])
            return
        if not path.startswith("/api/"):
            await _answer(send, 404, [])
            return
        await self._proxy({**scope, "path": path[4:]}, receive, send)

    async def _proxy(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [each for each in scope["headers"] if not each[0].startswith(b"remote-")]
        cookies: list[Any] = []
        if scope["path"] not in self.open_paths:
            status, said = await self._ask(scope, headers)
            if status >= 300:
                await _answer(send, status, [])
                return
            headers += [each for each in said if each[0] in (b"remote-user", b"remote-role")]
            cookies = [each for each in said if each[0] == b"set-cookie"]

        async def send_with_cookies(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *cookies]}
            await send(message)

        inner = {**scope, "raw_path": scope["path"].encode(), "headers": headers}
        await self._application(inner, receive, send_with_cookies)

    async def _ask(self, scope: Any, headers: list[Any]) -> tuple[int, list[Any]]:
        answer: dict[str, Any] = {}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            answer.update(message)

        asked = [each for each in headers if each[0] in (b"authorization", b"cookie", b"host")]
        asked.append((b"x-server-port", str(self._port).encode()))
        await self._application(
            {
                **scope,
                "method": "GET",
                "path": "/auth",
                "raw_path": b"/auth",
                "query_string": b"",
                "headers": asked,
            },
            receive,
            send,
        )
        return answer["status"], answer["headers"]


async def _answer(send: Any, status: int, headers: list[Any]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def main() -> None:
    (FOLDER / "labelmap.txt").write_text("0 person\n")
    database, config = open_database(), read_config()
    application, objects = make_application(database, config), Objects(config)
    add_users(config)
    # What Frigate's processor does when it starts.
    event = models.Event
    event.update(end_time=event.start_time + 30).where(event.end_time.is_null()).execute()
    await asyncio.gather(
        *(
            uvicorn.Server(
                uvicorn.Config(
                    Nginx(application, objects, played),
                    host="127.0.0.1",
                    port=port,
                    log_level="warning",
                    lifespan="off",
                )
            ).serve()
            for played, port in ((5000, PORT), (8971, PORT + 1))
        )
    )


asyncio.run(main())
