"""The process that checks passwords for `password_checks`.

It runs as a script, by path and isolated from the environment, and imports only passlib, so that it starts fast and
stays small. It exchanges one JSON object per line over the socket that is its standard input:

    {"path": […], "context": "[passlib]…"}          → {"ready": true}
    {"id": "…", "stored": "$6$…", "password": "…"}  → {"id": "…", "matches": false}

It ends when the other process closes the socket, or dies.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

#: The process's niceness: a password check is long and not urgent, and must not slow down other requests.
NICENESS = 5


def matches(context: Any, stored: str, password: Any) -> bool:
    """Check a password by a passlib context; a hash that the context cannot check does not match."""
    try:
        return bool(context.verify(password, stored))
    except (ValueError, TypeError):
        return False


def serve(channel: socket.socket) -> None:
    """Serve checks until the other process closes the socket."""
    with channel, channel.makefile("rw", encoding="ascii") as lines:
        settings = json.loads(lines.readline())
        sys.path[:] = settings["path"]
        from passlib.context import CryptContext  # found on the path that was just set

        context = CryptContext.from_string(settings["context"])
        reply: dict[str, Any] = {"ready": True}
        while True:
            lines.write(json.dumps(reply) + "\n")
            lines.flush()
            line = lines.readline()
            if not line:
                return
            question = json.loads(line)
            verdict = matches(context, question["stored"], question["password"])
            reply = {"id": question["id"], "matches": verdict}


if __name__ == "__main__":
    # Ctrl-C reaches every process of a terminal; this one ends when its socket is closed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    serve(socket.socket(fileno=0))
