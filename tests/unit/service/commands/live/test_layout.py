import pytest

from service.commands.live.layout import plan, share


@pytest.mark.parametrize("num_cameras", [1, 3, 4, 17, 64, 300])
@pytest.mark.parametrize("height", [0, 1, 2, 3, 5, 18, 55])
@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_plan_never_takes_more_rows_than_there_are(
    num_cameras: int, width: int, height: int
) -> None:
    planned = plan(num_cameras, width, height, with_pictures=True)
    used = planned.num_shown * planned.slot
    assert used + planned.spare == height
    assert planned.spare >= (planned.num_shown < num_cameras and height > 0)
    assert width - planned.picture_width >= min(width, 38)


def test_four_cameras_on_eighty_columns_have_four_rows_and_pictures() -> None:
    planned = plan(4, 80, 18, with_pictures=True)
    assert (planned.num_shown, planned.slot, planned.picture_width) == (4, 4, 14)


def test_picture_is_as_wide_as_its_rows_without_the_empty_one() -> None:
    assert plan(4, 120, 33, with_pictures=True).picture_width == 25  # of 7 rows


def test_captions_have_room_before_pictures_have() -> None:
    assert plan(4, 60, 13, with_pictures=True).picture_width == 0
    assert plan(4, 80, 13, with_pictures=True).picture_width == 11
    assert plan(1, 60, 6, with_pictures=True).picture_width == 15


def test_many_cameras_on_a_wide_screen_share_lines_with_their_captions() -> None:
    planned = plan(64, 200, 55, with_pictures=True)
    assert (planned.num_shown, planned.slot, planned.picture_width) == (54, 1, 0)


def test_long_captions_take_what_is_spare_the_newest_first() -> None:
    assert share(4, [4, 6, 7], by_age=[2, 1, 0], spare=4, least=4) == [4, 5, 7]


def test_newest_caption_takes_what_others_leave_but_their_pictures() -> None:
    assert share(6, [3, 12, 3], by_age=[1, 0, 2], spare=0, least=4) == [4, 10, 4]
