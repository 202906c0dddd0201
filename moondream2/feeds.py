"""What the language model reads, as embeddings: tokens, and numbers in the place of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from moondream2.model import Moondream
from moondream2.sampling import Picks
from moondream2.staging import to_device
from moondream2.tokens import Coordinate, Feed, Size


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """A token that is picked and not told yet: it is read where it lies."""

    of: Picks
    index: int


#: What can be read, also before its token is known here.
Readable = Feed | Picked


def embed(model: Moondream, feeds: Sequence[Readable]) -> Tensor:
    """Embed what is read: T feeds to (T, W), on the device of the model."""
    device = model.device
    embeddings = model.text.embed(_ids(feeds, model))
    if places := [i for i, feed in enumerate(feeds) if isinstance(feed, Coordinate)]:
        values = [[feed.value] for feed in feeds if isinstance(feed, Coordinate)]
        numbers = to_device(values, device)  # (n, 1)
        embeddings[to_device(places, device)] = model.region.encode_coordinate(numbers)
    if places := [i for i, feed in enumerate(feeds) if isinstance(feed, Size)]:
        values = [[feed.width, feed.height] for feed in feeds if isinstance(feed, Size)]
        numbers = to_device(values, device)  # (n, 2)
        embeddings[to_device(places, device)] = model.region.encode_size(numbers)
    return embeddings


def _ids(feeds: Sequence[Readable], model: Moondream) -> Tensor:
    """Return the ids of tokens, (T,); any id where there is a number."""
    device = model.device
    picked = [feed for feed in feeds if isinstance(feed, Picked)]
    if len(picked) == len(feeds) and _is_all_of_one(picked):
        return picked[0].of.tokens
    ids = to_device([feed if isinstance(feed, int) else 0 for feed in feeds], device)
    if picked:
        of = picked[0].of
        assert all(feed.of is of for feed in picked), "tokens of two steps are read in one"
        places = [i for i, feed in enumerate(feeds) if isinstance(feed, Picked)]
        ids[to_device(places, device)] = of.tokens[
            to_device([feed.index for feed in picked], device)
        ]
    return ids


def _is_all_of_one(picked: Sequence[Picked]) -> bool:
    """Whether they are all tokens of one step, in their order."""
    of = picked[0].of
    return len(picked) == len(of) and all(
        feed.of is of and feed.index == i for i, feed in enumerate(picked)
    )
