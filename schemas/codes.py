"""Every code that `error.code` can have outside, and which ends carry it.

Programs decide by these codes, so each has one meaning and the ends named here, no others. A code
that no frame ends with stands in dead letters only: there a message was given up, and what became
of its frame is not changed by it. The tests hold the table against every place where a code is
made, and against what is published.
"""

from dataclasses import dataclass

from schemas.job import JobStatus

_REJECTED = (JobStatus.REJECTED,)
_FAILED = (JobStatus.FAILED,)
#: An image is looked at where it arrives; one behind a URL only once the frame is accepted.
_REFUSED_OR_FAILED = (JobStatus.REJECTED, JobStatus.FAILED)
_DROPPED = (JobStatus.DROPPED,)
_DUPLICATE = (JobStatus.DUPLICATE,)


@dataclass(frozen=True, slots=True)
class CodeSpec:
    """One code."""

    code: str
    statuses: tuple[JobStatus, ...]  #: of a frame that carries it; empty: dead letters only
    meaning: str


TABLE: tuple[CodeSpec, ...] = (
    CodeSpec("empty_payload", _REJECTED, "nothing was sent"),
    CodeSpec(
        "not_an_image",
        _REFUSED_OR_FAILED,
        "no JPEG, PNG or WebP, in any of the forms or behind a URL",
    ),
    CodeSpec("bad_base64", _REJECTED, "the text is no base64"),
    CodeSpec("bad_json", _REJECTED, "the JSON is broken, too deep or too large"),
    CodeSpec("bad_field", _REJECTED, "a field is unknown or has a bad value; the message names it"),
    CodeSpec("bad_topic", _REJECTED, "the topic names no camera"),
    CodeSpec("camera_mismatch", _REJECTED, "`camera_id` is not the topic's camera"),
    CodeSpec("payload_too_large", _REJECTED, "larger than `frames.max_bytes` allows"),
    CodeSpec("too_many_bytes", _REFUSED_OR_FAILED, "the image is larger than `frames.max_bytes`"),
    CodeSpec("too_many_pixels", _REFUSED_OR_FAILED, "more than `frames.max_pixels` allows"),
    CodeSpec("side_too_long", _REFUSED_OR_FAILED, "a side is longer than `frames.max_side`"),
    CodeSpec("image_too_small", _REFUSED_OR_FAILED, "a side is shorter than `frames.min_side`"),
    CodeSpec(
        "too_many_scans", _REFUSED_OR_FAILED, "costs more to decode than a camera's picture does"
    ),
    CodeSpec("image_animated", _REFUSED_OR_FAILED, "has several pictures; one is a frame"),
    CodeSpec("image_truncated", _REFUSED_OR_FAILED, "the file is cut off"),
    CodeSpec(
        "image_corrupt",
        _REFUSED_OR_FAILED,
        "the file is damaged; the deepest damage shows only when it is decoded",
    ),
    CodeSpec(
        "url_refused",
        _REFUSED_OR_FAILED,
        "`frame_url` or `webhook_url` names a host that is not allowed, or an address that may not "
        "be reached; in a dead letter of a webhook, the result could not be sent there",
    ),
    CodeSpec(
        "fetch_failed",
        _REFUSED_OR_FAILED,
        "the image behind `frame_url`, a camera's `snapshot_url` or a trigger's `url`, or Frigate's"
        " of an object, could not be had; the message names the cause",
    ),
    CodeSpec(
        "internal",
        _REFUSED_OR_FAILED,
        "an unexpected error at this one frame; the service goes on, and the log has the traceback",
    ),
    CodeSpec(
        "too_many_cameras",
        _REJECTED,
        "`max_cameras` are known already, and each of them is configured or was seen within a day",
    ),
    CodeSpec("camera_disabled", _DROPPED, "the camera's `enabled` is off"),
    CodeSpec("low_intensity", _DROPPED, "less motion than the camera's `min_intensity`"),
    CodeSpec("low_priority", _DROPPED, "of a lower priority than the camera's `min_priority`"),
    CodeSpec("cooldown", _DROPPED, "within the camera's `cooldown` after an accepted frame"),
    CodeSpec("conflated", _DROPPED, "a newer frame of the camera took its place (`newest_wins`)"),
    CodeSpec("queue_full", _DROPPED, "the queue was full and it was the least important"),
    CodeSpec("disk_full", _DROPPED, "the disk is nearly full and the frame was of low priority"),
    CodeSpec(
        "content",
        _DUPLICATE,
        "the same picture with the same question (`prompt`, `tasks`, `length`) as another frame of "
        "the camera within `dedupe.window`",
    ),
    CodeSpec(
        "similar",
        _DUPLICATE,
        "looks like the camera's last captioned frame, on whichever engine, also from before a "
        "restart; see `dedupe.similarity`",
    ),
    CodeSpec("cancelled", (JobStatus.CANCELLED,), "ended by a request"),
    CodeSpec("expired", (JobStatus.EXPIRED,), "older than its `max_age` before its turn came"),
    CodeSpec("engine_lost", _FAILED, "the engine died under it, `max_attempts` times"),
    CodeSpec("engine_killer", _FAILED, "the engine died under it twice; it is not tried again"),
    CodeSpec("frame_gone", _FAILED, "its image is no longer in the store"),
    CodeSpec(
        "unreadable",
        _FAILED,
        "what is stored of it cannot be read, because a disk or another "
        "program has damaged it; in a dead letter without a camera, a message that could not be "
        "sent for the same reason",
    ),
    CodeSpec(
        "prompt",
        _FAILED,
        "the question, label or choice cannot be put to this model, for example because it is "
        "too long",
    ),
    CodeSpec("engine", _FAILED, "the engine could not answer; the message says why"),
    CodeSpec("model_error", _FAILED, "the model could not answer; the message says why"),
    CodeSpec(
        "not_a_number",
        _FAILED,
        "the arithmetic of this frame left the range of the model's number "
        "format; `model.dtype: bfloat16` or `float32` has more",
    ),
    CodeSpec(
        "out_of_memory", _FAILED, "the device has not enough memory even for this frame alone"
    ),
    CodeSpec(
        "unsendable",
        (),
        "the broker does not take the message; the dead letter names its topic and says why",
    ),
    CodeSpec(
        "outbox_full",
        (),
        "too many messages wait for a webhook receiver, for Frigate or for the broker, and "
        "this was the oldest. Several for the broker have one letter, which says how many; their "
        "jobs have ended as the store says",
    ),
    CodeSpec(
        "delivery",
        (),
        "a webhook receiver has not taken the result within `webhooks.give_up_after`",
    ),
    CodeSpec(
        "receiver_gone",
        (),
        "a webhook receiver refuses the result for good; the message has its answer",
    ),
    CodeSpec(
        "write_back",
        (),
        "a description could not be written into Frigate within `frigate.give_up_after`, or never "
        "can be; the message says why",
    ),
    CodeSpec(
        "bad_file",
        _REJECTED,
        "a file in a watched folder cannot be read, or is a clip that gives no pictures",
    ),
)

#: The ends that a code can stand at; none: dead letters only.
STATUSES: dict[str, frozenset[JobStatus]] = {each.code: frozenset(each.statuses) for each in TABLE}
