"""The import contracts see edges between files; this sees what a fresh interpreter loads."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("service.engines.process", {"torch", "transformers", "numpy", "PIL"}),
        ("service.triggers.scrutiny", {"torch", "numpy", "PIL"}),
        ("engine.burst", {"torch", "httpx", "pydantic", "sqlalchemy"}),
        ("engine.worker", {"paho", "aiomqtt", "pydantic", "sqlalchemy", "httpx"}),
    ],
)
def test_module_loads_nothing_of_the_other_side(module: str, unwanted: set[str]) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert not unwanted & set(output.stdout.split())
