"""Large requests in pieces: the elements of one array are cut out, and read when their turn comes.

Read as a whole, a batch of 64 MiB takes several times its size. Here nothing is built: the text is
passed over once, strings and brackets are the only things looked at, and an element is a view of
the bytes that came. Whether it is JSON is found out by whoever reads it.
"""

import re
from collections.abc import Iterator

from broker.codec import PayloadError

_TOKEN = re.compile(rb'[][{}:,"]')
# Three hundred a frame, where a frame needs fifty; all of them take half a second of a core.
_MOST_TOKENS = 300_000
_MOST_ELEMENTS = 10_000  # whoever reads them says how many there may be
# Bytes between two of them outside of texts: numbers, blanks. A search over all of the bytes would
# be one call that lets no other thread run.
_MOST_BETWEEN = 64 << 10


def split_array(payload: bytes, name: str) -> tuple[bytes, list[memoryview] | None]:
    """Cut the elements of an array out of a JSON object.

    Args:
        payload: The object.
        name: Of the array, a key of the object itself. Of two with this name the last one counts.

    Returns:
        The object with the array empty, and the elements; None when there is no such array.

    Raises:
        PayloadError: `bad_json`: brackets do not match, or there are too many values.
    """
    view = memoryview(payload)
    wanted = f'"{name}"'.encode()
    rest: list[memoryview] = []
    elements: list[memoryview] | None = None
    depth, kept_from, element_from = 0, 0, 0
    last_text, is_wanted, is_inside = b"", False, False
    for start, end in _tokens(payload):
        token = payload[start:end] if end - start < 64 else b""
        if token in (b"{", b"["):
            depth += 1
            if depth == 2 and is_wanted and token == b"[":
                is_inside, element_from, elements = True, end, []
                rest.append(view[kept_from:end])
        elif token in (b"}", b"]"):
            depth -= 1
            if is_inside and depth == 1:
                _add(elements, view[element_from:start], is_last=True)
                is_inside, kept_from = False, start
        elif is_inside and depth == 2 and token == b",":
            _add(elements, view[element_from:start], is_last=False)
            element_from = end
        elif depth == 1 and token == b":":
            is_wanted = last_text == wanted
        elif depth == 1 and token == b",":
            is_wanted = False
        elif depth == 1:
            last_text = token
    if depth or is_inside:
        raise PayloadError("bad_json", "its brackets do not match")
    rest.append(view[kept_from:])
    return b"".join(rest), elements


def _tokens(payload: bytes) -> Iterator[tuple[int, int]]:
    """Where brackets, colons, commas and whole texts are.

    Raises:
        PayloadError: `bad_json`: a text has no end, or there are too many values.
    """
    left, end = _MOST_TOKENS, 0
    while (match := _TOKEN.search(payload, end, end + _MOST_BETWEEN)) is not None:
        start, end = match.span()
        left -= 1
        if match[0] == b'"':
            quote = start
            while True:  # an escaped quote is a token too
                left -= 1
                before, quote = quote + 1, payload.find(b'"', quote + 1)
                if quote < 0:
                    raise PayloadError("bad_json", f"a text has no end, from byte {start}")
                if left < 0 or not _is_escaped(payload, before, quote):
                    break
            end = quote + 1
        if left < 0:
            raise PayloadError("bad_json", "has too many values")
        yield start, end
    if end + _MOST_BETWEEN < len(payload):
        raise PayloadError("bad_json", f"has neither brackets nor texts from byte {end}")


def _is_escaped(payload: bytes, start: int, end: int) -> bool:
    """Whether an odd number of backslashes ends the bytes from `start` to `end`."""
    num = 0
    while start < end - num:
        piece = payload[max(start, end - num - _MOST_BETWEEN) : end - num]
        found = len(piece) - len(piece.rstrip(b"\\"))
        num += found
        if found < len(piece):
            break
    return num % 2 == 1


def _add(elements: list[memoryview] | None, element: memoryview, *, is_last: bool) -> None:
    """Take an element; blanks alone are an empty array, and elsewhere no JSON."""
    is_blank = len(element) < 1024 and not bytes(element).strip()
    if elements is None or (is_blank and is_last and not elements):
        return
    if is_blank:
        raise PayloadError("bad_json", "an array has a comma too many")
    if len(elements) >= _MOST_ELEMENTS:
        raise PayloadError("bad_json", "has too many values")
    elements.append(element)
