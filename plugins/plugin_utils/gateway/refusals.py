# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Answers that a gateway itself gives, in the form of the API that was asked, as lines of haproxy.cfg. Pure."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import Gateway

#: Seconds after which a client may ask again.
RETRY_AFTER = 5


def _refusal(status: int, words: str, condition: str, header: str = "") -> str:
    """A rule that answers with an error in the form of the API that was asked."""
    return (
        'http-request return status %d content-type "application/json" '
        "lf-string '%%[var(txn.open)]%s%%[var(txn.close)]'%s if %s" % (status, words, header, condition)
    )


def refusals(gateway: Gateway) -> dict[str, str]:
    """Return the refusals of requests, by the words that stand for them in the texts of haproxy.py.

    Args:
        gateway: its names and limits.
    """
    names = " ".join(gateway.host_names)
    limit = gateway.limits.body_bytes
    again = " hdr Retry-After %d" % RETRY_AFTER
    denied = "the path %[var(txn.path),json(utf8s)] is not served here, and neither is any that changes models"
    may_not = "the key %[var(txn.key)] may not use the model %[var(txn.model)]"
    challenge = ' hdr WWW-Authenticate "Bearer realm=ollama"'
    return {
        "no_host": _refusal(400, "the request needs one Host header", "!{ req.fhdr_cnt(host) 1 }"),
        "other_host": _refusal(
            403,
            "the name of the host in this request is not one of this server",
            "!{ var(txn.host) -m str %s } !{ var(txn.host) -m reg ^([0-9.]+|\\[[0-9a-f:.]+\\])\\z }" % names,
        ),
        "origin": _refusal(
            403, "web pages may not use this server", "{ req.fhdr_cnt(origin) gt 0 } !{ var(txn.origin) -m found }"
        ),
        "not_served": _refusal(403, denied, "!{ var(txn.kind) -m found } or !{ url_beg / }"),
        "encoded": _refusal(415, "the body must not be compressed", "{ req.hdr(content-encoding) -m found }"),
        "too_large": _refusal(413, "the body has more than %d bytes" % limit, "{ req.body_size -m int gt %d }" % limit),
        "too_large_now": _refusal(
            413, "the body has more than %d bytes" % limit, "{ req.body_len -m int gt %d }" % limit
        ),
        "unreadable": _refusal(400, "%[var(txn.refusal)]", "{ var(txn.refusal) -m found }"),
        "unread": _refusal(
            500,
            "the gateway failed to read the body",
            "{ var(txn.kind) -m str model named } !{ var(txn.model) -m found }",
        ),
        "other_user": "http-request unset-var(txn.key) if { http_auth_type -i basic } "
        "!{ http_auth_user,strcmp(txn.key) 0 }",
        "no_key": _refusal(401, "an API key is needed", "!{ var(txn.key) -m found }", challenge),
        "too_often": _refusal(
            429,
            "the key %[var(txn.key)] has used its requests of this minute",
            "{ var(txn.rate) -m int gt 0 } { var(txn.left) -m int le 0 }",
            again,
        ),
        "not_allowed": _refusal(
            403, may_not, "{ var(txn.restricted) -m found } !{ var(txn.use),map(@allowed@) -m found }"
        ),
        "crowded": _refusal(
            429, "too many requests wait for this model", "held { nbsrv eq 0 } { be_conn gt @most@ }", again
        ),
        "full": _refusal(429, "too many requests wait for this model", "{ queue ge %d }" % gateway.limits.queue, again),
    }


def errors(queue_timeout: int) -> str:
    """Return the answers of HAProxy to what it cannot serve, in the form of the API where the path is known.

    Args:
        queue_timeout: seconds that a request waits for a server.
    """
    unread = {400: "the request cannot be read", 408: "the request took too long to arrive"}
    words = {
        500: "the gateway failed",
        502: "the server behind the gateway gave no answer",
        503: "no server is free for this model, or none within %d seconds" % queue_timeout,
        504: "the server behind the gateway took too long",
    }
    again = " hdr Retry-After %d" % RETRY_AFTER
    start = '    http-error status %d content-type "application/json" '
    return "".join(
        [(start + 'string \'{"error":"%s"}\'\n') % pair for pair in unread.items()]
        + [
            (start + "lf-string '%%[var(txn.open)]%s%%[var(txn.close)]'%s\n") % (*pair, again if pair[0] == 503 else "")
            for pair in words.items()
        ]
    )
