"""Runs another project's client in the environment that has what it imports."""

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = _ROOT / ".venv-frigate"
LLMVISION_RELEASE = "v1.7.0"
_PATIENCE_S = 90.0


def llmvision_source() -> Path:
    """LLM Vision's source at its release; skips the test where it cannot be had."""
    repository = os.environ.get("LLMVISION_SOURCE")
    if repository is None or not (ENVIRONMENT / ".ready").exists():
        pytest.skip("needs LLM Vision's source and an environment for it: make test-clients")
    folder = ENVIRONMENT / "source" / f"llmvision-{LLMVISION_RELEASE}"
    if (folder / "custom_components").exists():
        return folder
    if "://" in repository:
        clone = folder.with_suffix(".git")
        if not clone.exists():
            options = ("-q", "--bare", "--depth", "1", "-b", LLMVISION_RELEASE)
            _git("clone", *options, repository, str(clone))
        repository = str(clone)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder.with_suffix(".tar")
    tree = (LLMVISION_RELEASE, "custom_components/llmvision")
    _git("-C", repository, "archive", "-o", str(archive), *tree)
    subprocess.run(["tar", "-x", "-f", str(archive), "-C", str(folder)], check=True, timeout=60)
    archive.unlink()
    return folder


def _git(*command: str) -> None:
    try:
        subprocess.run(["git", *command], check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the source cannot be had: {error}")


async def run_theirs(
    script: str,
    source: Path,
    job: Mapping[str, Any],
    images: Sequence[bytes] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a script of this folder prints.

    Args:
        script: Its name.
        source: Of the other project.
        job: What it is told; the images are added.
        images: JPEGs.
        environment: Further variables.
    """
    told = {**job, "images": [base64.b64encode(each).decode() for each in images]}
    process = await asyncio.create_subprocess_exec(
        str(ENVIRONMENT / "bin" / "python"),
        str(Path(__file__).parent / script),
        str(source),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            out, err = await process.communicate(json.dumps(told).encode())
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()[-3000:]
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return {**said, "log": err.decode()}
