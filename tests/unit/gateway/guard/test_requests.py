"""Names, origins, methods, paths and headers that are refused, each with a sentence."""

from urllib.parse import unquote

import httpx
import pytest

from tests.unit.gateway.apps import TOKEN, application, caller


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8808",
        "localhost",
        "LOCALHOST.",
        "192.168.7.2:8808",
        "[::1]:8808",
        "[fe80::1]",
        "100.100.1.1",  # of a private overlay
        "nvr.local:8808",
        "nvr.internal",
        "nvr.home.arpa",
        "nvr",  # a name of one label: a machine, a container
        "8.8.8.8",  # the address that it came in on
        "cams.example.org",
        "a.wild.example.org:443",
    ],
)
async def test_names_of_ours_are_answered(host: str) -> None:
    app = application(allowed_hosts=("cams.example.org", "*.wild.example.org"))
    async with caller(app, token=TOKEN) as client:
        client.base_url = httpx.URL("http://8.8.8.8")
        assert (await client.get("/who", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8808",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil-local.example",
        "wild.example.org.evil.example",
        "1.1.1.1",
        "[2606:4700::1111]",
        "",
        "a b.local",
        "user@localhost",
        "localhost/..",
        "ä.local",
    ],
)
async def test_names_of_strangers_are_refused(host: str) -> None:
    app = application(allowed_hosts=("*.wild.example.org",))
    async with caller(app, "127.0.0.1") as client:
        answer = await client.get("/livez", headers={b"Host": host.encode()})
    assert answer.status_code == 421
    assert "http.allowed_hosts" in answer.json()["message"]


async def test_every_name_is_answered_only_where_told() -> None:
    async with caller(application(allowed_hosts=("*",)), token=TOKEN) as client:
        answer = await client.get("/who", headers={"Host": "any.example.org"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://192.168.7.2:8809"},
        {"Origin": "http://192.168.7.2"},
        {"Origin": "http://[half"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://192.168.7.2:8808"},
    ],
)
async def test_page_of_another_host_makes_the_browser_do_nothing(headers: dict[str, str]) -> None:
    async with caller(application(), "127.0.0.1") as client:
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await client.request(method, "/who", headers=headers)
            assert answer.status_code == 403
            assert "http.cors_origins" in answer.json()["message"]
            assert "access-control-allow-origin" not in answer.headers
        assert (await client.get("/who", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://192.168.7.2:8808", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://192.168.7.2:8808"},  # a proxy speaks https
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_our_own_page_and_programs_may(headers: dict[str, str]) -> None:
    async with caller(application(), "127.0.0.1") as client:
        assert (await client.post("/who", headers=headers)).status_code == 200


async def test_listed_page_may_ask_and_read() -> None:
    page = {"Origin": "https://wall.example"}
    asking = {**page, "Access-Control-Request-Method": "PATCH", "Host": "nvr.local"}
    app = application(cors_origins=("https://Wall.example/",))
    async with caller(app) as client:
        asked = await client.options("/who", headers=asking)
        said = await client.post("/who", headers={**page, "X-API-Key": TOKEN})
        other = await client.options("/who", headers={**asking, "Origin": "https://b.example"})
    assert asked.status_code == 204, "without a token, which browsers do not send here"
    assert "PATCH" in asked.headers["Access-Control-Allow-Methods"]
    assert "authorization" in asked.headers["Access-Control-Allow-Headers"]
    assert said.headers["Access-Control-Allow-Origin"] == "https://wall.example"
    assert "access-control-allow-credentials" not in said.headers
    assert other.status_code == 403


async def test_every_answer_says_what_may_be_done_with_it() -> None:
    async with caller(application()) as stranger, caller(application(), "127.0.0.1") as known:
        for answer in (
            await stranger.get("/who"),
            await known.get("/who"),
            await known.get("/nothing"),
            await known.get("/login"),
        ):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            is_form = answer.url.path == "/login"  # its Origin has to be told
            assert answer.headers["Referrer-Policy"] == (
                "same-origin" if is_form else "no-referrer"
            )
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            policy = answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy
            assert "http" not in policy and "unsafe" not in policy


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "get"])
async def test_other_methods_are_none(method: str) -> None:
    async with caller(application(), "127.0.0.1") as client:
        request = client.build_request("GET", "/who")
        request.method = method  # as it is, not in capitals
        answer = await client.send(request)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    [
        b"/../etc/passwd",
        b"/cameras/../who",
        b"/cameras/%2e%2e/who",
        b"/cameras/a%2fb",
        b"/cameras/a%2Fb",
        b"/v1/models/a%2Fb%2Fc",
        b"/v1/models/..%2Fb",
        b"/v1/models/a%2F..",
        b"/v1/models/%2Fb",
        b"/who/v1/models/a%2Fb",
        b"/cameras/a%5cb",
        b"/cameras/a\\b",
        b"/cameras/a%00",
        b"/cameras/a%0d%0aX:y",
        b"//who",
        b"/./who",
        b"http://evil.example/who",
        b"*",
        b"/" + b"a" * 3000,
    ],
)
async def test_paths_that_mean_others_are_none(path: bytes) -> None:
    said: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }
    await application()(scope, receive, send)  # type: ignore[arg-type]
    assert said[0]["status"] == 404


@pytest.mark.parametrize(
    "headers", [{f"X-{n}": "1" for n in range(120)}, {"X-Long": "a" * (17 << 10)}]
)
async def test_too_many_headers_are_refused(headers: dict[str, str]) -> None:
    async with caller(application(), "127.0.0.1") as client:
        assert (await client.get("/who", headers=headers)).status_code == 431


@pytest.mark.parametrize("path", ["/docs/", "/queue/resume/", "/health/"])
async def test_nobody_is_sent_to_an_address_without_https(path: str) -> None:
    transport = httpx.ASGITransport(application(), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://nvr.local") as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
