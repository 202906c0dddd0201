"""Large requests in pieces: the elements of one array are cut out, and read when their turn comes.

Read as a whole, a batch of 64 MiB takes several times its size. Here nothing is built: the text is
passed over once, strings and brackets are the only things looked at, and an element is a view of
the bytes that came. Whether it is JSON is found out by whoever reads it.
"""

import re

from broker.codec import PayloadError

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}:,"]', re.DOTALL)
# Three hundred a frame, where a frame needs fifty; all of them take half a second of a core.
_MOST_TOKENS = 300_000


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
    for number, match in enumerate(_TOKEN.finditer(payload)):
        if number >= _MOST_TOKENS:
            raise PayloadError("bad_json", "has too many values")
        token, (start, end) = match[0] if match.end() - match.start() < 64 else b"", match.span()
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
        elif token == b'"':
            raise PayloadError("bad_json", f"a text has no end, from byte {start}")
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


def _add(elements: list[memoryview] | None, element: memoryview, *, is_last: bool) -> None:
    """Take an element; blanks alone are an empty array, and elsewhere no JSON."""
    is_blank = len(element) < 1024 and not bytes(element).strip()
    if elements is None or (is_blank and is_last and not elements):
        return
    if is_blank:
        raise PayloadError("bad_json", "an array has a comma too many")
    elements.append(element)
