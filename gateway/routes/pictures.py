"""Pictures: the newest of a camera, and that of a job."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from gateway.access import ThePictures
from gateway.pictures import Picture, width_of

router = APIRouter(tags=["pictures"])

_FOR_EVER = "private, max-age=31536000, immutable"
_FOR_AN_HOUR = "private, max-age=3600"
_ASK_AGAIN = "private, no-cache"
_IMAGES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}, "image/png": {}, "image/webp": {}}}
}

Width = Annotated[
    int | None, Query(ge=1, le=8192, description="at most so wide; rounded up to a usual width")
]
Known = Annotated[str | None, Header(alias="If-None-Match", max_length=512)]


@router.get("/cameras/{camera_id}/image.jpg", response_class=Response, responses=_IMAGES)
async def camera_image(
    pictures: ThePictures,
    camera_id: str,
    v: Annotated[str | None, Query(max_length=64, description="`image` of a result")] = None,
    width: Width = None,
    known: Known = None,
) -> Response:
    """The newest frame of a camera, as it was sent or smaller; with `v` the one of that version."""
    picture = await pictures.of_camera(camera_id, v, width_of(width))
    return _answer(picture, known, _ASK_AGAIN if v is None else _FOR_EVER)


@router.get("/jobs/{job_id}/image.jpg", response_class=Response, responses=_IMAGES)
async def job_image(
    pictures: ThePictures,
    job_id: str,
    camera: Annotated[
        str | None, Query(description="needed where several cameras have a job of this id")
    ] = None,
    width: Width = None,
    known: Known = None,
) -> Response:
    """The frame of a job, while it is kept."""
    picture = await pictures.of_job(job_id, camera, width_of(width))
    return _answer(picture, known, _FOR_AN_HOUR)


def _answer(picture: Picture, known: str | None, cache: str) -> Response:
    tag = f'"{picture.version}"'
    headers = {"ETag": tag, "Cache-Control": cache, "X-Content-Type-Options": "nosniff"}
    if known is not None and tag in {each.strip().removeprefix("W/") for each in known.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type=picture.media_type, headers=headers)
