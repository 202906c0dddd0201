"""Who needs a token, how it is shown, and what wrong ones cost."""

import re
from typing import Any

import httpx
import pytest

from gateway.guard.guesses import BURST, EVERY_S, Guesses
from gateway.guard.keys import SESSION_S, Key
from tests.unit.gateway.apps import OUTSIDE, TOKEN, application, caller


async def test_who_is_on_the_machine_needs_no_token() -> None:
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        async with caller(application(), address) as client:
            assert (await client.get("/who")).json()["caller"].startswith("keyless ")


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Proto", "Via"]
)
async def test_who_comes_through_a_proxy_on_the_machine_needs_one(header: str) -> None:
    async with caller(application(), "127.0.0.1") as client:
        refused = await client.get("/who", headers={header: "1.2.3.4"})
        let_in = await client.get(
            "/who", headers={header: "1.2.3.4", "Authorization": f"Bearer {TOKEN}"}
        )
    assert (refused.status_code, let_in.status_code) == (401, 200)


async def test_stranger_is_told_what_is_missing() -> None:
    async with caller(application()) as client:
        answer = await client.get("/who")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="moondream2mqtt"'
    assert answer.json()["error"]["code"] == "unauthorized"
    assert "moondream2mqtt token" in answer.json()["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer  {TOKEN}"},
        {"X-Moondream-Auth": TOKEN},
        {"X-API-Key": TOKEN},
        {"Authorization": "Bearer no-key-needed", "X-Moondream-Auth": TOKEN},
    ],
)
async def test_token_is_taken_in_the_ways_of_all_clients(headers: dict[str, str]) -> None:
    async with caller(application()) as client:
        answer = await client.get("/who", headers=headers)
    assert answer.json()["caller"] == f"token {OUTSIDE}"


async def test_token_in_a_url_is_none() -> None:
    async with caller(application()) as client:
        assert (await client.get("/who", params={"token": TOKEN})).status_code == 401


async def test_where_no_token_could_be_made_nobody_has_one() -> None:
    async with caller(application(token=None)) as client:
        for token in ("", "None", "null"):
            answer = await client.get("/who", headers={"X-API-Key": token})
            assert answer.status_code == 401


async def test_keyless_networks_are_those_of_the_setting() -> None:
    app = application(keyless_networks=("192.168.7.0/24",))
    async with caller(app) as inside, caller(app, "192.168.8.1") as outside:
        assert (await inside.get("/who")).status_code == 200
        assert (await outside.get("/who")).status_code == 401


async def test_orchestrators_need_none_and_health_is_short_for_strangers() -> None:
    app = application()
    async with caller(app) as stranger, caller(app, token=TOKEN) as known:
        for path in ("/livez", "/readyz"):
            assert (await stranger.get(path)).status_code == 200
        assert (await stranger.get("/health")).json() == {"status": "healthy", "checks": {}}
        assert "broker" in (await known.get("/health")).json()["checks"]


async def test_guesses_slow_down_who_guesses_and_nobody_else() -> None:
    app = application()
    async with caller(app) as guesser, caller(app, "192.168.7.10", token=TOKEN) as other:
        codes = [
            (await guesser.get("/who", headers={"X-API-Key": f"guess-{n}"})).status_code
            for n in range(300)
        ]
        late = await guesser.get("/health", headers={"X-API-Key": TOKEN})
        assert (await other.get("/who")).status_code == 200
    assert codes == [401] * BURST + [429] * (300 - BURST)
    assert late.json()["checks"] == {}, "an answer for strangers would tell whether it was right"


async def test_guesser_is_told_when_to_come_back() -> None:
    async with caller(application()) as client:
        for _ in range(BURST):
            await client.get("/who", headers={"X-API-Key": "wrong"})
        answer = await client.get("/who", headers={"X-API-Key": "wrong"})
    assert 1 <= int(answer.headers["Retry-After"]) <= EVERY_S
    assert answer.json()["error"]["code"] == "too_many_guesses"


async def test_guesses_through_a_proxy_do_not_lock_out_others_behind_it() -> None:
    app = application()
    codes = []
    async with caller(app, "127.0.0.1") as proxy:
        for n in range(BURST + 1):
            # What the guesser says of himself stands before what the proxy says of him.
            forwarded = {"X-Forwarded-For": f"10.0.0.{n}, 203.0.113.5", "X-API-Key": "wrong"}
            codes.append((await proxy.get("/who", headers=forwarded)).status_code)
        assert codes[-1] == 429
        other = {"X-Forwarded-For": "203.0.113.6", "X-API-Key": TOKEN}
        assert (await proxy.get("/who", headers=other)).status_code == 200


async def test_guesser_cannot_invent_whom_he_comes_from() -> None:
    async with caller(application()) as client:
        codes = [
            (
                await client.get(
                    "/who", headers={"X-Forwarded-For": f"10.0.0.{n}", "X-API-Key": "wrong"}
                )
            ).status_code
            for n in range(BURST + 5)
        ]
    assert codes[-5:] == [429] * 5


def test_guesses_are_forgotten_in_time_and_in_number() -> None:
    now = [0.0]
    guesses = Guesses(lambda: now[0])
    for _ in range(BURST):
        guesses.note_wrong("door")
    assert guesses.wait_s("door") > 0
    now[0] += EVERY_S
    assert guesses.wait_s("door") == 0
    for n in range(10_000):
        guesses.note_wrong(f"caller {n}")
    assert len(guesses._records) == 4096


@pytest.mark.parametrize(
    ("address", "said"),
    [("172.30.32.2", "ingress abc"), (OUTSIDE, None), ("172.30.32.3", None)],
)
async def test_ingress_is_believed_of_the_supervisor_alone(address: str, said: str | None) -> None:
    headers = {
        "X-Ingress-Path": "/api/hassio_ingress/x-Y_1",
        "X-Remote-User-Id": "abc",
        "X-Forwarded-For": "10.0.0.1",
        "Host": "nvr.example.org",
    }
    async with caller(application(), address) as client:
        answer = await client.get("/who", headers=headers)
    if said is None:
        assert answer.status_code in {401, 421}
        assert answer.headers["X-Frame-Options"] == "DENY"
        return
    assert answer.json() == {"caller": said, "root_path": "/api/hassio_ingress/x-Y_1"}
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]


async def test_ingress_outside_home_assistant_is_nothing() -> None:
    headers = {"X-Ingress-Path": "/api/hassio_ingress/abc"}
    async with caller(application(supervisor=None), "172.30.32.2") as client:
        assert (await client.get("/who", headers=headers)).status_code == 401


# --- the browser


def _browser(app: Any, **headers: str) -> httpx.AsyncClient:
    return caller(app, accept="text/html,*/*", **headers)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "login"),
        ("/who", "login?next=who"),
        ("/cameras/door/x", "../../login?next=cameras/door/x"),
        ("/ä", "login?next=%C3%A4"),
    ],
)
async def test_browser_is_sent_to_the_form(path: str, location: str) -> None:
    async with _browser(application()) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, location)


async def test_form_gives_a_cookie_that_lets_in_and_is_not_the_token() -> None:
    app = application()
    async with _browser(app) as client:
        form = await client.get("/login", params={"next": "who"})
        assert "<script" not in form.text
        assert 'value="who"' in form.text
        answer = await client.post("/login", data={"token": TOKEN, "next": "who"})
        assert (answer.status_code, answer.headers["Location"]) == (303, "who")
        cookie = answer.headers["Set-Cookie"]
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=strict"} <= set(re.split("; ", cookie))
        assert "Secure" not in cookie
        assert (await client.get("/who")).json()["caller"] == f"session {OUTSIDE}"
    session = cookie.partition(";")[0]
    async with _browser(application(), Cookie=session) as after_a_restart:
        assert (await after_a_restart.get("/who")).status_code == 200
        out = await after_a_restart.post("/logout")
        assert out.status_code == 303
        assert "Max-Age=0" in out.headers["Set-Cookie"]
    async with _browser(application(token=TOKEN[::-1]), Cookie=session) as later:
        assert (await later.get("/who")).status_code == 303


async def test_cookie_is_for_https_alone_behind_https() -> None:
    async with _browser(application()) as client:
        answer = await client.post(
            "/login", data={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"}
        )
    assert "Secure" in answer.headers["Set-Cookie"]


async def test_wrong_token_in_the_form_is_a_page_that_says_so_and_is_counted() -> None:
    async with _browser(application()) as client:
        answers = [await client.post("/login", data={"token": "<b>wrong"}) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert "this is not the token" in answers[0].text
    assert "<b>wrong" not in answers[0].text
    assert "set-cookie" not in answers[0].headers


async def test_form_of_thousand_parts_of_a_stranger_is_not_taken_apart() -> None:
    files = {f"file-{number}": b"x" for number in range(900)}
    async with _browser(application()) as client:
        answers = [
            await client.post("/login", files=files),
            await client.post("/login", data={f"field-{number}": "x" for number in range(100)}),
            await client.post("/login", data={"token": "x" * 10_000}),
        ]
    assert [answer.status_code for answer in answers] == [415, 400, 413]


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "\\\\evil", "../x", "/x", "javascript:x"]
)
async def test_form_leads_to_no_other_host(target: str) -> None:
    async with _browser(application()) as client:
        answer = await client.post("/login", data={"token": TOKEN, "next": target})
    assert answer.headers["Location"] == "./"


def test_session_ends_and_cannot_be_made_longer() -> None:
    now = [1000.0]
    key = Key(TOKEN, lambda: now[0])
    value = key.make_session()
    expires, rest = value.split(".", 1)
    longer = f"{key.cookie}={int(expires) + 1}.{rest}"
    assert key.has_session([f"a=b; {key.cookie}={value}"])
    assert not key.has_session([longer])
    assert not key.has_session([f"{key.cookie}=", f"{key.cookie}=.", f"{key.cookie}=ä.ö"])
    now[0] += SESSION_S
    assert not key.has_session([f"{key.cookie}={value}"])
    assert not Key(None).has_session([f"{Key(None).cookie}={Key(None).make_session()}"])
