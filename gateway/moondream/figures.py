"""What Moondream Station says of its work beside each answer."""

from gateway.chat.tokens import estimate


def figures(text: str, seconds: float) -> dict[str, float]:
    """Of an answer.

    Args:
        text: What the model said; empty where it gave places.
        seconds: From the request to its end.
    """
    tokens = estimate(text)
    said: dict[str, float] = {"tokens": tokens, "duration": round(seconds, 3)}
    if tokens and seconds > 0:
        said["tokens_per_sec"] = round(tokens / seconds, 1)
    return said
