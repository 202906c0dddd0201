"""What the language model reads, as embeddings: tokens, and numbers in the place of tokens."""

from collections.abc import Sequence

from torch import Tensor

from moondream2.model import Moondream
from moondream2.staging import to_device
from moondream2.tokens import Coordinate, Feed, Size


def embed(model: Moondream, feeds: Sequence[Feed]) -> Tensor:
    """Embed what is read: T feeds to (T, W), on the device of the model."""
    device = model.device
    ids = [feed if isinstance(feed, int) else 0 for feed in feeds]
    embeddings = model.text.embed(to_device(ids, device))
    if places := [i for i, feed in enumerate(feeds) if isinstance(feed, Coordinate)]:
        values = [[feed.value] for feed in feeds if isinstance(feed, Coordinate)]
        numbers = to_device(values, device)  # (n, 1)
        embeddings[to_device(places, device)] = model.region.encode_coordinate(numbers)
    if places := [i for i, feed in enumerate(feeds) if isinstance(feed, Size)]:
        values = [[feed.width, feed.height] for feed in feeds if isinstance(feed, Size)]
        numbers = to_device(values, device)  # (n, 2)
        embeddings[to_device(places, device)] = model.region.encode_size(numbers)
    return embeddings
