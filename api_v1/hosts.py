"""The host of a URL or of a `Host` header (RFC 3986, section 3.2.2; RFC 9110, section 7.2)."""

from __future__ import annotations

import ipaddress
import re

# The underscore, which Werkzeug refuses, is in names that container networks give, such as `sample_platform`.
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_HOST_AND_PORT = re.compile(r"(?P<name>[^:\[\]]+|\[(?P<address>[^\[\]]+)\])(?::(?P<port>[0-9]{0,5}))?", re.ASCII)


def is_valid(host: str) -> bool:
    """Return whether a text is a host name or an address, with a port or without.

    Userinfo, percent-encoding and characters beyond ASCII, which RFC 3986 also allows, are refused: no client sends
    them, and not every client could follow a link with them.
    """
    match = _HOST_AND_PORT.fullmatch(host)
    if match is None or int(match["port"] or 0) > 65535:
        return False
    return _is_name(match["name"]) if match["address"] is None else _is_ipv6(match["address"])


def _is_name(name: str) -> bool:
    """Return whether a text is a domain name or an IPv4 address; the name may end with a dot."""
    labels = name.removesuffix(".").split(".")
    return len(name) <= 254 and all(_LABEL.fullmatch(label) and _is_decodable(label.lower()) for label in labels)


def _is_decodable(label: str) -> bool:
    """Return whether a label has valid Punycode where its prefix announces it (RFC 5890)."""
    try:
        label.removeprefix("xn--").encode().decode("punycode" if label.startswith("xn--") else "ascii")
    except UnicodeError:
        return False
    return True


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return "%" not in address
