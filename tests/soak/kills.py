"""The service is killed with SIGKILL at random moments while frames arrive.

The acceptance tests kill it at every step of a frame's way that has a name; this is for those that
have none.
"""

import asyncio
import random
import tempfile
from pathlib import Path

from tests.soak.site import open_site

_NUM_KILLS = 20
_FRAMES_A_LIFE = 100


async def kill_at_random(seed: int) -> bool:
    """Kill, print what became of the frames; whether none was lost."""
    rng = random.Random(seed)
    queue = {"capacity": 100_000, "retry_delay": 0.05, "max_age": 3600.0}  # nothing is dropped
    with tempfile.TemporaryDirectory() as folder:
        async with open_site(Path(folder), seed, queue=queue) as site:
            for _ in range(_NUM_KILLS):
                # Now and then it does not live to be ready.
                await site.service.start(is_awaited=rng.random() < 0.8)
                sending = asyncio.create_task(
                    site.cameras.send_many(_FRAMES_A_LIFE, during_s=0.4), name="sending"
                )
                await asyncio.sleep(rng.uniform(0.0, 0.5))
                await site.service.kill()
                await sending
            await site.service.start()
            await site.cameras.all_accepted()
            verdict = await site.checker.all_ended()
    is_whole = verdict.finals == {"completed": _NUM_KILLS * _FRAMES_A_LIFE}
    print(f"{_NUM_KILLS} kills: {verdict}")
    return verdict.is_kept and is_whole
