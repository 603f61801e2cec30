# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Where the requests to a registry may go: its redirects are followed by hand, and every connection is checked.

A registry sends its readers to a storage, usually on another public host. It must not send them to the services of the
reader's own network, which trust whoever asks from there. So the addresses of a registry that is on the internet are
all on the internet; a registry in a private network may have its storage anywhere.

The address of a connection is checked when it is made, so that no spelling of it and no change in the name service
passes: a registry whose name led to the internet once is on the internet. Where a proxy makes the connections, the
names are looked up here as far as they can be. What a proxy makes of a name that is looked up anew, or that only the
proxy knows, is not seen from here.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
import urllib.parse
from typing import Any, Callable, Union

MAX_HOPS = 10
REDIRECTS = (301, 302, 303, 307, 308)
_NO_HTTP = "redirects to an address that is neither http nor https"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# IANA has given out addresses of the internet only here; the others lead into the own network (fec0::) or hold IPv4
# addresses of any kind (::127.0.0.1), and Python calls them global.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Refused(Exception):
    """A redirect that is not followed. The text is a phrase ("redirects to ...")."""


class Hops:
    """The connections and redirects of one registry.

    Args:
        requests: the library.
        session: of the library; its direct connections are checked from now on, and it uses no netrc.
        base: address of the registry.
    """

    def __init__(self, requests: Any, session: Any, base: str) -> None:
        self._utils = requests.utils
        self._session = session
        self._https = base.startswith("https://")
        self._base = base
        self._private: bool | None = None  # whether the registry is in a private network; not known before it is asked
        self._at_registry = True  # whether the request in hand is for the registry itself and not for its storage
        self._outdated = False  # whether open connections were checked for a registry that seemed to be private
        # Requests would send the password that a netrc has for a host. An own function for it turns that off; without
        # `trust_env` the proxies of the environment would be off too.
        session.auth = lambda request: request
        # Requests would read the body of a redirect to its end, even where it does not follow.
        session.get_redirect_target = lambda response: None
        adapter = requests.adapters.HTTPAdapter()
        pools = adapter.poolmanager.pool_classes_by_scheme
        adapter.poolmanager.pool_classes_by_scheme = {
            scheme: _checked(pool, self._check_address) for scheme, pool in pools.items()
        }
        session.mount("http://", adapter)
        session.mount("https://", adapter)

    def get(
        self,
        url: str,
        headers: dict[str, str],
        timeout: float,
        also_200: bool = False,
        authorization: str | None = None,
    ) -> Any:
        """Return the answer at the end of the redirects.

        Args:
            url: address. Its user name and password are sent to its own host and port only.
            headers: of the request; they have no credentials.
            timeout: seconds without a byte.
            also_200: whether a Location is followed in an answer with status 200 too.
            authorization: header field that is sent to its own host and port only, in place of the address's.

        Raises:
            Refused: a redirect leads where it may not, or there are too many.
        """
        first, credentials = None, {}
        for _hop in range(MAX_HOPS + 1):
            if self._outdated:
                self._session.close()
                self._outdated = False
            self._check_url(url)
            if first is None:
                first, credentials = origin(url), _basic(url)
                if authorization is not None:
                    credentials = {"Authorization": authorization}
            own = credentials if origin(url) == first else {}
            response = self._session.get(
                url, headers={**headers, **own}, timeout=timeout, stream=True, allow_redirects=False
            )
            location = response.headers.get("Location")
            if not location or not (response.status_code in REDIRECTS or also_200 and response.status_code == 200):
                return response
            response.close()
            try:
                location = location.encode("latin-1").decode("utf-8")  # which http.client reads as Latin-1
                url = urllib.parse.urljoin(response.url, location)
            except ValueError:
                raise Refused(_NO_HTTP)
        raise Refused("redirects in a circle")

    def _check_url(self, url: str) -> None:
        """Raise Refused where a request may not go, as far as its address and the name service say."""
        try:
            parts = urllib.parse.urlsplit(url)
            scheme, host = parts.scheme, parts.hostname
        except ValueError:
            scheme, host = "", None
        if scheme not in ("http", "https") or not host:
            raise Refused(_NO_HTTP)
        if self._https and scheme != "https":
            raise Refused("redirects to plain http")
        self._at_registry = origin(url) == origin(self._base)
        if not self._utils.select_proxy(url, self._utils.get_environ_proxies(url)):
            return  # the connection is checked
        self._check_place(all(is_public(address) for address in _addresses(host)), host)

    def _check_address(self, address: str) -> None:
        """Raise Refused where a connection was made to an address that is no address of this registry."""
        self._check_place(is_public(address), address)

    def _check_place(self, public: bool, where: str) -> None:
        """Raise Refused where `where` is in a private network (not `public`) and the registry is on the internet."""
        if self._private is None:
            self._private = not public
        elif self._private and public and self._at_registry:
            self._private, self._outdated = False, True
        if not self._private and not public:
            raise Refused("redirects to %s in a private network" % where)


def origin(url: str) -> tuple[str, str | None, str]:
    """Return scheme, host and port of an address, as far as it has them."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.netloc.rpartition("@")[2].rpartition(":")[2]


def _basic(url: str) -> dict[str, str]:
    """Return the header with the user name and password of an address; {} where it has none."""
    words, at, _host = urllib.parse.urlsplit(url).netloc.rpartition("@")
    name, _colon, password = words.partition(":")
    plain = ("%s:%s" % (urllib.parse.unquote(name), urllib.parse.unquote(password))).encode("utf-8")
    return {"Authorization": "Basic " + base64.b64encode(plain).decode("ascii")} if at else {}


def is_public(address: str) -> bool:
    """Return whether an address is one of the internet, and not private, of this host, or of the local link."""
    ip: _Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
        if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_UNICAST:
            return False
    return _is_global(ip)


def _is_global(ip: _Address) -> bool:
    return ip.is_global and not ip.is_multicast


def _addresses(host: str) -> list[str]:
    """Return the addresses of a host, in any spelling; none where only the proxy knows it."""
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def _checked(pool: Any, check: Callable[[str], None]) -> Any:
    """Return a class of connection pools of urllib3 that calls check(address) for each new connection."""

    class Connection(pool.ConnectionCls):
        """A connection that is closed before anything is sent where its address is refused."""

        def _new_conn(self) -> Any:
            made = super()._new_conn()
            try:
                check(made.getpeername()[0])
            except BaseException:
                made.close()
                raise
            return made

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})
