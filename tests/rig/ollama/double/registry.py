# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""HTTP requests to a model registry, with the error texts of Go's client."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.parse

from . import gotext
from .errors import ApiError
from .version import VERSION

AGENT = "ollama/%s (amd64 linux) Go/go1.26.8" % VERSION
ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"


def send(method, url, headers, timeout=30.0):
    """Send one request; return the open http.client response.

    ApiError 500 with the text of Go if there is no answer.
    """
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout)
    try:
        connection.request(method, urllib.parse.urlunsplit(("", "", parts.path, parts.query, "")), headers=headers)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise ApiError(500, '%s "%s": %s' % (method.capitalize(), url, _cause(error, parts))) from None
    response.connection = connection  # kept alive as long as the answer is read
    return response


def _cause(error, parts):
    address = "%s:%d" % (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    if isinstance(error, socket.gaierror):
        return "dial tcp: lookup %s on %s:53: no such host" % (parts.hostname, _name_server())
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls: failed to verify certificate: x509: %s" % error.verify_message
    if isinstance(error, ssl.SSLError):
        return "tls: first record does not look like a TLS handshake"
    if isinstance(error, ConnectionRefusedError):
        return "dial tcp %s: connect: connection refused" % address
    if isinstance(error, socket.timeout):
        return "dial tcp %s: i/o timeout" % address
    if isinstance(error, http.client.RemoteDisconnected):
        return "EOF"
    if isinstance(error, ConnectionResetError):
        return "read tcp %s: read: connection reset by peer" % address
    return "dial tcp %s: connect: %s" % (address, (getattr(error, "strerror", None) or str(error)).lower())


def _name_server():
    try:
        with open("/etc/resolv.conf", encoding="utf-8") as stream:
            return next(line.split()[1] for line in stream if line.startswith("nameserver"))
    except (OSError, StopIteration, IndexError):
        return "127.0.0.1"


def checked(response, url):
    """The response, or the ApiError for its status."""
    if response.status == 404:
        raise ApiError(500, "file does not exist")
    if response.status == 401:
        raise ApiError(500, 'realm host "" does not match original host "%s"' % urllib.parse.urlsplit(url).netloc)
    if response.status >= 400:
        raise ApiError(500, "%d: %s" % (response.status, response.read().decode("utf-8", "replace")))
    return response


def manifest(base, name):
    """The bytes of a manifest."""
    url = "%s/manifests/%s" % (base, name.tag)
    try:
        response = checked(
            send("GET", url, {"User-Agent": AGENT, "Accept": ACCEPT, "Accept-Encoding": "identity"}), url
        )
        raw = response.read()
        text = raw.decode("utf-8", "replace")
        try:
            json.loads(text)
        except ValueError as error:
            raise ApiError(500, gotext.json_error(text, error)) from None
    except ApiError as error:
        raise ApiError(500, "pull model manifest: " + error.text) from None
    return raw


def blob_size(base, digest):
    """Bytes of a blob, by HEAD."""
    url = "%s/blobs/%s" % (base, digest)
    response = checked(send("HEAD", url, {"User-Agent": AGENT}), url)
    return int(response.headers.get("Content-Length") or 0)


def direct_address(base, digest):
    """The final address of a blob: from a 307 to another host name, or from the Location of a 200.

    Redirects to the same host name are followed.
    """
    start = url = "%s/blobs/%s" % (base, digest)
    for _hop in range(10):
        response = checked(send("GET", url, {"User-Agent": AGENT, "Accept-Encoding": "identity"}), url)
        location = response.headers.get("Location")
        response.connection.close()
        target = urllib.parse.urljoin(url, location or "")
        same_host = urllib.parse.urlsplit(target).hostname == urllib.parse.urlsplit(start).hostname
        if response.status in (301, 302, 303, 307, 308) and location and same_host:
            url = target
            continue
        if response.status not in (200, 307):
            raise ApiError(500, "unexpected status code %d" % response.status)
        if not location:
            raise ApiError(500, "http: no Location header in response")
        return target
    raise ApiError(500, "maximum redirects exceeded (10) for directURL")
