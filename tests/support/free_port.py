"""A port nobody listens on."""

import socket


def free_port() -> int:
    """Of 127.0.0.1; free now, and not soon given to another."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
