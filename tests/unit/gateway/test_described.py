import pytest

from schemas.requests.table import TABLE
from tests.support.described import described, operations

OPERATIONS = operations(described())

#: What clients of the systems that this one takes the place of call.
KNOWN_ELSEWHERE = """
POST /motion/detect
POST /motion/detect-with-webhook
GET /queue/job/{job_id}
GET /queue/jobs
GET /queue/stats
DELETE /queue/job/{job_id}
POST /queue/cleanup
POST /describe
POST /caption
POST /describe/file
GET /health
GET /model/info
GET /api/queue/stats
GET /api/queue/items
GET /api/queue/items/{id}
POST /api/queue/enqueue/{mediaItemId}
POST /api/queue/items/{id}/cancel
POST /api/queue/items/{id}/retry
POST /api/media/upload
GET /api/queue/worker/status
POST /api/queue/worker/start
POST /api/queue/worker/stop
GET /api/ai/health
GET /api/ai/info
GET /api/queue/summary
GET /api/media/status
GET /api/queue/status/{task_id}
POST /api/queue/cancel/{task_id}
GET /api/queue/health
POST /api/batch
GET /api/batch/{batch_id}
DELETE /api/batch/{batch_id}
POST /api/visage/job
POST /api/visage/task
GET /cameras
GET /cameras/{camera_id}
PATCH /cameras/{camera_id}
""".strip().splitlines()


def test_every_operation_can_be_asked() -> None:
    asked = {operation["x-operation"] for operation in OPERATIONS.values()}
    assert {each.name for each in TABLE} <= asked


@pytest.mark.parametrize("name", KNOWN_ELSEWHERE)
def test_path_of_another_system_is_there(name: str) -> None:
    assert name in OPERATIONS


def test_names_of_operations_are_unique() -> None:
    ids = [each["operationId"] for each in OPERATIONS.values()]
    assert len(ids) == len(set(ids))
