from service.engines.partials import Partials

KEY = "front/job-1"


def test_pieces_are_told_without_blanks_at_the_ends_of_the_whole() -> None:
    partials, heard = Partials(), list[str]()
    with partials.of(KEY, heard.append):
        for piece in (" A ", "cat ", "sits. "):
            partials.add(KEY, piece)
    assert heard == ["A", " cat", " sits."]


def test_second_run_tells_only_what_goes_beyond_the_first() -> None:
    partials, heard = Partials(), list[str]()
    with partials.of(KEY, heard.append):
        partials.add(KEY, "A cat sits ")
        partials.restart(KEY)
        partials.add(KEY, "A cat ")
        partials.add(KEY, "sits on a mat.")
    assert heard == ["A cat sits", " on a mat."]


def test_second_run_that_says_something_else_is_not_told() -> None:
    partials, heard = Partials(), list[str]()
    with partials.of(KEY, heard.append):
        partials.add(KEY, "A cat ")
        partials.restart(KEY)
        partials.add(KEY, "A dog sits on a mat.")
    assert heard == ["A cat"]


def test_who_comes_later_is_told_all_of_it() -> None:
    partials, first, second = Partials(), list[str](), list[str]()
    with partials.of(KEY, first.append):
        partials.add(KEY, "A cat ")
        with partials.of(KEY, second.append):
            partials.add(KEY, "sits.")
    assert (first, second) == (["A cat", " sits."], ["A cat sits."])


def test_nothing_is_kept_of_jobs_that_nobody_hears() -> None:
    partials = Partials()
    partials.restart(KEY)
    partials.add(KEY, "A cat")
    assert not partials.are_heard(KEY)
    with partials.of(KEY, print):
        assert partials.are_heard(KEY)
    assert len(partials) == 0
