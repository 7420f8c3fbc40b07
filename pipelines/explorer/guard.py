"""Who may look: this machine, or whoever knows the token; and what a browser may do with a page.

A web page from elsewhere can make a browser ask a server on loopback. It cannot read the answers, unless its name is
made to resolve to this machine (DNS rebinding): then the browser says that name, and is refused.
"""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import urlsplit

MIN_TOKEN_CHARACTERS: Final = 16
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer: nothing but what this server serves is loaded, and no script or style that stands in a page."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What is asked of a request."""

    host: str
    """Where the server listens."""
    token: str | None
    """None: whoever reaches the server may look."""

    @classmethod
    def of(cls, host: str, token: str | None) -> "Guard":
        """For a host; beyond loopback a token is made if none is given.

        Raises:
            ValueError: a token that can be guessed, or that does not fit into an address.
        """
        if token is not None and len(token) < MIN_TOKEN_CHARACTERS:
            raise ValueError(f"--token must have at least {MIN_TOKEN_CHARACTERS} characters, got {len(token)}")
        if token is not None and not all(
            letter.isascii() and (letter.isalnum() or letter in "-_.~") for letter in token
        ):
            raise ValueError("--token may consist of letters, digits and -_.~, which need no escape in an address")
        if token is None and not is_loopback(host):
            token = secrets.token_urlsafe(24)
        return cls(host, token)

    def allows_host(self, header: str) -> bool:
        """Whether the ``Host`` of a request is a name that this server has; an address in numbers cannot be rebound."""
        try:
            name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in {"localhost", self.host.lower()}:
            return name != ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name != "" and name in _names_of_this_machine()
        return True

    def allows_origin(self, site: str | None, kind: str | None) -> bool:
        """Whether a request comes from a page of ours, or from a person, who may follow a link from anywhere.

        Pages of other sites cannot read answers, but what they ask for costs work: a look at every clip of a store.

        Args:
            site: ``Sec-Fetch-Site``; None where no browser of today asks.
            kind: ``Sec-Fetch-Dest``, what it is for.
        """
        return site in (None, "same-origin", "none") or kind == "document"

    def allows(self, given: str | None) -> bool:
        """Whether a token that is given, if any, opens the pages."""
        return self.token is None or (given is not None and hmac.compare_digest(given.encode(), self.token.encode()))


@cache
def _names_of_this_machine() -> frozenset[str]:
    """Asked for once: where a resolver does not answer that takes seconds, in which nobody is served."""
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine can reach a server there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
