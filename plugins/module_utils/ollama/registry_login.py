# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Requests to a registry with a user name and password: Basic, or a token for which they are given (Bearer).

Source: RFC 9110 section 11 for challenges; the distribution project's docs/spec/auth/token.md for tokens.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from . import bounded
from .login import Login, LoginRefused
from .redirects import Hops, origin

MAX_TOKEN = 64 * 1024
# key="value" or key=value, or a word that begins a challenge.
_PART = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([\w-]+)')
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")


def challenges(text: Any) -> dict[str, dict[str, str]]:
    """Return the challenges of the header field WWW-Authenticate: {scheme: {key: value}}, all names in small letters.

    Args:
        text: of the field, which may have several; None for none.
    """
    found: dict[str, dict[str, str]] = {}
    scheme = ""
    for key, quoted, plain, word in _PART.findall(str(text or "")):
        if word:
            scheme = word.lower()
            found.setdefault(scheme, {})
        elif scheme:
            found[scheme].setdefault(key.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted else plain)
    return found


class Access:
    """Requests to a registry with a login, which is sent to the registry itself, and to the place that it names for
    tokens, and nowhere else: redirects go without it.

    Args:
        hops: connections of the registry.
        address: of the registry, scheme and host.
        login: of the user; None for a registry without one.
        scope: what a token is asked for where the registry does not say it.
    """

    def __init__(self, hops: Hops, address: str, login: Login | None, scope: str) -> None:
        self._hops = hops
        self._address = address
        self._login = login
        self._scope = scope
        self._authorization: str | None = None

    def get(self, url: str, headers: dict[str, str], timeout: float, also_200: bool = False) -> Any:
        """Return the answer to a request, asked again with the login where the registry wants one; else as Hops.get.

        Raises:
            LoginRefused: no token is given for it.
            Refused: from Hops.get.
        """
        if self._login is None or origin(url) != origin(self._address):
            return self._hops.get(url, headers, timeout, also_200)
        response = self._hops.get(url, headers, timeout, also_200, self._authorization)
        if response.status_code != 401 or origin(response.url) != origin(self._address):
            return response
        response.close()
        self._authorization = self._answer_to(challenges(response.headers.get("WWW-Authenticate")), timeout)
        return self._hops.get(url, headers, timeout, also_200, self._authorization)

    def _answer_to(self, asked: dict[str, dict[str, str]], timeout: float) -> str:
        """Return the header field Authorization that challenges ask for."""
        login = self._login
        if login is None:
            raise LoginRefused("asks for a login")
        if "bearer" in asked and asked["bearer"].get("realm"):
            return "Bearer " + self._token(login, asked["bearer"], timeout)
        if "basic" in asked or not asked:
            return login.basic()
        raise LoginRefused("asks for a login of the kind %.40r, and only Basic and Bearer are known" % sorted(asked)[0])

    def _token(self, login: Login, asked: dict[str, str], timeout: float) -> str:
        """Return a token, for which the login is given to the place that the registry names."""
        realm = urllib.parse.urlsplit(asked["realm"])
        if realm.scheme not in ("http", "https") or not realm.hostname or "@" in realm.netloc:
            raise LoginRefused("names %.200r for tokens, which is no http address" % asked["realm"])
        query = urllib.parse.parse_qsl(realm.query)
        if asked.get("service"):
            query.append(("service", asked["service"]))
        query += [("scope", scope) for scope in (asked.get("scope") or self._scope).split()]
        url = urllib.parse.urlunsplit(realm._replace(query=urllib.parse.urlencode(query), fragment=""))
        response = self._hops.get(url, {"Accept": "application/json"}, timeout, False, login.basic())
        if response.status_code != 200:
            response.close()
            raise LoginRefused("gives no token (%s answers %d)" % (realm.hostname, response.status_code))
        try:
            answer = bounded.parse_object(bounded.body(response, MAX_TOKEN))
        except ValueError as error:
            raise LoginRefused("gives no token (the answer of %s %s)" % (realm.hostname, error))
        token = answer.get("token") or answer.get("access_token")
        # What is no header field would be in the message of requests.
        if not isinstance(token, str) or not _VISIBLE.match(token):
            raise LoginRefused("gives no token (the answer of %s has none)" % realm.hostname)
        return token
