"""Exchanges with the operator's own hosts, from real servers."""

import asyncio
import re
import ssl
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import httpx
import pytest

from service.errors import ConfigurationError, HostError
from service.http.operator_http import Answer, OperatorHttp
from tests.support.certificates import Certificate, make_certificate
from tests.support.http_receivers import (
    Behaviour,
    Receiver,
    Request,
    answers,
    breaks_tls,
    drips_body,
    drips_head,
    hints,
    in_turn,
    says_nothing,
    sends_endless_body,
    sends_endless_head,
)

_MOST_BYTES = 10_000


async def get(
    url: str, *, http: OperatorHttp | None = None, auth: httpx.Auth | None = None
) -> Answer:
    return await (http or OperatorHttp()).exchange(
        "GET", url, auth=auth, timeout_s=1.0, max_bytes=_MOST_BYTES
    )


async def test_exchange_returns_status_headers_and_body() -> None:
    behave = answers(418, "Set-Cookie: token=a\r\n", b"short and stout")
    async with Receiver(behave) as server:
        answer = await OperatorHttp().exchange(
            *("POST", f"{server.url}?a=1"),
            headers={"Authorization": "Bearer ä", "X-One": "1"},
            json={"text": "ü"},
            timeout_s=1.0,
            max_bytes=100,
        )
        [request] = server.requests
    assert (answer.status, answer.body) == (418, b"short and stout")
    assert answer.headers["set-cookie"] == "token=a"
    assert (request.method, request.target) == ("POST", "/hook?a=1")
    assert request.body.decode() == '{"text":"ü"}'
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-one"] == "1"


async def test_exchange_does_not_follow_a_redirect() -> None:
    async with Receiver() as other, Receiver(answers(302, f"Location: {other.url}\r\n")) as server:
        assert (await get(server.url)).status == 302
        assert not other.requests


@pytest.mark.parametrize(
    "behave",
    [
        drips_head,
        drips_body,
        says_nothing,
        sends_endless_body,
        sends_endless_head,
        hints(1000, answers(200)),
        answers(200, body=b"a" * (_MOST_BYTES + 1)),
        answers(200, "Content-Encoding: gzip\r\n", b"a"),
        answers(200, "Content-Length: x\r\n"),
    ],
)
async def test_exchange_with_a_broken_host_ends_and_says_nothing_of_the_url(
    behave: Behaviour,
) -> None:
    async with Receiver(behave) as server:
        url = f"http://me:secret@127.0.0.1:{server.port}/token?key=secret"
        async with asyncio.timeout(3):
            with pytest.raises(HostError, match=f"^http://127.0.0.1:{server.port}") as caught:
                await get(url)
    assert "secret" not in str(caught.value)
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1/secret", "http://127.0.0.1:1/secret"])
async def test_exchange_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(HostError) as caught:
        await get(url)
    assert "secret" not in str(caught.value)


async def test_exchange_sends_the_urls_user_and_password() -> None:
    async with Receiver() as server:
        await get(f"http://me:secret@127.0.0.1:{server.port}/a")
        assert server.requests[0].headers["authorization"] == "Basic bWU6c2VjcmV0"


def asks_for_digest(password: str, refusal: bytes = b"") -> Behaviour:
    """Answers those who know the password, by the rule of RFC 2617 without `qop`."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        given = dict(re.findall(r'(\w+)="([^"]*)"', request.headers.get("authorization", "")))
        ha1 = md5(f"me:cam:{password}".encode(), usedforsecurity=False).hexdigest()
        ha2 = md5(f"GET:{request.target}".encode(), usedforsecurity=False).hexdigest()
        expected = md5(f"{ha1}:abc:{ha2}".encode(), usedforsecurity=False).hexdigest()
        if given.get("response") == expected:
            await answers(200, body=b"picture")(request, writer)
        else:
            challenge = 'WWW-Authenticate: Digest realm="cam", nonce="abc"\r\n'
            await answers(401, challenge, refusal)(request, writer)

    return behave


async def test_exchange_negotiates_a_digest_once() -> None:
    auth = httpx.DigestAuth("me", "secret")
    async with Receiver(asks_for_digest("secret")) as server:
        assert (await get(server.url, auth=auth)).body == b"picture"
        assert (await get(server.url, auth=auth)).body == b"picture"
        assert len(server.requests) == 3


async def test_exchange_wrong_password_is_asked_twice_and_answered_401() -> None:
    async with Receiver(asks_for_digest("other")) as server:
        answer = await get(server.url, auth=httpx.DigestAuth("me", "secret"))
        assert (answer.status, len(server.requests)) == (401, 2)


async def test_exchange_body_of_a_refusal_is_bounded() -> None:
    async with Receiver(asks_for_digest("secret", b"a" * (_MOST_BYTES + 1))) as server:
        with pytest.raises(HostError, match=f"more than {_MOST_BYTES} bytes"):
            await get(server.url, auth=httpx.DigestAuth("me", "secret"))


async def test_exchange_malformed_challenge_is_an_error_of_the_host() -> None:
    behave = in_turn(answers(401, "WWW-Authenticate: Digest nonsense\r\n"))
    async with Receiver(behave) as server:
        with pytest.raises(HostError):
            await get(server.url, auth=httpx.DigestAuth("me", "secret"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"), "localhost")


@pytest.mark.parametrize(
    ("make_http", "name", "is_answered"),
    [
        (lambda _: OperatorHttp(), "localhost", False),
        (lambda ca_file: OperatorHttp(ca_file), "localhost", True),
        (lambda ca_file: OperatorHttp(ca_file), "127.0.0.1", False),
        (lambda _: OperatorHttp(insecure=True), "127.0.0.1", True),
    ],
)
async def test_exchange_checks_certificates_as_told(
    certificate: Certificate,
    make_http: Callable[[Path], OperatorHttp],
    name: str,
    is_answered: bool,
) -> None:
    async with Receiver(ssl_context=certificate.server) as server:
        url = f"https://{name}:{server.port}/"
        if is_answered:
            assert (await get(url, http=make_http(certificate.ca_file))).status == 200
        else:
            with pytest.raises(HostError, match="certificate"):
                await get(url, http=make_http(certificate.ca_file))


@pytest.mark.parametrize("when", ["head", "body"])
async def test_exchange_damaged_tls_is_an_error_of_the_host(
    certificate: Certificate, when: str
) -> None:
    assert isinstance(certificate.server, ssl.SSLContext)
    behave = breaks_tls("head" if when == "head" else "body")
    async with Receiver(behave, ssl_context=certificate.server) as server:
        with pytest.raises(HostError):
            await get(f"https://localhost:{server.port}/", http=OperatorHttp(certificate.ca_file))


def test_ca_file_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    for content in (None, "no certificate"):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigurationError, match="certificates"):
            OperatorHttp(path)
