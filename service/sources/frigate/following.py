"""Frigate as a source, put together: who reads its topics, and the tasks beside that."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from service.clock import Clock
from service.delivery.deliver import Deliver
from service.intake.intake import Intake
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.sources.frigate.catch_up import CatchUp, Database
from service.sources.frigate.events import Events
from service.sources.frigate.follow import Follower, Pictures
from service.sources.frigate.submissions import Submissions
from service.sources.frigate.topics import FrigateTopics
from service.sources.names import Names
from service.store.store import Store


class Frigate(Pictures, Database, Protocol):
    """All that is asked of Frigate over HTTP; see `service.frigate.api`."""


@dataclass(frozen=True, slots=True)
class Following:
    """What others meet of it."""

    topics: FrigateTopics
    recover: Callable[[], Awaitable[None]]  #: before anything is read; raises StoreError
    tasks: Mapping[str, Callable[[], Awaitable[None]]]  #: by name
    close: Callable[[], Awaitable[None]]  #: when the tasks have ended


def read_snapshots(settings: Settings, store: Store, names: Names, clock: Clock) -> Following:
    """Frigate without HTTP: its pictures come over MQTT, and nothing is followed."""
    events = Events(store.frigate, clock)
    topics = FrigateTopics(settings.frigate, events, names, _nothing, settings.frames.max_bytes)
    return Following(topics, _nothing_later, {}, _nothing_later)


def follow(
    settings: Settings,
    store: Store,
    intake: Intake,
    queue: JobQueue,
    deliver: Deliver,
    names: Names,
    frigate: Frigate,
    clock: Clock,
) -> Following:
    """Frigate with HTTP: what it says is followed, and described by its own pictures.

    Args:
        settings: What is wanted.
        store: Keeps what is followed.
        intake: Takes the frames.
        queue: Has those that wait.
        deliver: Tells of their ends.
        names: Of its cameras.
        frigate: Is asked.
        clock: The same for all.
    """
    wanted = settings.frigate
    events = Events(store.frigate, clock)
    submissions = Submissions(wanted, events.reviews, names, clock)
    follower = Follower(events, frigate, intake.submit, queue.replace, submissions, wanted, clock)
    deliver.subscribe(follower.on_end)
    catch_up = CatchUp(events, frigate, submissions, wanted, clock)

    def on_available() -> None:
        follower.awake()
        catch_up.order()

    async def recover() -> None:
        await follower.recover(store.existing)

    topics = FrigateTopics(wanted, events, names, on_available, settings.frames.max_bytes)
    return Following(
        topics,
        recover,
        {
            "frigate-topics": topics.run,
            "frigate-events": events.run,
            "frigate-follow": follower.run,
            "frigate-catch-up": catch_up.run,
        },
        events.close,
    )


def _nothing() -> None:
    pass


async def _nothing_later() -> None:
    pass
