"""Pictures as ImmichVR and task queues hand them over: uploaded, or one in a JSON body."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.access import TheBackend, TheOptions
from gateway.bodies import check_is_json, read_body, read_object, take_apart
from gateway.calls import add_route
from gateway.described import PICTURE, form_body, json_body
from gateway.frames import Said, max_frame_bytes, read_frame
from gateway.problems import Problem
from gateway.routes.frames import SUBMIT, hand_over
from schemas.status import StatusDocument

_VIDEO = "video/"

router = APIRouter(tags=["media"])


async def upload(request: Request, backend: TheBackend, options: TheOptions) -> Response:
    """A picture of a form, part `media`, becomes a job."""
    said = await read_frame(request, options)
    file = said.file
    if file is None:
        raise Problem("bad_field", "media: is required, as a file of a form", param="media")
    if file.media_type.startswith(_VIDEO):
        raise Problem(
            "unsupported_type",
            "clips are not taken over HTTP; put them into a watched folder (`folders`)",
            param="media",
        )
    fields = {"camera_id": options.camera_id, **said.fields}
    size = len(file.content)
    status = await hand_over(request, backend, options, Said(fields, said.image, None))
    answer = {
        "mediaItemId": status.job_id,
        "queueId": status.job_id,
        "filename": file.name,
        "size": size,
        "type": file.media_type,
        "status": status.status.value,
        "message": status.message,
    }
    return JSONResponse(answer, 201)


async def submit_task(request: Request, backend: TheBackend, options: TheOptions) -> Response:
    """`{"image": base64}` becomes a job; what it says of faces is not looked for."""
    max_bytes = max_frame_bytes(options)
    body = await read_body(request, max_bytes)
    check_is_json(request, body)
    content = await take_apart(body, partial(read_object, body, max_bytes))
    picture = content.pop("image", None)
    config = content.pop("config", None)
    fields: dict[str, Any] = {"camera_id": options.camera_id, **content}
    if picture is not None:
        fields["image_url"] = picture
    if isinstance(config, dict):
        fields = {**config, **fields}
    status = await hand_over(request, backend, options, Said(fields, None))
    return JSONResponse(task_words(status), 200 if status.status.is_final else 202)


def task_words(status: StatusDocument) -> dict[str, Any]:
    """Where a job stands, in the words of task queues."""
    return {**status.model_dump(mode="json"), "task_id": status.job_id}


add_route(
    router,
    "POST",
    "/api/media/upload",
    SUBMIT,
    upload,
    status=201,
    body=form_body("media"),
    shape=dict,
)
add_route(
    router,
    "POST",
    "/api/visage/task",
    SUBMIT,
    submit_task,
    status=202,
    body=json_body({"image": PICTURE}, "base64, data URI or address of the image"),
    shape=task_words,
)
