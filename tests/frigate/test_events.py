"""What Frigate's real database says of an object is understood."""

from pathlib import Path

from schemas.frigate import Severity, read_stored_event
from service.clock import Clock
from service.frigate_settings import FrigateSettings
from service.sources.frigate.catch_up import CatchUp
from service.sources.frigate.events import Events
from service.sources.frigate.submissions import Submissions
from service.sources.names import Names
from service.store.store import Store
from tests.frigate.real_frigate import RealFrigate
from tests.frigate.test_access import make_api, stored


async def test_object_in_the_database_is_read(frigate: RealFrigate) -> None:
    event_id = stored(frigate)
    subject = read_stored_event(frigate.event(event_id))
    assert (subject.id, subject.camera, subject.label) == (event_id, "front_door", "person")
    assert subject.is_ended
    assert subject.stopped is not None
    assert subject.severity is Severity.ALERT
    assert subject.score == 0.8
    assert subject.relative_box is not None
    left, top, right, bottom = (round(each, 2) for each in subject.relative_box)
    assert (left, top, right, bottom) == (0.08, 0.14, 0.31, 0.83)


async def test_object_that_goes_on_has_no_end(frigate: RealFrigate) -> None:
    event_id = stored(frigate, ended=False)
    assert not read_stored_event(frigate.event(event_id)).is_ended


async def test_what_ended_unheard_is_found(frigate: RealFrigate, tmp_path: Path) -> None:
    ended, goes_on = stored(frigate), stored(frigate, ended=False)
    async with Store.open(tmp_path / "jobs.sqlite3") as store:
        settings, clock = FrigateSettings(url=frigate.open_url), Clock()
        events = Events(store.frigate, clock)
        submissions = Submissions(settings, events.reviews, Names(lambda _: None), clock)
        await CatchUp(events, make_api(frigate), submissions, settings, clock).look_back()
        found = {each.subject.id: each for each in events.open}
        assert ended in found
        assert not found[ended].is_old
        assert goes_on not in found
        assert submissions.detect_sizes["front_door"] == (1280.0, 720.0)
