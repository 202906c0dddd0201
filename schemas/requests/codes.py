"""Every code that the error of an answer can have.

Who asks the model about a picture can get the code with which the frame ended as well: those are
in `schemas.codes`.
"""

CODES: dict[str, str] = {
    "unknown_operation": "there is no such operation; the message lists those there are",
    "bad_request": "a field is missing, unknown or has a bad value; the message names it",
    "bad_json": "the request is no JSON object, or one too deep",
    "too_large": "the request has more bytes than the operation takes",
    "bad_response_topic": "answers go below `<base>/response/requests/` only",
    "busy": "too many requests wait, or this one is being done already; ask again later",
    "timeout": "there was no answer in time; what was ordered may still happen",
    "not_found": "there is no such job, camera, batch or model",
    "ambiguous": "several cameras have a job of this id; say `camera_id`",
    "wrong_state": "it cannot be done as things stand; the message says how they do",
    "too_many_cameras": "`max_cameras` are known already, and none of them may be forgotten",
    "frame_gone": "the frame is no longer kept",
    "model_failed": "the model cannot be loaded; the message says why, and what is loaded instead",
    "store": "the store does not work at the moment",
    "internal": "an unexpected error; the log has it",
}
