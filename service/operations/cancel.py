"""The end of jobs on request, wherever they are: waiting, delayed, being fetched, in an engine.

The store decides: it ends a job or says that it has ended already. Only then is the job taken out
of where it is; whoever has it in hand at that moment asks the store before the next step, and finds
that there is none.
"""

from collections.abc import Callable, Sequence

from schemas.job import Job
from service.delivery.deliver import Deliver

#: Takes a job out of one place, by its key; one that is not there is no error.
Forget = Callable[[str], object]


class Cancellation:
    """Cancels jobs.

    Args:
        deliver: Ends them.
        places: Where they can be, each with its way to let go of one.
    """

    def __init__(self, deliver: Deliver, places: Sequence[Forget]) -> None:
        self._deliver = deliver
        self._places = places

    async def cancel(self, jobs: Sequence[Job]) -> list[Job]:
        """End jobs in one transaction.

        Returns:
            Those that ended here, as they ended; the others had ended before.

        Raises:
            StoreError: None has ended, as far as is known.
        """
        ended = await self._deliver.cancel(jobs)
        for job in ended:
            for forget in self._places:
                forget(job.key)
        return ended
