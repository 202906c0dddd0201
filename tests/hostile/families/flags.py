"""Flags of a PUBLISH, wrong packets, and senders that leave in the middle of one."""

from collections.abc import Iterator

from tests.hostile.case import (
    BASE,
    BROKER,
    COMPLETED,
    FRAME,
    PLAIN,
    SILENT,
    Case,
    Cases,
    Shot,
    case,
    of_shots,
    picture,
    rejected,
)
from tests.hostile.wire import Protocol, Publication, packet, text


def cases() -> Cases:
    for qos in (0, 1, 2):
        at = {"qos": qos, "image": picture()}
        yield case(f"retained at QoS {qos}", picture(), COMPLETED, retain=True, **at)
        cleared = Shot(b"", rejected("empty_payload"), qos=qos, retain=True)
        yield of_shots(f"nothing, retained, at QoS {qos}", cleared)
    for qos in (1, 2):
        at = {"qos": qos, "image": picture()}
        yield case(f"said to be a duplicate at QoS {qos}", picture(), COMPLETED, dup=True, **at)
    # The protocol forbids it; the broker may see to it.
    may_be = COMPLETED | BROKER
    yield case("duplicate at QoS 0", picture(), may_be, qos=0, dup=True, is_alone=True)
    yield case("a last will", picture(), COMPLETED, is_will=True, image=picture())
    yield case("an empty last will", b"", rejected("empty_payload"), is_will=True)
    yield case("a will of words", b"offline", rejected("not_an_image"), is_will=True)
    replay = picture()
    early = {"topic": f"{BASE}/replayed/frame", "qos": 1, "retain": True, "is_early": True}
    yield case("a replay", replay, SILENT, **early)
    for protocol in ("3.1.1", "5"):
        for name, data, expect in _packets(protocol):
            shot = Shot(picture(), expect, packet=data, is_alone=True)
            yield Case(f"{name}, {protocol}", (shot,), (protocol,))


def _packets(protocol: Protocol) -> Iterator[tuple[str, bytes, frozenset[str]]]:
    """Name, bytes and outcome; what the broker makes of it is its own matter."""
    frame = Publication(FRAME.encode(), picture(), qos=2)
    first, released = frame.encode(protocol, 7), b"\x62\x02\x00\x07"
    again = bytes([first[0] | 0x08]) + first[1:]
    yield "QoS 3", bytes([0x36]) + first[1:], SILENT
    yield "packet id zero", frame.encode(protocol, 0), SILENT
    yield "never released", first, SILENT
    yield "released twice", first + released + released, COMPLETED
    yield "sent twice before the release", first + again + released, COMPLETED
    yield "released without a message", released, SILENT
    yield "cut off", first[: len(first) // 2], SILENT
    yield "nothing but a head", b"\x30", SILENT
    yield "no topic", packet(0x30, b""), SILENT
    yield "topic longer than the packet", packet(0x30, b"\xff\xffa"), SILENT
    yield "length of five bytes", b"\x30\xff\xff\xff\xff\x7f", SILENT
    yield "a quarter of a gigabyte", b"\x30\xff\xff\xff\x7f", SILENT
    yield "just above the broker's limit", b"\x30\x81\x80\x80\x03", SILENT
    yield "reserved packet", packet(0x00, b""), SILENT
    yield "second CONNECT", packet(0x10, text("MQTT") + b"\x04\x02\x00\x00\x00\x00"), SILENT
    yield "SUBSCRIBE with wrong flags", packet(0x80, b"\x00\x01\x00" + text("#") + b"\x01"), SILENT
    yield "acknowledges nothing", b"\x40\x02\x00\x09" + b"\x70\x02\x00\x09", SILENT
    yield "AUTH", packet(0xF0, b""), SILENT
    yield "words", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", SILENT
    yield "half of it, then PINGREQ", first[:-8] + b"\xc0\x00" + PLAIN[:6], SILENT
