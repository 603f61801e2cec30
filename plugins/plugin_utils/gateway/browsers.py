# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a gateway says to browsers, as lines of haproxy.cfg: which web pages may use it. Pure.

A browser sends the origin of a page, and shows the page only what the answer allows (Fetch standard, CORS protocol).
Before a request with a key or with JSON it asks with OPTIONS, and never sends a key with that. The gateway answers
itself: Ollama gets no Origin.
"""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import Gateway

#: Headers that pages may send: those that Ollama 0.32.15 allows (server/routes.go, GenerateRoutes), which the clients
#: of ollama and openai send. Most of them end at the gateway.
ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "User-Agent",
    "Accept",
    "X-Requested-With",
    "OpenAI-Beta",
    *(
        "X-Stainless-" + name
        for name in (
            "Arch",
            "Async",
            "Custom-Poll-Interval",
            "Helper-Method",
            "Lang",
            "OS",
            "Package-Version",
            "Poll-Helper",
            "Retry-Count",
            "Runtime",
            "Runtime-Version",
            "Timeout",
        )
    ),
)
ALLOWED_METHODS = ("GET", "HEAD", "POST")
#: Seconds that a browser may remember the answer to OPTIONS.
REMEMBERED = 600

#: Headers with commas count as one value (fhdr), so that nothing can stand beside a listed origin.
_PAGES = """\
    http-request set-var(txn.origin) req.fhdr(origin) if { req.fhdr_cnt(origin) 1 } { req.fhdr(origin) -m str %s }
    # Also in refusals, so that the page can tell its user why.
    http-after-response add-header Vary Origin
    http-after-response set-header Access-Control-Allow-Origin %%[var(txn.origin)] if { var(txn.origin) -m found }
    http-after-response set-header Access-Control-Expose-Headers Retry-After if { var(txn.origin) -m found }
"""
_PREFLIGHT = """\
    http-request set-var-fmt(txn.asked) '%%[req.fhdr(access-control-request-method)]_%%[path]' \
if { method OPTIONS } { var(txn.origin) -m found }
    http-request set-var(txn.may) var(txn.asked),map(@calls@)
    http-request set-var-fmt(txn.may) 'model_path' if { var(txn.asked) -m beg GET_/v1/models/ }
    http-request return status 204 hdr Access-Control-Allow-Methods "%s" hdr Access-Control-Allow-Headers "%s" \
hdr Access-Control-Max-Age %d if { var(txn.may) -m found }
"""


def rules(gateway: Gateway) -> dict[str, str]:
    """Return the rules by the words that stand for them in the texts of haproxy.py; without origins they are empty.

    Args:
        gateway: its origins.
    """
    if not gateway.origins:
        return {"pages": "", "preflight": ""}
    return {
        "pages": _PAGES % " ".join(gateway.origins),
        "preflight": _PREFLIGHT % (", ".join(ALLOWED_METHODS), ", ".join(ALLOWED_HEADERS), REMEMBERED),
    }
