"""What is looked at before anything is opened: `serve` refuses or warns, `doctor` says the same.

A setting that is well formed can still be useless: a file that is no certificate, a key that is no
base64, two patterns for one topic. Here, and not where it is used first, so that one command can
say all of it without starting anything.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from broker.errors import TlsFilesError
from broker.tls import tls_context
from engine.images import ImageLimits
from service.clock import Clock
from service.delivery.signatures import Signer
from service.errors import ConfigurationError, UrlRefusedError
from service.folders import access
from service.http.urls import AllowedHosts, parse_url
from service.mqtt_options import tls_options
from service.settings import Settings
from service.sources import overlaps
from service.stages import frigate_api
from service.triggers.snapshots import Snapshots
from service.web import exposure

_TLS_PORT, _PLAIN_PORT = 8883, 1883


@dataclass(frozen=True, slots=True)
class Doubt:
    """A setting with which the service starts, and does not do what it seems to say."""

    setting: str  #: its path
    text: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.text}"


def refusals(settings: Settings) -> Iterator[ConfigurationError]:
    """Why the service does not start with these settings, one by one; the first ends `serve`."""
    for check in (*_urls(settings), *_CHECKS):
        try:
            check(settings)
        except ConfigurationError as error:
            yield error


def doubts(settings: Settings) -> Iterator[Doubt]:
    """What limps with these settings."""
    yield from _doubts_of_tls(settings)
    for path, text in overlaps.doubts(settings):
        yield Doubt(path, text)
    for i, folder in enumerate(settings.folders):
        for text in access.doubts(folder):
            yield Doubt(f"folders.{i}", text)
    with suppress(ConfigurationError):  # which is a refusal
        if (signer := _signer(settings)) is not None and signer.is_weak:
            yield Doubt("webhooks.secret", "has a key of less than 24 bytes: make a longer one")
    if settings.http.enabled:
        for path, text in exposure.doubts(settings.http):
            yield Doubt(path, text)
    base, prefix = settings.mqtt.base_topic, settings.homeassistant.discovery_prefix
    if settings.homeassistant.enabled and base == prefix:
        yield Doubt("homeassistant.discovery_prefix", "is mqtt.base_topic as well: change one")


def _urls(settings: Settings) -> Iterator[Callable[[Settings], object]]:
    """A typo in a URL shows now, not in the dead letters."""
    urls = {
        "webhooks.url": settings.webhooks.url,
        "homeassistant.updates_url": settings.homeassistant.updates_url,
    }
    for name, each in settings.cameras.items():
        urls[f"cameras.{name}.webhook_url"] = each.webhook_url
        urls[f"cameras.{name}.snapshot_url"] = each.snapshot_url

    for path, url in urls.items():
        if url is not None:
            yield partial(_check_url, path, url)


def _check_url(path: str, url: str, _: Settings) -> None:
    try:
        parse_url(url)
    except UrlRefusedError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _check_tls(settings: Settings) -> None:
    try:
        tls_context(tls_options(settings.mqtt.tls))
    except TlsFilesError as error:
        raise ConfigurationError(str(error)) from error


def _signer(settings: Settings) -> Signer | None:
    secret = settings.webhooks.secret
    return None if secret is None else Signer(secret.get_secret_value())


def _check_triggers(settings: Settings) -> None:
    limits = ImageLimits(**settings.frames.model_dump())
    Snapshots(settings.triggers, limits, Clock(), version("moondream2mqtt"))


_CHECKS: tuple[Callable[[Settings], object], ...] = (
    _check_tls,
    _signer,
    lambda settings: AllowedHosts(settings.webhooks.allow_hosts, "webhooks.allow_hosts"),
    lambda settings: AllowedHosts(settings.fetch.allow_hosts, "fetch.allow_hosts"),
    lambda settings: frigate_api(settings, Clock()),
    _check_triggers,
)


def _doubts_of_tls(settings: Settings) -> Iterator[Doubt]:
    mqtt = settings.mqtt
    if mqtt.tls.enabled:
        if mqtt.port == _PLAIN_PORT:
            yield Doubt("mqtt.port", f"is {_PLAIN_PORT}, where brokers speak no TLS: mostly 8883")
        return
    if mqtt.port == _TLS_PORT:
        yield Doubt("mqtt.port", f"is {_TLS_PORT}, and mqtt.tls.enabled is off: switch it on")
    if any((mqtt.tls.ca_file, mqtt.tls.cert_file, mqtt.tls.key_file)):
        yield Doubt("mqtt.tls", "has certificates, and mqtt.tls.enabled is off: switch it on")
    if mqtt.password is not None and mqtt.username is None:
        yield Doubt("mqtt.password", "is not sent without mqtt.username: set it")
