from moondream2.branches import Branches


def test_sequences_share_what_they_begin_with() -> None:
    branches = Branches.of(9, [(1, 2), (1, 3), (4,)])
    assert branches.tokens == (9, 1, 2, 3, 4)
    assert branches.parents == (0, 0, 1, 1, 0)
    assert branches.ends == (2, 3, 4)
    assert branches.depths == [0, 1, 2, 2, 1]


def test_token_sees_its_own_way_only() -> None:
    branches = Branches.of(9, [(1, 2), (1, 3), (4,)])
    seen = [[place for place, sees in enumerate(row) if sees] for row in branches.sees]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 4]]


def test_sequence_that_another_one_begins_with_ends_inside_of_it() -> None:
    branches = Branches.of(9, [(1, 2), (1,), (1, 2)])
    assert branches.tokens == (9, 1, 2)
    assert branches.ends == (2, 1, 2)


def test_weight_of_a_sequence_is_its_tokens_and_the_stop_behind_it() -> None:
    branches = Branches.of(9, [(1, 2), (1, 3), (4,)])
    assert branches.steps(0) == [(0, 1), (1, 2), (1, 3), (0, 4), (2, 0), (3, 0), (4, 0)]
    assert branches.weigh([1, 20, 30, 4, 200, 300, 400]) == [1 + 20 + 200, 1 + 30 + 300, 4 + 400]
