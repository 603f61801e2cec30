# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A login that manifests and blobs need: Basic, or tokens (Bearer) as the distribution project's token.md describes
them. Where blobs are sent from (cdn) needs none: a login that turns up there was carried too far, and the log of
requests says so ("authorization")."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.parse

KINDS = ("basic", "bearer")
PROTECTED = ("manifest", "head", "blob")


class Login:
    """The login that is wanted now; none at the beginning."""

    def __init__(self) -> None:
        self._basic = ""
        self._kind = ""
        self._realm = ""
        self._tokens: dict[str, str] = {}

    def set(self, user: str = "", kind: str = "basic", realm: str = "") -> None:
        """Want a login from now on.

        Args:
            user: "name:password"; "" for none.
            kind: one of KINDS.
            realm: address for tokens, in place of the own one.
        """
        if kind not in KINDS or (user and ":" not in user):
            raise ValueError(f"user is 'name:password', and kind one of {', '.join(KINDS)}")
        self._basic = base64.b64encode(user.encode()).decode() if user else ""
        self._kind, self._realm = kind, realm
        self._tokens.clear()

    def challenge(self, kind: str, target: str, authorization: str | None, host: str) -> str | None:
        """The header field WWW-Authenticate of an answer 401; None where the request may be answered.

        Args:
            kind: of the answer.
            target: namespace/model.
            authorization: header field of the request.
            host: and port that the request was sent to.
        """
        if not self._basic or kind not in PROTECTED:
            return None
        scheme, _space, word = (authorization or "").partition(" ")
        if self._kind == "basic":
            return None if (scheme, word) == ("Basic", self._basic) else 'Basic realm="rig"'
        scope = f"repository:{target}:pull"
        if scheme == "Bearer" and self._tokens.get(word) == scope:
            return None
        realm = self._realm or f"http://{host}/token"
        return f'Bearer realm="{realm}",service="rig",scope="{scope}"'

    def token(self, query: str, authorization: str | None) -> tuple[int, bytes]:
        """(status, body) of a request for a token."""
        asked = dict(urllib.parse.parse_qsl(query))
        if authorization != "Basic " + self._basic or asked.get("service") != "rig":
            return 401, b"{}"
        token = secrets.token_urlsafe(24)
        self._tokens[token] = asked.get("scope", "")
        return 200, json.dumps({"token": token, "expires_in": 300}).encode()
