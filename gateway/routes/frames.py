"""Frames in: those that become jobs, and pictures whose result is waited for."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from broker.codec import PayloadError, read_json, validate
from gateway.access import TheAsker, TheOptions
from gateway.asking import frame_of
from gateway.backend import Backend, Frame
from gateway.calls import add_route, say
from gateway.described import picture_body
from gateway.frames import Said, read_frame, with_job_id
from gateway.options import GatewayOptions
from gateway.problems import Problem, refused
from schemas.frame import MotionFrame
from schemas.requests.envelope import Answer
from schemas.requests.envelope import Request as Asked
from schemas.requests.operation import Operation
from schemas.requests.skills import CAPTION, CHOOSE, DETECT, POINT, QUERY, SkillRequest
from schemas.status import StatusDocument

#: Ends at once that a sender can do something about: come again, or send less.
_NO_ROOM = frozenset({"queue_full", "disk_full"})
#: What a request says besides a frame.
_FURTHER = frozenset({"question", "label", "choices", "timeout"})
_PLACEHOLDER = "-"  # of a picture that is there already

router = APIRouter(tags=["frames"])


class FrameRequest(MotionFrame, Asked):
    """A motion frame."""


class FrameAnswer(StatusDocument, Answer):
    """Where the frame's job stands."""


SUBMIT = Operation(
    "frame",
    FrameRequest,
    FrameAnswer,
    "A frame becomes a job, as over MQTT: 202 once it is stored, with its place in the queue; 200 "
    "where it has ended at once, for example as a duplicate. The same `job_id` (or "
    "`Idempotency-Key`) again is not run twice.",
    {"motion_intensity": 0.7, "location": "Front Door", **CAPTION.example},
)


async def detect_motion(request: Request) -> Response:
    """A frame becomes a job; see `gateway.direct`."""
    backend: Backend = request.app.state.backend
    options: GatewayOptions = request.app.state.options
    said = await read_frame(request, options)
    return await submit(request, backend, options, said)


async def submit(
    request: Request, backend: Backend, options: GatewayOptions, said: Said
) -> Response:
    """Hand a frame over, and say where it stands.

    Raises:
        Problem: It was rejected, or there is no room for it.
    """
    status = await hand_over(request, backend, options, said)
    return say(status, 200 if status.status.is_final else 202)


async def hand_over(
    request: Request, backend: Backend, options: GatewayOptions, said: Said
) -> StatusDocument:
    """The same, with the status as it is."""
    fields = with_job_id(said.fields, request)
    if "camera_id" not in fields:
        raise Problem("bad_field", "camera_id: is required", param="camera_id")
    status = await backend.submit(_frame(fields, said.image, request, options))
    code = status.error.code if status.error else None
    if code in _NO_ROOM and status.error is not None:
        priority = status.priority.wire if status.priority is not None else None
        wait_s = backend.wait_s(priority) if code == "queue_full" else None
        after_s = max(1.0, wait_s or 0.0) if code == "queue_full" else None
        raise Problem(str(code), status.error.message, retry_after_s=after_s)
    return status


def _frame(
    fields: dict[str, Any], image: bytes | None, request: Request, options: GatewayOptions
) -> Frame:
    """The frame of what a request says.

    Raises:
        Problem: There are two pictures, or none.
    """
    picture: Any = fields.pop("image_url", None)
    if picture is None and image is None:
        return Frame(fields, f"{request.method} {request.scope['path']}")
    given = [name for name in ("frame_data", "frame_url") if name in fields]
    if given or (picture is not None and image is not None):
        raise Problem(
            "bad_field", "exactly one picture is required", param=given[0] if given else "file"
        )
    if image is None and not isinstance(picture, str):
        raise Problem("bad_field", "image_url: must be a text", param="image_url")
    return frame_of(image if image is not None else picture, fields, request, options)


def _asks(operation: Operation[Any, Any]) -> Any:
    """The endpoint that asks of a picture what an operation does."""

    async def ask(request: Request, asker: TheAsker, options: TheOptions) -> Response:
        said = await read_frame(request, options, further=_FURTHER)
        fields = {"camera_id": options.camera_id, **with_job_id(said.fields, request)}
        asked = _check(operation, fields, said.image)
        own = [each for each in asked.tasks or () if each != asked.task]
        tasks = [each.model_dump(mode="json") for each in (asked.task, *own)]
        kept = {name: value for name, value in fields.items() if name not in _FURTHER}
        frame = _frame({**kept, "tasks": tasks}, said.image, request, options)
        timeout_s = asked.timeout if "timeout" in asked.model_fields_set else None
        del said, fields, asked, kept  # no picture is kept while its answer is waited for
        return say(await asker.ask(request, frame, timeout_s))

    return ask


def _check(
    operation: Operation[Any, Any], fields: dict[str, Any], image: bytes | None
) -> SkillRequest:
    """The fields as the operation's request; its picture is looked at by the service.

    Raises:
        Problem: A field is missing, unknown or has a bad value.
    """
    checked = {name: value for name, value in fields.items() if name != "image_url"}
    if image is not None or "image_url" in fields:
        checked.setdefault("frame_data", _PLACEHOLDER)
    try:
        if isinstance(choices := checked.get("choices"), str):  # of a query or a form
            checked["choices"] = read_json(choices.encode("utf-8", "replace"))
        request: BaseModel = validate(operation.request, checked)
    except PayloadError as error:
        raise refused(error) from error
    assert isinstance(request, SkillRequest)  # noqa: S101 - the table's own types
    return request


def _add(path: str, operation: Operation[Any, Any], endpoint: Any, status: int = 200) -> None:
    add_route(
        router, "POST", path, operation, endpoint, status=status, body=picture_body(operation)
    )


_add("/motion/detect", SUBMIT, detect_motion, 202)
_add("/motion/detect-with-webhook", SUBMIT, detect_motion, 202)
_add("/caption", CAPTION, _asks(CAPTION))
_add("/describe", CAPTION, _asks(CAPTION))
_add("/describe/file", CAPTION, _asks(CAPTION))
for each in (QUERY, DETECT, POINT, CHOOSE):
    _add(f"/{each.name}", each, _asks(each))
