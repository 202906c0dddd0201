"""Whether the HTTP gateway can be reached where it listens, and what its token is worth."""

import errno

import httpx

from gateway.server import listening
from service.commands.checks.finding import Finding
from service.errors import ConfigurationError
from service.http_settings import HttpSettings
from service.settings import Settings
from service.web.exposure import is_loopback
from service.web.token import token_file

_ANSWER_S = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked at, not listened on


async def check_gateway(settings: Settings) -> list[Finding]:
    """Where it listens or would, and its token; nothing where it is off."""
    if not settings.http.enabled:
        return []
    return [await _check_address(settings.http), _check_token(settings)]


async def _check_address(http: HttpSettings) -> Finding:
    where = f"{http.host} port {http.port}"
    try:
        async with listening(http.host, http.port):
            pass
    except OSError as error:
        if error.errno == errno.EADDRINUSE and await _is_ours(http):
            return Finding("http", "ok", f"answers on {where}{_reach(http)}")
        text = f"cannot listen on {where}: {error.strerror or error}; see http.host and http.port"
        return Finding("http", "TODO", text)
    return Finding("http", "ok", f"{where} is free{_reach(http)}")


def _reach(http: HttpSettings) -> str:
    if is_loopback(http.host):
        return ", for this machine only"
    keyless = ", ".join(http.keyless_networks) or "nobody"
    return f", for the network; without a token: {keyless}"


async def _is_ours(http: HttpSettings) -> bool:
    host = _ANY.get(http.host, http.host)
    url = f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"
    try:
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
            answer = await client.get(f"{url}/livez")
        return bool(answer.json() == {"status": "ok"})
    except (httpx.HTTPError, ValueError):
        return False


def _check_token(settings: Settings) -> Finding:
    if settings.http.token is not None:
        return Finding("http", "ok", "token: http.token")
    path = token_file(settings.data_dir)
    try:
        mode = path.stat().st_mode
        with path.open("rb"):
            pass
    except FileNotFoundError:
        return Finding("http", "ok", "a token is made at the first start")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; run doctor as the service") from error
    if mode & 0o077:
        return Finding("http", "note", f"others may read the token: chmod 600 {path}")
    return Finding("http", "ok", f"token: in {path}")
