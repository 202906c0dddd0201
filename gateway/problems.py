"""Why a request is refused, and how that is said: a status code, a code for programs, a sentence.

The three forms of the body are those that clients read: ours (which OpenAI's are too), and Ollama's
below `/api/` where that is Ollama's.
"""

from fastapi import Request
from fastapi.responses import JSONResponse

#: HTTP status by code of the error; see `schemas.codes` and `schemas.requests.codes`.
_STATUS = {
    "bad_request": 400,
    "bad_json": 400,
    "bad_field": 400,
    "bad_base64": 400,
    "bad_topic": 400,
    "empty_payload": 400,
    "camera_mismatch": 400,
    "prompt": 400,
    "url_refused": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "unknown_operation": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "ambiguous": 409,
    "wrong_state": 409,
    "cancelled": 409,
    "too_many_cameras": 409,
    "frame_gone": 410,
    "too_large": 413,
    "payload_too_large": 413,
    "too_many_bytes": 413,
    "not_an_image": 415,
    "unsupported_type": 415,
    "too_many_pixels": 422,
    "side_too_long": 422,
    "image_too_small": 422,
    "too_many_scans": 422,
    "image_animated": 422,
    "image_truncated": 422,
    "image_corrupt": 422,
    "busy": 429,
    "queue_full": 429,
    "internal": 500,
    "not_implemented": 501,
    "fetch_failed": 502,
    "model_failed": 503,
    "store": 503,
    "stopping": 503,
    "engine_lost": 503,
    "out_of_memory": 503,
    "timeout": 504,
    "expired": 504,
    "disk_full": 507,
}


class Problem(Exception):  # noqa: N818 - what RFC 9457 calls it
    """A request that is not done.

    Args:
        code: For programs.
        message: For people; names the field, the setting or the state that is in the way.
        param: The field that is wrong, where it is one.
        retry_after_s: When it may work; goes into `Retry-After`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """Of HTTP; what the model or the service could not do is 500."""
        return _STATUS.get(self.code, 500)


def answer_problem(_request: Request, problem: Problem) -> JSONResponse:
    """The problem in our form."""
    headers = {}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    error = {
        "message": str(problem),
        "type": kind,
        "param": problem.param,
        "code": problem.code,
    }
    body = {"error": error, "message": str(problem)}
    return JSONResponse(body, problem.status, headers)
