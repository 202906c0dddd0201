"""Headers of every answer that tell browsers what may be done with it.

A route that says one of them itself keeps its own.
"""

from gateway.guard.asgi import Message

_CSP = (
    b"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    b"form-action 'self'; frame-ancestors "
)

Headers = list[tuple[bytes, bytes]]


def shields(*, is_ingress: bool) -> Headers:
    """Headers of an answer.

    Args:
        is_ingress: Home Assistant shows the page in a frame, from its own origin.
    """
    return [
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"SAMEORIGIN" if is_ingress else b"DENY"),
        (b"content-security-policy", _CSP + (b"'self'" if is_ingress else b"'none'")),
        (b"cache-control", b"no-store"),
    ]


def add(message: Message, headers: Headers) -> None:
    """Put headers into the beginning of an answer, where it has none of that name."""
    said = list(message.get("headers", ()))
    names = {name.lower() for name, _ in said}
    message["headers"] = [*said, *(each for each in headers if each[0] not in names)]
