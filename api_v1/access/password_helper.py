"""The process that checks passwords for `password_checks`.

It is run as a script, by path and isolated from the environment, and imports passlib alone, so that it starts fast and
stays small. One JSON object per line comes and goes over the socket that is its standard input:

    {"path": […], "context": "[passlib]…"}          → {"ready": true}
    {"id": "…", "stored": "$6$…", "password": "…"}  → {"id": "…", "matches": false}

It ends when the other side closes the socket, as the kernel does for a process that dies.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

#: How much the process yields to others when the machine is busy: checking a password is long and never urgent, and
#: requests that read shall keep their pace.
NICENESS = 5


def matches(context: Any, stored: str, password: Any) -> bool:
    """Check a password by a passlib context; what the context cannot check does not match."""
    try:
        return bool(context.verify(password, stored))
    except (ValueError, TypeError):
        return False


def serve(channel: socket.socket) -> None:
    """Answer until the other side closes the socket."""
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
    # Ctrl-C reaches every process of a terminal; this one ends when the socket does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    serve(socket.socket(fileno=0))
