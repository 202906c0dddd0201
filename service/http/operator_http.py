"""Requests to hosts that the operator names: Frigate, cameras, other machines of the house.

Any address will do, also with a certificate nobody vouches for; but a device can be broken or taken
over, so an answer is bounded in time and bytes, redirects are not followed, and what goes wrong is
told without user, path and query, which can hold secrets.
"""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from service.errors import AnswerTooLargeError, ConfigurationError, HostError, UrlRefusedError
from service.http.exchange import http_errors
from service.http.urls import GuardedHttp, origin, parse_url

_MOST_REQUESTS = 4  # of one exchange: an `httpx.Auth` may ask once or twice before it knows enough
_PIECE_BYTES = 65536
_LONGEST_REASON = 200  # characters; it can quote the answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said, whatever its status."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)


class OperatorHttp:
    """Makes exchanges with the operator's hosts.

    Args:
        ca_file: Certificate authority to trust in place of the usual ones.
        insecure: Accept any certificate.

    Raises:
        ConfigurationError: `ca_file` holds no certificate.
    """

    def __init__(self, ca_file: Path | None = None, *, insecure: bool = False) -> None:
        self._http = GuardedHttp(ssl_context=_ssl_context(ca_file, insecure=insecure))

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        json: object | None = None,
        timeout_s: float,
        max_bytes: int,
    ) -> Answer:
        """Send a request and read the whole answer.

        Args:
            method: GET, POST and so on.
            url: http or https; a user and password in it are sent as basic authentication.
            headers: More of them; cookies are the caller's matter.
            auth: Kept by the caller, so that a digest is not negotiated for each request.
            json: Sent as the body.
            timeout_s: Of the exchange in all.
            max_bytes: Of the answer's body.

        Raises:
            AnswerTooLargeError: It has more than `max_bytes`.
            HostError: There was no answer in time, or none within the limits. Any status is one.
        """
        try:
            with http_errors():
                async with asyncio.timeout(timeout_s):
                    return await self._exchange(
                        method, url, headers or {}, auth, json, timeout_s, max_bytes
                    )
        except TimeoutError as error:
            raise HostError(f"{origin(url)} did not answer within {timeout_s:g} s") from error
        except UrlRefusedError as error:
            raise HostError(f"{origin(url)}: {error}") from error
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__} {error}".strip()[:_LONGEST_REASON]
            raise HostError(f"{origin(url)}: {reason}") from error

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        auth: httpx.Auth | None,
        json: object | None,
        timeout_s: float,
        max_bytes: int,
    ) -> Answer:
        client = self._http.client(_any_address, timeout_s)
        own = {"accept-encoding": "identity", "connection": "close"}
        given = [
            (name.encode(), value.encode())
            for name, value in {**own, **{n.lower(): v for n, v in headers.items()}}.items()
        ]
        request = client.build_request(method, parse_url(url), headers=given, json=json)
        async with client:
            if auth is None:  # httpx sends what the URL has
                return await _send(client, request, max_bytes)
            return await _send_with(auth, client, request, max_bytes)


def _ssl_context(ca_file: Path | None, *, insecure: bool) -> ssl.SSLContext:
    try:
        if ca_file is None:
            context = httpx.create_ssl_context()
        else:
            context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{ca_file} cannot be read as certificates") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _any_address(_: object) -> bool:
    return True


async def _send_with(
    auth: httpx.Auth, client: httpx.AsyncClient, request: httpx.Request, max_bytes: int
) -> Answer:
    """Send as `auth` wants it; httpx itself would read a refusal's body without any bound."""
    flow = auth.auth_flow(request)
    try:
        with _understood():
            request = next(flow)
        for _ in range(_MOST_REQUESTS):
            response = await client.send(request, stream=True, auth=_AS_IT_IS)
            try:
                answer = await _read(response, max_bytes)
            finally:
                await response.aclose()
            try:
                with _understood():
                    request = flow.send(response)
            except StopIteration:
                return answer
    finally:
        flow.close()
    raise httpx.TooManyRedirects("asks for credentials again and again", request=request)


@contextmanager
def _understood() -> Iterator[None]:
    """What httpx raises where it cannot answer a challenge, as an error of the other side."""
    try:
        yield
    except (httpx.ProtocolError, KeyError, ValueError, NotImplementedError) as error:
        raise httpx.RemoteProtocolError("asks for a login of an unknown kind") from error


async def _send(client: httpx.AsyncClient, request: httpx.Request, max_bytes: int) -> Answer:
    response = await client.send(request, stream=True)
    try:
        return await _read(response, max_bytes)
    finally:
        await response.aclose()


async def _read(response: httpx.Response, max_bytes: int) -> Answer:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("sent a compressed answer")
    body = bytearray()
    async for piece in response.aiter_raw(_PIECE_BYTES):
        body += piece
        if len(body) > max_bytes:
            where = origin(str(response.url))
            raise AnswerTooLargeError(f"{where} sent more than {max_bytes} bytes")
    return Answer(response.status_code, response.headers, bytes(body))


_AS_IT_IS = httpx.Auth()  # neither the URL's user and password nor another request
