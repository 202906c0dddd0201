from tests.unit.service.homeassistant.snapshot import FILE, snapshot


def test_what_home_assistant_is_told_is_as_it_was() -> None:
    """Written by `python -m tests.unit.service.homeassistant.snapshot`; read the difference."""
    assert snapshot() == FILE.read_text(encoding="utf-8")
