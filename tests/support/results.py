"""What a model that was not asked would have said."""

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.result import Answer, ModelInfo, Result, ResultDocument
from tests.support.factories import NOON


def result_document(
    caption: str,
    *,
    short_caption: str | None = None,
    answers: tuple[Answer, ...] = (),
    processing_time: float = 0.0,
    truncated: bool = False,
) -> ResultDocument:
    """Of a completed job of the camera `http`."""
    info = ModelInfo(
        model="m",
        revision="r",
        device="cpu",
        camera_id="http",
        motion_intensity=0.5,
        priority=Priority.HIGH,
    )
    result = Result(
        caption=caption,
        short_caption=caption if short_caption is None else short_caption,
        confidence=1.0,
        answers=answers,
        processing_time=processing_time,
        queue_time=0.0,
        truncated=truncated,
        model_info=info,
    )
    return ResultDocument(
        job_id="job",
        camera_id="http",
        status=JobStatus.COMPLETED,
        result=result,
        error_message=None,
        timestamp=NOON,
        location=None,
        metadata={},
    )
