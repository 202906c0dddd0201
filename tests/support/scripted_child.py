"""A child that speaks the protocol without a model: what it does is in its first argument and in
the ids of its jobs. Started as a real process by the tests of the service's side."""

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

from engine import protocol

CAPACITY = 2


class Peer:
    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._stream = self._socket.makefile("rb")
        self.is_hanging = False

    def send(self, message: protocol.Message) -> None:
        self._socket.sendall(protocol.encode(message))

    def send_raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> protocol.Message | None:
        preamble = self._stream.read(protocol.PREAMBLE_BYTES)
        if len(preamble) < protocol.PREAMBLE_BYTES:
            return None
        header, body = protocol.lengths(preamble)
        return protocol.decode(self._stream.read(header), self._stream.read(body))

    def beat(self) -> None:
        while not self.is_hanging:
            with contextlib.suppress(OSError):
                self.send(protocol.Alive(0, 0, vram_mb=1.0, ram_mb=2.0))
            time.sleep(0.05)


def main() -> None:
    mode = sys.argv[1]
    arguments = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    options = json.loads(arguments["--options"])
    peer = Peer(int(arguments["--socket"]))
    greet(peer, mode)
    load(peer, mode, options)
    while message := peer.receive():
        match message:
            case protocol.Submit():
                work(peer, message)
            case protocol.Cancel(key=key):
                peer.send(protocol.Cancelled(key))


def greet(peer: Peer, mode: str) -> None:
    match mode.partition(":")[0]:
        case "speaks":  # the rest of the mode is a version
            peer.send(protocol.Hello(int(mode.partition(":")[2])))
        case "silent":
            pass
        case _:
            peer.send(protocol.Hello(protocol.VERSION))


def load(peer: Peer, mode: str, options: dict[str, str]) -> None:
    match mode.partition(":")[0]:
        case "load_fails":
            peer.send(protocol.LoadFailed("model_file", "config.json: no such file"))
            sys.exit(1)
        case "picky" if options["name"].startswith("no-"):
            peer.send(protocol.LoadFailed("model_file", f"{options['name']}: no such file"))
            sys.exit(1)
        case "load_fails_for_now":
            peer.send(protocol.LoadFailed("model_download", "no network", can_retry=True))
            sys.exit(1)
        case "load_crashes":
            sys.exit("ERROR out of luck")
        case "load_raises":
            raise RuntimeError("hunter2")
        case "load_hangs":
            time.sleep(60)
        case "load_moves":
            for percent in range(0, 100, 10):
                peer.send(protocol.Loading(f"{percent} %"))
                time.sleep(0.1)
        case "garbage":
            peer.send_raw(b"\xff" * 64)
            time.sleep(60)
        case "odd":  # the rest of the mode is a header
            header = mode.partition(":")[2].encode()
            peer.send_raw(struct.pack("!II", len(header), 0) + header)
            time.sleep(60)
        case "secretive":
            kinds = ("MOONDREAM2MQTT__", "HF_HUB_DISABLE")
            seen = [f"{name}={os.environ[name]}" for name in os.environ if name.startswith(kinds)]
            sys.stderr.write(f"WARNING saw {seen}\n")
    peer.send(
        protocol.Ready(
            options["name"],
            options["revision"],
            options["device"],
            "float32",
            capacity=CAPACITY,
            load_seconds=0.1,
            vram_mb=0.0,
            ram_mb=1.0,
        )
    )
    threading.Thread(target=peer.beat, daemon=True).start()


def work(peer: Peer, job: protocol.Submit) -> None:
    match job.key.split("-")[0]:
        case "crash":
            sys.stderr.write("ERROR cannot go on\n")
            sys.stderr.flush()
            os._exit(3)
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            peer.is_hanging = True
            time.sleep(60)
        case "hold":
            peer.send(protocol.Started(job.key))
        case "fail":
            peer.send(protocol.Failed(job.key, "image_corrupt", "no", can_retry=False))
        case "memory":
            peer.send(protocol.Capacity(1, "out of memory"))
            peer.send(protocol.Done(job.key, (), 0.1))
        case "chatter":
            sys.stderr.write("INFO " + "x" * 10_000 + "\n")
            sys.stderr.flush()
            peer.send(protocol.Done(job.key, (), 0.1))
        case _:
            peer.send(protocol.Started(job.key))
            answer = protocol.TextAnswer(str(len(job.body)), (), 1.0)
            peer.send(protocol.Done(job.key, (answer,), 0.1, body=job.body[:1]))


if __name__ == "__main__":
    main()
