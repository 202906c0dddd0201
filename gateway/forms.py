"""Multipart forms: texts and files by name, out of a body that is there as a whole.

Cut at its boundary in one pass, so a body of nothing but boundaries costs no more than any other;
no part is ever written to a file.
"""

from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header

from gateway.problems import Problem

MOST_PARTS = 64  # a frame has two dozen fields
_MOST_HEADER_BYTES = 4096
_MOST_BOUNDARY_BYTES = 70  # RFC 2046, section 5.1.1
_MOST_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A part that names a file."""

    name: str  #: as its sender calls it
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """The parts; of two with one name the last one counts."""

    texts: dict[str, str]
    files: dict[str, File]

    def only_file(self) -> tuple[str, File] | None:
        """The one file with its name.

        Raises:
            Problem: There are several.
        """
        if len(self.files) > 1:
            raise Problem("bad_field", f"one picture, not {', '.join(self.files)}"[:200])
        return next(iter(self.files.items()), None)


def read_form(body: bytes, content_type: str, most_text_bytes: int = _MOST_TEXT_BYTES) -> Form:
    """Take a form apart.

    Args:
        body: All of it.
        content_type: The header, which has the boundary.
        most_text_bytes: Of a part that is no file.

    Raises:
        Problem: `bad_request`: it is none, is cut, or has too many parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _MOST_BOUNDARY_BYTES:
        raise Problem("bad_request", "the form's Content-Type names no boundary")
    form = Form({}, {})
    # The line end before a boundary belongs to it, and the first one has none.
    delimiter = b"--" + boundary
    first, *pieces = body.split(b"\r\n" + delimiter, MOST_PARTS + 1)
    if first.startswith(delimiter):  # else it is a preamble, which nobody reads
        pieces.insert(0, first[len(delimiter) :])
    if len(pieces) > MOST_PARTS + 1:
        raise Problem("bad_request", f"the form has more than {MOST_PARTS} parts")
    if not pieces or not pieces[-1].startswith(b"--"):
        raise Problem("bad_request", "the form is cut: its last boundary is missing")
    for piece in pieces[:-1]:
        _add(piece, form, most_text_bytes)
    return form


def _add(piece: bytes, form: Form, most_text_bytes: int) -> None:
    """Put a part where it belongs."""
    head, _, content = piece.partition(b"\r\n\r\n")
    if len(head) > _MOST_HEADER_BYTES or not head.startswith((b"\r\n", b" ", b"\t")):
        raise Problem("bad_request", "a part of the form has no headers")
    headers = dict(_header(line) for line in head.split(b"\r\n") if line.strip())
    kind, options = parse_options_header(headers.get("content-disposition", ""))
    name = options.get(b"name", b"").decode("utf-8", "replace")
    if kind != b"form-data" or not name:
        raise Problem("bad_request", "a part of the form has no name")
    if b"filename" in options:
        file_name = options[b"filename"].decode("utf-8", "replace")
        form.files[name] = File(file_name, headers.get("content-type", ""), content)
        return
    if len(content) > most_text_bytes:
        raise Problem("payload_too_large", f"{name[:64]}: is too long for a text", param=name[:64])
    try:
        form.texts[name] = content.decode()
    except UnicodeDecodeError as error:
        raise Problem("bad_field", f"{name[:64]}: is not UTF-8", param=name[:64]) from error


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("latin-1").partition(":")
    return name.strip().lower(), value.strip()
