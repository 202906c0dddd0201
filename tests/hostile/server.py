"""The HTTP server that hostile URLs lead to: images, and everything that is none."""

import asyncio
import gzip

from tests.hostile.case import PLAIN
from tests.hostile.families.images import specimens
from tests.support.http_receivers import (
    Behaviour,
    Receiver,
    Request,
    answers,
    drips_head,
    says_nothing,
    sends_endless_body,
    sends_endless_head,
)

HOOK = "/hook"


def hostile_server() -> Receiver:
    bomb = next(each.data for each in specimens() if each.name == "png-2-to-31")
    by_path: dict[str, Behaviour] = {
        HOOK: answers(204, body=b""),
        "/good.jpg": answers(200, body=PLAIN),
        "/redirect": answers(302, "Location: http://127.0.0.1:1883/\r\n"),
        "/missing": answers(404),
        "/broken": answers(500),
        "/compressed": answers(200, "Content-Encoding: gzip\r\n", gzip.compress(PLAIN)),
        "/empty": answers(200, body=b""),
        "/page": answers(200, body=b"<html>"),
        "/bomb": answers(200, body=bomb),
        "/endless": sends_endless_body,
        "/endless-head": sends_endless_head,
        "/slow-head": drips_head,
        "/silence": says_nothing,
        "/no-http": _speaks_something_else,
    }

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        path = request.target.split("?")[0].split("/secret")[0]
        await by_path.get(path, answers(404))(request, writer)

    return Receiver(behave)


async def _speaks_something_else(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n")
    await writer.drain()


def shaped_by_senders(receiver: Receiver) -> list[str]:
    """What hostile headers have changed in the requests of our webhooks; nothing should be."""
    return [
        f"webhook with {name}: {request.headers.get(name)!r}"
        for request in receiver.requests
        if request.method == "POST"
        for name, is_right in {
            "host": request.headers.get("host") == f"127.0.0.1:{receiver.port}",
            "content-type": request.headers.get("content-type") == "application/json",
            "content-length": request.headers.get("content-length") == str(len(request.body)),
            "user-agent": request.headers.get("user-agent", "").startswith("moondream2mqtt/"),
            "webhook-id": request.headers.get("webhook-id") not in {None, "forged"},
            "webhook-signature": "forged" not in request.headers.get("webhook-signature", "forged"),
            "transfer-encoding": "transfer-encoding" not in request.headers,
            "upgrade": "upgrade" not in request.headers,
            "expect": "expect" not in request.headers,
            "proxy-authorization": "proxy-authorization" not in request.headers,
            # The operator's, for the operator's URL alone; see `lab.py`.
            "x-token": ("x-token" in request.headers) == ("key=" in request.target),
        }.items()
        if not is_right
    ]
