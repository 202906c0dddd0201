"""The address guard against every way we know to write a forbidden address.

The listener on 127.0.0.1 is the inside of somebody's house; the negative control shows that plain
httpx finds its door with many of the same URLs.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ConfigurationError, UrlRefusedError
from service.http.resolver import SystemResolver
from service.http.urls import (
    Address,
    AllowedHosts,
    GuardedHttp,
    UrlPolicy,
    is_public,
    is_public_or_private,
    origin,
    parse_url,
)
from tests.support.http_receivers import Receiver, WatchedBackend, answers

# Hosts as they can stand in a URL; none may be reached by a URL from a frame. The first 22 lead to
# 127.0.0.1 on a system whose lookup follows BSD, which is what the negative control counts on.
FORBIDDEN_HOSTS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "0177.0.0.01",
    "00000177.0.0.1",
    "0",
    "0.0.0.0",  # noqa: S104
    "00.0.0.0",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",  # full-width digits
    "127。0。0。1",
    "127.0.0.1.",
    "127.0.0.2",
    "127.255.255.254",
    "0.0.0.1",
    "①②⑦.⓪.⓪.①",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[::ffff:0.0.0.0]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[100::1]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[ff0e::1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "169.254.169.254",
    "169.254.170.2",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "100.100.100.200",
    "100.64.0.1",
    "10.0.0.1",
    "10.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.257",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
]
# The same inside with something around it: user names, ends and other parts that mislead parsers.
FORBIDDEN_FORMS = [f"http://{host}:{{port}}/" for host in FORBIDDEN_HOSTS] + [
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://example.com%2F@127.0.0.1:{port}/",
    "http://user:secret@localhost:{port}/?next=http://example.com",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http://127.0.0.1:{port}/%2e%2e/@example.com",
    "HTTP://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
]


async def get(client: httpx.AsyncClient, url: str) -> str:
    """What becomes of a GET; never a redirect or a proxy."""
    try:
        async with client:
            return str((await client.get(url)).status_code)
    except (httpx.HTTPError, httpx.InvalidURL, UrlRefusedError, UnicodeError) as error:
        return type(error).__name__


def lies(*answers_in_turn: Sequence[str]) -> Callable[[str, int], asyncio.Future[Sequence[str]]]:
    """A resolver that gives each lookup the next answer, and then the last one for ever."""
    left = list(answers_in_turn)

    def resolve(host: str, port: int) -> asyncio.Future[Sequence[str]]:
        answer: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        answer.set_result(left.pop(0) if len(left) > 1 else left[0])
        return answer

    return resolve


def test_table_is_as_long_as_promised() -> None:
    assert len(set(FORBIDDEN_FORMS)) == len(FORBIDDEN_FORMS) >= 63


async def test_guard_forbidden_forms_connect_nowhere() -> None:
    backend = WatchedBackend()
    http = GuardedHttp(backend=backend)
    async with Receiver() as inside:
        outcomes = {}
        for form in FORBIDDEN_FORMS:
            url = form.format(port=inside.port)
            outcomes[url] = await get(http.client(is_public, 5.0), url)
        assert backend.asked == []
        assert inside.num_connections == 0
    assert set(outcomes.values()) <= {"UrlRefusedError", "ConnectError", "InvalidURL"}, outcomes
    assert list(outcomes.values()).count("UrlRefusedError") >= 63


async def test_negative_control_plain_httpx_reaches_the_inside() -> None:
    async with Receiver() as inside:
        reached = []
        for form in FORBIDDEN_FORMS:
            url = form.format(port=inside.port)
            if not any(each in url for each in ("127", "localhost", "//0", "213", "017", "0x7f")):
                continue  # the others would leave this machine
            before = inside.num_connections
            await get(httpx.AsyncClient(timeout=0.3, trust_env=False), url)
            if inside.num_connections > before:
                reached.append(url)
    assert len(reached) >= 10, reached


async def test_guard_operators_rule_reaches_private_addresses() -> None:
    async with Receiver() as inside:
        for host in ("127.0.0.1", "localhost", "127.1"):
            client = GuardedHttp().client(is_public_or_private, 5.0)
            assert await get(client, f"http://{host}:{inside.port}/") == "200"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "192.0.0.192",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "224.0.0.1",
        "[ff02::1]",
        "0.0.0.0",  # noqa: S104
        "0",
        "[::]",
        "255.255.255.255",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
    ],
)
async def test_guard_operators_rule_still_forbids(host: str) -> None:
    backend = WatchedBackend()
    client = GuardedHttp(backend=backend).client(is_public_or_private, 5.0)
    # A zone may already fail in the system's lookup.
    expected = {"UrlRefusedError", "ConnectError"} if "%" in host else {"UrlRefusedError"}
    assert await get(client, f"http://{host}:9/") in expected
    assert backend.asked == []


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "172.32.0.1"]
)
def test_rules_admit_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))
    assert is_public_or_private(ip_address(address))


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.9.8.7", "192.168.1.5", "100.101.102.103", "::1", "fd12:3456::1"]
)
def test_rules_differ_on_private_addresses(address: str) -> None:
    assert not is_public(ip_address(address))
    assert is_public_or_private(ip_address(address))


@given(st.ip_addresses())
def test_rule_public_is_never_wider_than_the_registry(address: Address) -> None:
    if is_public(address) and not getattr(address, "ipv4_mapped", None):
        assert address.is_global
        assert not (address.is_multicast or address.is_reserved or address.is_link_local)


async def test_guard_one_forbidden_address_refuses_the_whole_answer() -> None:
    backend = WatchedBackend(detours={"93.184.215.14": "127.0.0.1"})
    async with Receiver() as inside:
        for answer in (["93.184.215.14", "127.0.0.1"], ["127.0.0.1", "93.184.215.14"]):
            http = GuardedHttp(lies(answer), backend)
            outcome = await get(http.client(is_public, 5.0), f"http://both.test:{inside.port}/")
            assert outcome == "UrlRefusedError"
    assert backend.asked == []


async def test_guard_alternating_answers_connect_only_to_what_was_checked() -> None:
    backend = WatchedBackend(detours={"93.184.215.14": "127.0.0.1"})
    http = GuardedHttp(lies(["93.184.215.14"], ["127.0.0.1"]), backend)
    async with Receiver() as outside:
        url = f"http://rebinding.test:{outside.port}/"
        assert await get(http.client(is_public, 5.0), url) == "200"
        assert await get(http.client(is_public, 5.0), url) == "UrlRefusedError"
    assert backend.asked == ["93.184.215.14"]


@pytest.mark.parametrize("answer", ["", "not-an-address", "127.0.0.1\0", "fe80::1%lo"])
async def test_guard_what_is_no_address_is_refused(answer: str) -> None:
    backend = WatchedBackend()
    client = GuardedHttp(lies([answer]), backend).client(is_public_or_private, 5.0)
    assert await get(client, "http://odd.test/") == "UrlRefusedError"
    assert backend.asked == []


async def test_guard_first_address_dead_takes_the_second() -> None:
    with socket.socket() as taken:  # bound, not listening: refuses
        taken.bind(("127.0.0.1", 0))
        async with Receiver() as alive:
            backend = WatchedBackend(detours={"93.184.215.15": "127.0.0.1"})
            http = GuardedHttp(lies(["93.184.215.14", "93.184.215.15"]), backend)
            backend.detours["93.184.215.14"] = "127.0.0.3"
            outcome = await get(http.client(is_public, 5.0), f"http://two.test:{alive.port}/")
    assert outcome == "200"
    assert backend.asked == ["93.184.215.14", "93.184.215.15"]


async def test_guard_no_address_is_a_connect_error() -> None:
    client = GuardedHttp(lies([])).client(is_public, 5.0)
    assert await get(client, "http://nowhere.test/") == "ConnectError"


async def test_guard_redirects_are_not_followed() -> None:
    async with Receiver() as inside:
        redirect = answers(302, f"Location: {inside.url}\r\n")
        async with Receiver(redirect) as outside:
            client = GuardedHttp().client(is_public_or_private, 5.0)
            assert await get(client, outside.url) == "302"
        assert inside.num_connections == 0


async def test_guard_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver() as proxy, Receiver() as target:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert await get(GuardedHttp().client(is_public_or_private, 5.0), target.url) == "200"
        assert proxy.num_connections == 0


async def test_resolver_hanging_lookup_is_shared_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = []

    def hang(host: str, port: int, **_: object) -> list[object]:
        started.append(host)
        if host == "hangs.test":
            time.sleep(1.0)
        return [(None, None, None, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    resolve = SystemResolver()
    hanging = [asyncio.create_task(resolve("hangs.test", 80)) for _ in range(50)]
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    assert await resolve("fine.test", 80) == ["127.0.0.1"]
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0)
    assert time.monotonic() - begun < 0.5
    for each in hanging[:-1]:
        each.cancel()
    assert await hanging[-1] == ["127.0.0.1"]
    assert started.count("hangs.test") == 1


async def test_resolver_unknown_name_raises_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(OSError, match="not known"):
        await SystemResolver()("nowhere.test", 80)
    assert await get(GuardedHttp().client(is_public, 5.0), "http://nowhere.test/") == "ConnectError"


async def test_resolver_lookup_that_breaks_is_heard_of_and_gives_its_thread_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    resolve = SystemResolver()
    async with asyncio.timeout(5):
        for number in range(20):  # more than there are threads
            with pytest.raises(OSError, match="RuntimeError"):
                await resolve(f"odd-{number}.test", 80)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_SET",
        "//example.com/",
        "http://",
        "http:///hook",
        "http://:80/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://exa mple.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com\r\nHost: other/",
        "http://example.com/\0",
        "http://[::1",
        "http://[fe80::1%25lo]/",
        "http://%31%32%37.0.0.1/",
        "http://user@[odd/",
        "http://.example.com/",
        "http://[1.2.3.4]/",
        "http://\ud800/",
        "http://xn--.example.com/a.jpg",
        "http://xn--a.example.com/",
        "http://xn--" + "a" * 300 + "/",
        "http://example.com/" + "a" * 2048,
        "http://" + "a" * 254 + "/",
    ],
)
def test_parse_url_refuses(text: str) -> None:
    with pytest.raises(UrlRefusedError):
        parse_url(text)


_ODD_HOSTS = st.text(st.sampled_from("xn-a0.:_@[]%é。*"), max_size=12)


@given(
    st.text()
    | st.text().map(lambda text: f"http://{text}")
    | _ODD_HOSTS.map(lambda host: f"http://xn--{host}.example.com/")
)
def test_parse_url_any_text_is_read_or_refused(text: str) -> None:
    try:
        url = parse_url(text)
    except UrlRefusedError:
        assert origin(text) == "(unreadable URL)"
    else:
        assert url.scheme in {"http", "https"}
        assert origin(text).isascii()
        assert len(origin(text)) <= 300
        assert url.host  # httpx looks at it later


def test_origin_shows_neither_user_nor_path_nor_query() -> None:
    url = "https://bob:hunter2@Hooks.Example:8443/T0K3N?key=s3cret#part"
    assert origin(url) == "https://hooks.example:8443"
    assert origin("http://[::1]:80/x") == "http://[::1]"


def allows(entries: Sequence[str], url: str) -> str:
    """`no`, `public` or `private`: the addresses a URL from a frame may have."""
    try:
        rule = AllowedHosts(entries, "webhooks.allow_hosts").rule(parse_url(url))
    except UrlRefusedError:
        return "no"
    return "public" if rule is is_public else "private"


@pytest.mark.parametrize(
    ("entry", "url", "expected"),
    [
        ("hooks.example", "https://hooks.example/x", "private"),
        ("hooks.example", "https://HOOKS.Example./x", "private"),
        ("Hooks.Example.", "http://hooks.example:8080/x", "private"),
        ("hooks.example", "https://evil.hooks.example/", "no"),
        ("hooks.example", "https://hooks.example.evil/", "no"),
        ("hooks.example", "https://evilhooks.example/", "no"),
        ("hooks.example", "https://hooks.example@evil.example/", "no"),
        ("hooks.example", "https://user@hooks.example/", "no"),
        ("hooks.example:8443", "https://hooks.example:8443/", "private"),
        ("hooks.example:8443", "https://hooks.example/", "no"),
        ("hooks.example:80", "http://hooks.example/", "private"),
        ("hooks.example:80", "http://hooks.example:8080/", "no"),
        ("hooks.example:443", "https://hooks.example/", "private"),
        ("hooks.example:443", "http://hooks.example/", "no"),
        ("*.example", "https://hooks.example/", "public"),
        ("*.example", "https://a.b.example/", "public"),
        ("*.example", "https://example/", "no"),
        ("*.example", "https://example.evil/", "no"),
        ("*", "https://anything.example/", "public"),
        ("*", "https://127.0.0.1/", "public"),
        ("192.168.1.5", "http://192.168.1.5:1880/hook", "private"),
        ("192.168.1.5", "http://192.168.1.50/hook", "no"),
        ("::1", "http://[::1]:1880/", "private"),
        ("[::1]:1880", "http://[::1]:1880/", "private"),
        ("[::1]:1880", "http://[::1]:1881/", "no"),
        ("bücher.example", "https://xn--bcher-kva.example/", "private"),
    ],
)
def test_allowed_hosts_cover(entry: str, url: str, expected: str) -> None:
    assert allows([entry], url) == expected


def test_allowed_hosts_a_name_counts_more_than_a_pattern() -> None:
    assert allows(["*", "nvr.local"], "http://nvr.local/") == "private"
    assert allows([], "http://nvr.local/") == "no"


@pytest.mark.parametrize(
    "entry",
    [
        *("", "*.", "http://hooks.example", "hooks.example/path", "a b", "ho*st", "u@host", "h?q"),
        *("xn--.example.com", "*.xn--.example.com", "xn--a.example:80"),
    ],
)
def test_allowed_hosts_malformed_entry_names_the_setting(entry: str) -> None:
    with pytest.raises(ConfigurationError, match=r"webhooks\.allow_hosts"):
        AllowedHosts([entry], "webhooks.allow_hosts")


@given(st.text() | _ODD_HOSTS | _ODD_HOSTS.map(lambda host: f"*.xn--{host}"))
def test_allowed_hosts_any_entry_is_read_or_refused(entry: str) -> None:
    with suppress(ConfigurationError):
        assert allows([entry], "http://elsewhere.test/") in {"no", "public"}


def test_url_policy_keeps_webhooks_and_images_apart() -> None:
    policy = UrlPolicy(
        AllowedHosts(["hooks.example"], "webhooks.allow_hosts"),
        AllowedHosts(["nvr.local"], "fetch.allow_hosts"),
    )
    policy.check_webhook("https://hooks.example/x")
    policy.check_fetch("http://nvr.local/snapshot.jpg")
    with pytest.raises(UrlRefusedError, match=r"^https://nvr\.local is not in webhooks"):
        policy.check_webhook("https://nvr.local/x?secret=1")
    with pytest.raises(UrlRefusedError, match=r"fetch\.allow_hosts"):
        policy.check_fetch("https://hooks.example/x")
