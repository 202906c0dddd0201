"""The network thread: one connection after the other, for ever."""

import logging
import selectors
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from broker.errors import NotConnectedError, TakenOverError
from broker.handover import Handover, Publish
from broker.link import Link
from broker.options import ConnectionOptions, Subscription
from broker.reconnect import Backoff, End, ProtocolChoice, Quiet, TakeoverDetector
from broker.state import ConnectionState

logger = logging.getLogger(__name__)


class NetworkThread:
    """Connects, serves, and connects again until it is told to stop or another has our id.

    Args:
        make_link: Makes each connection.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        subscriptions: tuple[Subscription, ...],
        handover: Handover,
        make_link: Callable[..., Link],
    ) -> None:
        self._options = options
        self._subscriptions = subscriptions
        self._handover = handover
        self._make_link = make_link
        self._tls: ssl.SSLContext | None = None
        self._state = ConnectionState()
        self._backoff = Backoff()
        self._protocol = ProtocolChoice(options)
        self._detector = TakeoverDetector()
        self._quiet = Quiet()
        self._quiet_s = 0.0
        self._quarantined: Publish | None = None  # the last connection ended with it

    def start(self, tls: ssl.SSLContext | None) -> None:
        """Begin to connect."""
        self._tls = tls
        # A daemon: a name server that hangs must not keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, name=f"mqtt {self._options.client_id}", daemon=True
        )
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the end, after `Handover.stop`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._handover.is_stopping:
                end = self._connect_once()
                if evidence := self._detector.evidence(end):
                    self._handover.report(TakenOverError(self._options.client_id, evidence))
                    break
                if self._protocol.learn(end):
                    logger.info("the broker does not speak MQTT 5; going on with 3.1.1")
                else:
                    self._quiet_s = self._quiet.after(end)
                    self._wait(self._backoff.after(end))
        finally:
            if self._quarantined is not None:
                self._handover.finish(self._quarantined, NotConnectedError(self._state.reason))
            self._handover.end()
            self._change(_unconnected(self._state, self._state.reason))

    def _connect_once(self) -> End:
        """Connect, serve until it ends, and leave nothing open or waited for."""
        before = self._state
        link = self._make_link(
            self._options,
            self._subscriptions,
            self._handover,
            before,
            protocol=self._protocol.current,
            quiet_s=self._quiet_s,
            quarantined=self._quarantined,
            tls=self._tls,
        )
        try:
            end = link.run()
        except Exception as error:  # a task boundary: the thread must outlive a mistake in it
            logger.exception("the connection to the broker failed unexpectedly")
            end = End(f"unexpected {type(error).__name__}")
        self._change(_unconnected(link.state, end.reason))
        self._quarantined = link.close(end.reason)
        self._handover.refuse_commands(end.reason)
        self._log(end, is_news=link.state.is_connected or end.reason != before.reason)
        return end

    def _log(self, end: End, *, is_news: bool) -> None:
        if self._handover.is_stopping:
            return
        logger.log(
            logging.WARNING if is_news else logging.DEBUG,
            "no connection to the broker at %s:%d: %s",
            self._options.host,
            self._options.port,
            end.reason,
            extra={"action": "broker_disconnected"},
        )

    def _change(self, state: ConnectionState) -> None:
        self._state = state
        self._handover.report(state)

    def _wait(self, seconds: float) -> None:
        """Sleep until the time has come or the service stops; refuse commands meanwhile."""
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._handover.wake_receiver, selectors.EVENT_READ)
            while not self._handover.is_stopping and (left := until - time.monotonic()) > 0:
                selector.select(left)
                self._handover.clear_wake()
                self._handover.refuse_commands(self._state.reason)


def _unconnected(state: ConnectionState, reason: str) -> ConnectionState:
    return replace(state, is_connected=False, is_subscribed=False, reason=reason)
