"""Every operation there is, for documentation and for whoever lists them."""

from typing import Any

from schemas.requests.batches import BATCHES
from schemas.requests.bridge import BRIDGE
from schemas.requests.jobs import JOBS
from schemas.requests.operation import Operation

TABLE: tuple[Operation[Any, Any], ...] = (*BRIDGE, *JOBS, *BATCHES)
