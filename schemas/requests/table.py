"""Every operation there is, for documentation and for whoever lists them."""

from typing import Any

from schemas.requests.batches import BATCHES
from schemas.requests.bridge import BRIDGE, QUEUE
from schemas.requests.cameras import CAMERAS
from schemas.requests.captions import CAPTIONS
from schemas.requests.jobs import JOBS
from schemas.requests.models import MODELS
from schemas.requests.operation import Operation
from schemas.requests.skills import SKILLS

TABLE: tuple[Operation[Any, Any], ...] = (
    *BRIDGE,
    *JOBS,
    *QUEUE,
    *CAMERAS,
    *MODELS,
    *SKILLS,
    *BATCHES,
    *CAPTIONS,
)
