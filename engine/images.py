"""What an image's header says, read without an image library.

Frames come from outside, and image libraries are where hostile bytes do harm. The asyncio process
therefore reads headers itself, a few fields of three formats, and never decodes a pixel; pixels are
decoded in the engine process, which may die of them (`engine/pixels.py`).

Everything that makes decoding expensive stands in the header or can be counted, so what passes
`inspect` decodes in bounded time and memory. Whether it decodes at all, only the decoder knows.
"""

from dataclasses import dataclass

from engine.errors import ImageDecodeError, ImageTooLargeError

#: Scans of one JPEG. A progressive file has about ten; decoding time grows with each, 16 ms per
#: scan at 25 megapixels, and a scan can be had for 140 bytes.
MAX_SCANS = 64
#: Marker segments before the first scan; real files have some tens, with a long colour profile.
_MAX_SEGMENTS = 1000
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # no length follows


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is accepted; the same names and defaults as the settings' `frames`."""

    max_bytes: int = 4 << 20
    max_pixels: int = 25_000_000  #: of a JPEG that decodes line by line
    max_pixels_costly: int = 8_900_000  #: of everything else; a larger JPEG is decoded reduced
    max_side: int = 8192
    min_side: int = 16


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known about an image before it is decoded."""

    format: str  #: `JPEG`, `PNG` or `WEBP`
    width: int
    height: int
    is_costly: bool  #: the decoder holds the whole picture, or more, at once


def inspect(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Read an image's header and hold it against the limits.

    Raises:
        ImageTooLargeError: `too_many_bytes`, `too_many_pixels`, `side_too_long`, `too_many_scans`.
        ImageDecodeError: `not_an_image`, `image_truncated`, `image_corrupt`, `image_animated`,
            `image_too_small`.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            "too_many_bytes",
            f"the image has {len(data)} bytes, at most {limits.max_bytes} are accepted",
        )
    if data[:3] == b"\xff\xd8\xff":
        header = _read_jpeg(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        header = _read_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = _read_webp(data)
    else:
        raise ImageDecodeError("not_an_image", "not a JPEG, PNG or WebP image")
    check_size(header, limits)
    return header


def check_size(header: ImageHeader, limits: ImageLimits) -> None:
    """Hold an image's dimensions against the limits; errors as `inspect`."""
    width, height = header.width, header.height
    size = f"the image has {width} x {height} pixels"
    if min(width, height) < limits.min_side:
        raise ImageDecodeError(
            "image_too_small", f"{size}, each side must have at least {limits.min_side}"
        )
    if max(width, height) > limits.max_side:
        raise ImageTooLargeError(
            "side_too_long", f"{size}, a side may have at most {limits.max_side}"
        )
    allowed = limits.max_pixels_costly if header.is_costly else limits.max_pixels
    if width * height > allowed:
        raise ImageTooLargeError(
            "too_many_pixels",
            f"{size}, at most {allowed} in all are accepted in this kind of {header.format}",
        )


def _truncated(kind: str) -> ImageDecodeError:
    return ImageDecodeError("image_truncated", f"the {kind} image is cut off")


def _corrupt(kind: str) -> ImageDecodeError:
    return ImageDecodeError("image_corrupt", f"the {kind} image is damaged")


def _animated(kind: str) -> ImageDecodeError:
    return ImageDecodeError("image_animated", f"the {kind} image has several frames, send one")


def _read_jpeg(data: bytes) -> ImageHeader:
    """Walk the marker segments up to the first scan."""
    position = 2
    frame: tuple[int, int, int, int] | None = None  # marker, height, width, components
    for _ in range(_MAX_SEGMENTS):
        position = data.find(b"\xff", position)
        if position < 0 or position + 4 > len(data):
            raise _truncated("JPEG")
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in _BARE_MARKERS:
            position += 2
            continue
        if marker == 0xD9:
            raise _corrupt("JPEG")
        length = int.from_bytes(data[position + 2 : position + 4])
        segment = data[position + 4 : position + 2 + length]
        if len(segment) != length - 2:
            raise _truncated("JPEG") if length >= 2 else _corrupt("JPEG")
        if marker in _FRAME_MARKERS and len(segment) >= 6:
            height, width = int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
            frame = marker, height, width, segment[5]
        if marker == 0xDA:
            return _jpeg_header(data, position, segment, frame)
        position += 2 + length
    raise _corrupt("JPEG")


def _jpeg_header(
    data: bytes, position: int, scan: bytes, frame: tuple[int, int, int, int] | None
) -> ImageHeader:
    """Judge a JPEG by its frame header and what comes from its first scan on."""
    if frame is None or not scan:
        raise _corrupt("JPEG")
    if data.rfind(b"\xff\xd9", position) < 0:
        raise _truncated("JPEG")
    marker, height, width, components = frame
    # With several scans the decoder keeps the coefficients of the whole picture. This is the test
    # that libjpeg itself makes; where it fails, nothing after the first scan is read.
    is_costly = marker not in _SEQUENTIAL or scan[0] < components
    # Inside compressed data 0xFF is always escaped, so these two bytes are always a scan.
    if is_costly and (scans := data.count(b"\xff\xda", position)) > MAX_SCANS:
        raise ImageTooLargeError(
            "too_many_scans", f"the JPEG image has {scans} scans, at most {MAX_SCANS} are accepted"
        )
    return ImageHeader("JPEG", width, height, is_costly)


def _read_png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise _corrupt("PNG")
    pixels = data.find(b"IDAT", 33)
    if pixels < 0 or data.rfind(b"IEND\xaeB`\x82", pixels) < 0:
        raise _truncated("PNG")
    if data.find(b"acTL", 33, pixels) >= 0:
        raise _animated("PNG")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return ImageHeader("PNG", width, height, is_costly=True)


def _read_webp(data: bytes) -> ImageHeader:
    if len(data) < max(30, 8 + int.from_bytes(data[4:8], "little")):
        raise _truncated("WebP")
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & 0x02:
            raise _animated("WebP")
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
    elif kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        height = int.from_bytes(data[28:30], "little") & 0x3FFF
    else:
        raise _corrupt("WebP")
    return ImageHeader("WEBP", width, height, is_costly=True)
