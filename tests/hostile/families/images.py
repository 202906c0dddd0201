"""Images that hurt: 200 hostile, damaged and unusual files, each with what must become of it.

Everything is made here from a fixed seed; nothing is a real picture. `accept` files decode to the
given size, `reject` files are refused with one of the given codes, by header or by decoder.
"""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, PngImagePlugin

from tests.hostile.case import COMPLETED, Cases, case, failed, rejected
from tests.support.factories import make_image, make_picture


@dataclass(frozen=True, slots=True)
class Specimen:
    name: str
    data: bytes
    codes: frozenset[str] = frozenset()  #: empty: accepted
    size: tuple[int, int] | None = None  #: once decoded; None: not known, or rejected


TRUNCATED = frozenset({"image_truncated", "image_corrupt", "not_an_image"})
DAMAGED = TRUNCATED | {"image_too_small", "side_too_long", "too_many_pixels", "image_animated"}
LARGE = frozenset({"too_many_pixels", "side_too_long"})


def cases() -> Cases:
    for each in specimens():
        yield case(each.name, each.data, _ends(each), image=each.data, size=each.size)


def _ends(specimen: Specimen) -> frozenset[str]:
    """By header an image is refused, by its pixels it fails."""
    if not specimen.codes:
        return COMPLETED
    if not specimen.data:
        return rejected("empty_payload")
    if specimen.data.startswith(b"{"):
        return rejected("bad_field")
    codes = {"payload_too_large" if code == "too_many_bytes" else code for code in specimen.codes}
    may_pass = COMPLETED if "maybe" in codes else frozenset()
    return rejected(*codes) | failed(*codes) | may_pass


def specimens() -> list[Specimen]:
    return [
        *_orientations(),
        *_unusual_modes(),
        *_truncations(),
        *costly(),
        *_not_images(),
        *_flipped_bytes(),
    ]


def costly() -> list[Specimen]:
    """Those that are there for what they could cost, and those that cost most."""
    return [*_bombs(), *_animations(), *_edges()]


def small() -> list[Specimen]:
    """Those that are made in a moment."""
    return [*_orientations(), *_unusual_modes(), *_not_images(), *_flipped_bytes()]


def _reject(name: str, data: bytes, *codes: str) -> Specimen:
    return Specimen(name, data, frozenset(codes))


def _save(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _orientations() -> Iterator[Specimen]:
    """1 to 8 and what is none, in every format that carries EXIF."""
    for orientation in (*range(1, 9), 0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for form in ("JPEG", "PNG", "WEBP"):
            turned = orientation in range(5, 9)
            data = make_image(size=(64, 32), form=form, exif=exif.tobytes())
            size = (32, 64) if turned else (64, 32)
            yield Specimen(f"exif-{orientation}-{form}", data, size=size)
    broken = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30
    yield Specimen("exif-broken", make_image(size=(64, 32), exif=broken), size=(64, 32))


def _unusual_modes() -> Iterator[Specimen]:
    picture = make_picture(size=(64, 48))
    sixteen = Image.new("I;16", (64, 48), 40_000)
    for name, data in {
        "cmyk": _save(picture.convert("CMYK"), "JPEG"),
        "grey-jpeg": _save(picture.convert("L"), "JPEG"),
        "progressive": _save(picture, "JPEG", progressive=True),
        "subsampling-444": _save(picture, "JPEG", subsampling=0),
        "rgba": _save(picture.convert("RGBA"), "PNG"),
        "la": _save(picture.convert("LA"), "PNG"),
        "one-bit": _save(picture.convert("1"), "PNG"),
        "palette": _save(picture.convert("P"), "PNG"),
        "palette-transparent": _save(picture.convert("P"), "PNG", transparency=0),
        "sixteen-bit-grey": _save(sixteen, "PNG"),
        "sixteen-bit-rgba": _sixteen_bit_rgba(64, 48),
        "webp-lossless": _save(picture, "WEBP", lossless=True),
        "webp-alpha": _save(picture.convert("RGBA"), "WEBP"),
        "two-pictures": _save(picture, "MPO", save_all=True, append_images=[picture]),
        "padded": make_image(size=(64, 48)) + b"\0" * 4096,
        "fill-bytes": b"\xff\xd8" + b"\xff" * 200 + make_image(size=(64, 48))[2:],
        "long-comment": _save(picture, "JPEG", comment=b"x" * 60_000),
        "profile": _save(picture, "JPEG", icc_profile=b"p" * 200_000),
    }.items():
        yield Specimen(name, data, size=(64, 48))


def _truncations() -> Iterator[Specimen]:
    for form, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ):
        data = make_image(size=(640, 480), form=form, **options)
        for share in range(16):
            kept = data[: len(data) * share // 16]
            yield Specimen(f"cut-{form}-{options}-{share}", kept, TRUNCATED)
        yield Specimen(f"cut-{form}-{options}-last", data[:-1], TRUNCATED)


def _bombs() -> Iterator[Specimen]:
    yield _reject("png-20000-squared", _png(20_000, 20_000), *LARGE)
    yield _reject("png-2-to-31", _png(2**31 - 1, 2**31 - 1), *LARGE)
    yield _reject("png-zero", _png(0, 0), "image_too_small")
    yield _reject("png-at-the-side", _png(8193, 100), *LARGE)
    yield _reject("png-13000-1-bit", _png(13_000, 12_800), *LARGE)
    yield _reject("png-25-mp", _png(5000, 5000), "too_many_pixels")
    jpeg = make_image(size=(64, 64))
    yield _reject("jpeg-65535-squared", _jpeg_sized(jpeg, 65_535, 65_535), *LARGE)
    yield _reject("jpeg-zero-high", _jpeg_sized(jpeg, 64, 0), "image_too_small")
    progressive = make_image(size=(64, 64), progressive=True)
    yield _reject("progressive-25-mp", _jpeg_sized(progressive, 5000, 5000), "too_many_pixels")
    for repeats in (100, 1000):
        yield _reject(f"scans-{repeats}", _repeat_last_scan(progressive, repeats), "too_many_scans")
    yield _reject("webp-16383-squared", _webp_sized(16_383, 16_383), *LARGE)
    yield _reject("webp-canvas", _webp_canvas(2**24, 2**24), *LARGE)
    yield _reject("webp-canvas-lies", _webp_canvas(64, 64), *DAMAGED)
    yield _reject("text-chunks", _png_with_text(60, 1 << 20), "image_corrupt")
    yield _reject("jpeg-segments", b"\xff\xd8" + b"\xff\xe0\0\x02" * 100_000, "image_corrupt")
    yield _reject("jpeg-padding", b"\xff\xd8" + b"\xff" * 1_000_000, "image_corrupt")
    yield _reject("larger-than-allowed", jpeg + b"\0" * (4 << 20), "too_many_bytes")
    # More rows than the header promises: they are not read.
    yield Specimen("png-inflates", _png(2000, 2000, rows=b"\0" * (50 << 20)), size=(2000, 2000))


def _animations() -> Iterator[Specimen]:
    frames = [make_picture(seed, (64, 64)) for seed in range(3)]
    for form in ("PNG", "WEBP"):
        data = _save(frames[0], form, save_all=True, append_images=frames[1:])
        yield _reject(f"animated-{form}", data, "image_animated")
    many = [Image.new("RGB", (16, 16), (n % 256, n // 256, 0)) for n in range(1000)]
    data = _save(many[0], "WEBP", save_all=True, append_images=many[1:], lossless=True)
    yield _reject("animated-1000", data, "image_animated")


def _not_images() -> Iterator[Specimen]:
    picture = make_picture(size=(64, 64))
    for name, data in {
        "empty": b"",
        "one-byte": b"\xff",
        "text": b"motion detected",
        "json": b'{"camera_id": "front"}',
        "gif": _save(picture, "GIF"),
        "tiff": _save(picture, "TIFF"),
        "bmp": _save(picture, "BMP"),
        "pdf": _save(picture, "PDF"),
        "ico": _save(picture, "ICO"),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
        "zeros": b"\0" * 10_000,
        "gif-then-jpeg": _save(picture, "GIF") + make_image(),
    }.items():
        yield _reject(name, data, "not_an_image")
    rng = random.Random(1)
    for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBP"):
        for number in range(8):
            noise = rng.randbytes(rng.randrange(1, 3000))
            yield Specimen(f"noise-{magic!r}-{number}", magic + noise, DAMAGED)


def _edges() -> Iterator[Specimen]:
    yield Specimen("smallest", make_image(size=(16, 16)), size=(16, 16))
    yield _reject("too-small", make_image(size=(15, 16)), "image_too_small")
    yield _reject("one-pixel", make_image(size=(1, 1), form="PNG"), "image_too_small")
    yield Specimen("long", make_image(size=(8192, 16)), size=(8192, 16))
    yield _reject("too-long", make_image(size=(8193, 16)), "side_too_long")
    yield Specimen("4k-png", make_image(size=(4096, 2160), form="PNG"), size=(4096, 2160))
    yield Specimen("4k-webp", make_image(size=(4096, 2160), form="WEBP"), size=(4096, 2160))
    yield Specimen(
        "4k-progressive", make_image(size=(4096, 2160), progressive=True), size=(4096, 2160)
    )
    yield Specimen("24-mp", make_image(size=(6000, 4000)), size=(3000, 2000))


def _flipped_bytes() -> Iterator[Specimen]:
    """Damage anywhere: decoded or refused, never anything else. The codes are those allowed."""
    rng = random.Random(2)
    for form in ("JPEG", "PNG", "WEBP"):
        data = make_image(size=(200, 150), form=form)
        for number in range(12):
            damaged = bytearray(data)
            for _ in range(1 + number):
                damaged[rng.randrange(12, len(data))] = rng.randrange(256)
            yield Specimen(f"flipped-{form}-{number}", bytes(damaged), DAMAGED | {"maybe"})


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack("!I", len(content)) + kind + content + struct.pack("!I", _crc(kind, content))


def _crc(kind: bytes, content: bytes) -> int:
    return zlib.crc32(kind + content)


def _png(width: int, height: int, rows: bytes = b"\0" * 10_000) -> bytes:
    """A PNG whose header promises what its few rows do not hold."""
    header = struct.pack("!IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows)[:-8])
        + _chunk(b"IEND", b"")
    )


def _sixteen_bit_rgba(width: int, height: int) -> bytes:
    header = struct.pack("!IIBBBBB", width, height, 16, 6, 0, 0, 0)
    rows = (b"\0" + b"\x80\x00\x40\x00\x20\x00\xff\xff" * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def _png_with_text(count: int, size: int) -> bytes:
    text = PngImagePlugin.PngInfo()
    for number in range(count):
        text.add_text(f"note{number}", "x" * (size - 1), zip=True)
    return _save(make_picture(size=(64, 64)), "PNG", pnginfo=text)


def _jpeg_sized(data: bytes, width: int, height: int) -> bytes:
    """The JPEG with other dimensions in its frame header."""
    marker = b"\xff\xc2" if b"\xff\xc2" in data else b"\xff\xc0"
    place = data.index(marker) + 5
    return data[:place] + struct.pack("!HH", height, width) + data[place + 4 :]


def _repeat_last_scan(data: bytes, times: int) -> bytes:
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * times + b"\xff\xd9"


def _riff(content: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def _webp_sized(width: int, height: int) -> bytes:
    frame = b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\0" * 30
    return _riff(b"VP8 " + struct.pack("<I", len(frame)) + frame)


def _webp_canvas(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sizes
    still = make_image(size=(48, 48), form="WEBP")[12:]
    return _riff(canvas + still)
