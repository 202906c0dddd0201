"""Who calls: somebody with the token, somebody who needs none, or a stranger."""

import re
from dataclasses import dataclass
from functools import lru_cache, partial

from gateway.guard.addresses import Address, address_of, household, is_in, networks_of
from gateway.guard.guesses import Guesses
from gateway.guard.incoming import Incoming
from gateway.guard.keys import Key
from gateway.options import GatewayOptions
from gateway.problems import Problem

_INGRESS = re.compile(r"/api/hassio_ingress/[A-Za-z0-9_-]{1,128}")
_USER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BEARER = re.compile(r"bearer +", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    name: str  #: under which limits are counted; never a secret
    is_known: bool = True  #: False: a stranger, who may see little
    root_path: str = ""  #: the path that Home Assistant's ingress has taken away


class Callers:
    """Tells who calls.

    Args:
        options: The token, and who needs none.

    Attributes:
        key: The token.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self.key = Key(options.token)
        keyless = networks_of(options.keyless_networks)
        self._is_keyless = lru_cache(maxsize=1024)(partial(is_in, networks=keyless))
        self._supervisor = address_of(options.supervisor) if options.supervisor else None
        self._guesses = Guesses()

    def identify(self, incoming: Incoming) -> Caller:
        """Who it is.

        Raises:
            Problem: A stranger, or somebody who has guessed too often.
        """
        if (root_path := self.ingress(incoming)) is not None:
            user = incoming.header("x-remote-user-id") or ""
            return Caller(f"ingress {user if _USER.fullmatch(user) else ''}", root_path=root_path)
        address = household(incoming.peer)
        if self._is_keyless(incoming.peer) and not incoming.is_proxied:
            return Caller(f"keyless {address}")
        if self.key.has_session(incoming.all("cookie")):
            return Caller(f"session {address}")
        self.check_tokens(incoming, _tokens(incoming))
        return Caller(f"token {address}")

    def ingress(self, incoming: Incoming) -> str | None:
        """The path below which Home Assistant shows us to a user it knows; None: it does not."""
        path = incoming.header("x-ingress-path") or ""
        is_supervisor = self._supervisor is not None and incoming.peer == self._supervisor
        return path if is_supervisor and _INGRESS.fullmatch(path) else None

    def stranger(self, incoming: Incoming) -> Caller:
        """Who is answered without being known."""
        return Caller(f"stranger {household(incoming.peer)}", is_known=False)

    def check_tokens(self, incoming: Incoming, tokens: list[str]) -> None:
        """See that one of some texts is the token.

        Raises:
            Problem: None is, or this caller has guessed too often.
        """
        guesser = self._guesser(incoming)
        if tokens and (wait_s := self._guesses.wait_s(guesser)):
            raise Problem(
                "too_many_guesses",
                f"too many wrong tokens from here; try again in {wait_s:.0f} s",
                retry_after_s=wait_s,
            )
        if any(self.key.is_token(each) for each in tokens):
            return
        if tokens:
            self._guesses.note_wrong(guesser)
            raise Problem("unauthorized", "this is not the token; `moondream2mqtt token` shows it")
        raise Problem(
            "unauthorized",
            "a token is needed, as Authorization: Bearer …; `moondream2mqtt token` shows it",
        )

    def _guesser(self, incoming: Incoming) -> str:
        """Who is slowed down: behind a proxy of ours not the proxy, but whom it names.

        Only what the nearest proxy wrote is believed, and only of one on this machine or in a
        network that is trusted anyway.
        """
        peer = household(incoming.peer)
        if not self._is_keyless(incoming.peer):
            return peer
        said = ",".join(incoming.all("x-forwarded-for")).rpartition(",")[2].strip()
        address: Address | None = address_of(said)
        return peer if address is None else f"{household(address)} behind {peer}"


def _tokens(incoming: Incoming) -> list[str]:
    """What was sent as a token, in any of the ways that clients know; at most three."""
    said = [_BEARER.sub("", each, count=1) for each in incoming.all("authorization")]
    said += [*incoming.all("x-moondream-auth"), *incoming.all("x-api-key")]
    return [text for each in said if (text := each.strip())][:3]
