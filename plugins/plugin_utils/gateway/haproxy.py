# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Text of haproxy.cfg of a gateway, for HAProxy 2.6 and later. Pure.

Options are those of the configuration manual of HAProxy 2.6 (2.6.12 ends with a fault at a set-var-fmt of nothing).
Everything that is written between quotes is checked where it comes in (inputs.py): names, addresses and hashes have no
quotes, spaces or line breaks. Expressions end with \\z: in PCRE, $ is also before a line break at the end.
"""

from __future__ import annotations

import json
import re
from typing import Mapping, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway import browsers
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.refusals import errors, refusals
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import Backend, Gateway, Server

#: Room in a buffer for the head of a request, beside its body.
HEAD_BYTES = 16 * 1024
#: Seconds that a request waits at least for an instance that is switched: it comes back, and a switch of an upgrade
#: takes up to some four minutes (what is under way, 60 s; the load; watching the engines, 90 s).
HOLD_SECONDS = 300
#: Seconds between two checks of a server, and where it has just changed.
CHECK_SECONDS = 2
#: Headers of a request that go on to Ollama; every other one ends here.
PASSED_HEADERS = ("accept", "content-length", "content-type", "host", "transfer-encoding", "user-agent")

_GLOBAL = """\
global
    log stdout len 4096 format raw daemon info
    maxconn @connections@
    # It may not choose its CPUs (unit), and the threads of all NUMA nodes are of use.
    no numa-cpu-mapping
    # A whole request fits into one buffer: the model is read from all of its body, and it can be sent a second time.
    tune.bufsize @bufsize@
    tune.maxrewrite 4096
    # Connections that are under way when the configuration changes are served to their end.
    hard-stop-after @answer_timeout@s
    ssl-default-bind-options ssl-min-ver TLSv1.2
    setenv GATEWAY_LISTING @listing@
    setenv GATEWAY_ALLOWED @allowed@
    setenv GATEWAY_HOLD @hold@
    lua-load-per-thread @lua@
    # The file limits how much it does itself. HAProxy would stop it after 4 s, which 2.6 counts while others run, too.
    tune.lua.session-timeout 0
    tune.lua.service-timeout 0
@socket@
defaults
    mode http
    log global
    option dontlognull
    # Each word is sent as it comes: without this the kernel waits for more, up to 200 ms (MSG_MORE).
    option http-no-delay
    # A client never writes into a connection that a reload has just closed.
    option idle-close-on-response
    # A client that is gone neither waits in a queue nor keeps a slot.
    option abortonclose
    option clitcpka
    clitcpka-idle 15s
    clitcpka-intvl 5s
    clitcpka-cnt 3
    option srvtcpka
    srvtcpka-idle 15s
    srvtcpka-intvl 5s
    srvtcpka-cnt 3
    timeout connect 5s
    timeout check 5s
    timeout http-request @body_timeout@s
    timeout http-keep-alive 60s
    timeout queue @queue_timeout@s
    timeout client @answer_timeout@s
    timeout server @answer_timeout@s
    # Only before the first byte of an answer, and never because of an answer: each time on another server.
    retry-on conn-failure empty-response
    option redispatch 1
@errors@
frontend clients
    # No tcp-ut: it would also cut off a client that is there and reads nothing for that time. A client that is gone in
    # the middle of its answer is noticed when the kernel has sent in vain for about 15 minutes (tcp_retries2). Until
    # then a buffer takes the rest of the answer, so that most instances are free as soon as they have written it.
    bind @bind@
    log-format '@log@'
    http-request set-var(txn.path) path
    http-request set-var-fmt(txn.call) '%[method]_%[path]'
    http-request set-var(txn.kind) var(txn.call),map(@calls@)
    http-request set-var-fmt(txn.kind) 'model_path' if { method GET } { path_beg /v1/models/ }
    http-request set-var-fmt(txn.open) '{"error":"'
    http-request set-var-fmt(txn.close) '"}'
    http-request set-var-fmt(txn.open) '{"error":{"message":"' if { path_beg /v1/ }
    http-request set-var-fmt(txn.close) '","type":"invalid_request_error","param":null,"code":null}}' \
if { path_beg /v1/ }

    # What a browser was made to send, and what is written so that two programs read it differently.
@pages@    http-request set-var(txn.host) req.hdr(host),host_only,lower
    @no_host@
    @other_host@
    @origin@
@preflight@    @not_served@
    http-request return status 200 content-type "text/plain" string "Ollama is running" if { var(txn.kind) -m str root }
@access@
    @encoded@
    @too_large@
    http-request return status 200 content-type "application/json" string '{"version":"@version@"}' \
if { var(txn.kind) -m str version }
    http-request use-service lua.list_tags if { var(txn.kind) -m str tags }
    http-request use-service lua.list_ps if { var(txn.kind) -m str ps }
    http-request use-service lua.list_openai if { var(txn.kind) -m str models }

    # The model of the request.
    http-request set-var(txn.model) path,regsub(^/v1/models/,),url_dec,lower if { var(txn.kind) -m str model_path }
    http-request unset-var(txn.model) if !{ var(txn.model) -m reg ^[a-z0-9._:/-]{1,512}\\z }
    http-request wait-for-body time @body_timeout@s if { var(txn.kind) -m str model named }
    @too_large_now@
    http-request lua.read_model named @loading@ if { var(txn.kind) -m str named }
    http-request lua.read_model model @loading@ if { var(txn.kind) -m str model }
    @unreadable@
    @unread@
    http-request set-var(txn.backend) var(txn.model),map(@models@)
    http-request use-service lua.not_found if !{ var(txn.backend) -m found }
@allowed_models@
    http-request use-service lua.show_openai if { var(txn.kind) -m str model_path }

    # What Ollama gets: the path as it is written in the list, and the headers that it needs.
    http-request set-uri %[path]
    http-request del-header ^(?!(@headers@)\\z) -m reg
    http-request set-header Host localhost
    use_backend %[var(txn.backend)]
"""

_ACCESS = """\
    # Who asks: a key as bearer token, or as the password that belongs to its name.
    http-request set-var(txn.hash) http_auth_bearer,sha2(256),hex,lower
    http-request set-var(txn.hash) http_auth_pass,sha2(256),hex,lower if { http_auth_type -i basic }
    http-request set-var(txn.key) var(txn.hash),map(@keys@) if { req.fhdr_cnt(authorization) 1 }
    @other_user@
    @no_key@
    http-request set-var(txn.restricted) var(txn.key),map(@restricted@)
    http-request set-var(txn.rate) var(txn.key),map_str_int(@rates@,0)
    http-request track-sc0 var(txn.key) table rates if { var(txn.rate) -m int gt 0 }
    http-request set-var(txn.left) sc0_gpc0_rate,neg,add(txn.rate)
    @too_often@
    http-request sc-inc-gpc0(0) if { var(txn.rate) -m int gt 0 }
    http-request set-priority-class var(txn.key),map_str_int(@priorities@,0)
"""

_RATES = """
# Requests of a key in the last minute.
backend rates
    stick-table type string len 64 size 10k expire 2m store gpc0,gpc0_rate(60s)
"""

_ALLOWED = """\
    http-request set-var-fmt(txn.use) '%[var(txn.key)]/%[var(txn.backend)]'
    @not_allowed@
"""

#: Frontends, backends and servers in the form of Prometheus (manual of HAProxy 2.6, http-request use-service), for
#: programs on the host.
_METRICS = """
frontend metrics
    bind 127.0.0.1:@metrics_port@
    no log
    http-request use-service prometheus-exporter if { method GET } { path /metrics }
    http-request return status 404
"""

#: Connections to a server that fail in succession until it is out of the rotation.
_FAILED = 3
#: How often a request may meet that many on each other server. Before it fails them, a server that is ending takes a
#: connection and closes it, for HAProxy a success (observe layer4): failures are counted anew from there.
_TIMES = 2

_BACKEND = """
# @models@
backend @name@
    balance @balance@
    @full@
    # While the only servers are drained for a switch (module gateway_drain), requests wait here.
    acl held str(@name@),map(@held@) -m found
    @crowded@
    http-request lua.hold if held { nbsrv eq 0 }
@check@    # A busy host may refuse a connection: one alone takes no server out of the rotation. The retries are enough
    # to try all other servers so often that they are out of it.
    retries @retries@
@key@    default-server @checked@tcp-ut 20s
"""

_CHECK = """\
    option httpchk
    http-check send meth GET uri @uri@ ver HTTP/1.1 hdr Host localhost@check_key@
    http-check expect rstring '@expected@'
"""
_CHECKED = "check inter %ds fastinter 1s fall 2 rise 1 " % CHECK_SECONDS
_WATCHED = "observe layer4 error-limit %d on-error mark-down " % _FAILED

#: HAProxy has one check for all servers of a backend. Where a name stands for other models on other servers, those with
#: the same model are checked in a backend of their own, which gets no requests.
_CHECKS = """
# Checks of servers of @of@
backend @name@
@check@    default-server @checked@
"""

#: Fields of the access log: (name, what HAProxy writes, whether it is text). Times of what did not happen are -1, and
#: texts are "-". The first byte comes queue_ms + connect_ms + first_byte_ms after the whole request.
_LOG = (
    ("time", "%[date,utime(%Y-%m-%dT%H:%M:%SZ)]", True),
    ("client", "%ci", True),
    ("key", "%[var(txn.key)]", True),
    ("method", "%HM", True),
    ("path", "%[var(txn.path),json(utf8s)]", True),
    ("model", "%[var(txn.model)]", True),
    ("status", "%ST", False),
    ("bytes_received", "%U", False),
    ("bytes_sent", "%B", False),
    ("queue_ms", "%Tw", False),
    ("connect_ms", "%Tc", False),
    ("first_byte_ms", "%Tr", False),
    ("duration_ms", "%Ta", False),
    ("server", "%s", True),
    ("retries", "%rc", True),
    ("ended", "%ts", True),
)


def configuration(gateway: Gateway, files: Mapping[str, str]) -> str:
    """Return the text of haproxy.cfg.

    Args:
        gateway: what it says.
        files: {what: absolute path} of the files beside it: lua, listing, calls, models, keys, rates, priorities,
            restricted, allowed and held.
    """
    limits = gateway.limits
    values = {
        **files,
        "connections": str(limits.connections),
        "bufsize": str(limits.body_bytes + HEAD_BYTES + 4096),
        "body_timeout": str(limits.body_timeout),
        "queue_timeout": str(limits.queue_timeout),
        "hold": str(max(limits.queue_timeout, HOLD_SECONDS)),
        "answer_timeout": str(limits.answer_timeout),
        "socket": "    stats socket %s mode 600 level admin\n" % gateway.socket if gateway.socket else "",
        "errors": errors(limits.queue_timeout),
        "bind": _bind(gateway),
        "log": _log_format(),
        "version": gateway.version,
        "loading": "loading" if gateway.allow_loading else "fixed",
        "headers": "|".join(PASSED_HEADERS),
        "metrics_port": str(gateway.metrics_port),
        "access": _ACCESS if gateway.keys else "",
        "allowed_models": _ALLOWED if gateway.keys else "",
        **browsers.rules(gateway),
        **refusals(gateway),
    }
    text = _filled(_GLOBAL, values)
    text += _filled(_METRICS, values) if gateway.metrics_port else ""
    text += _RATES if gateway.keys else ""
    return text + "".join(_backend(backend, gateway, files) for backend in gateway.backends)


def _filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its @words@; a value may have words itself."""
    while True:
        filled = re.sub(r"@(\w+)@", lambda found: values[found.group(1)], text)
        if filled == text:
            return filled
        text = filled


def _bind(gateway: Gateway) -> str:
    place = addresses.host_and_port(gateway.listen_address, gateway.port)
    return place + (" ssl crt %s alpn http/1.1" % gateway.certificate if gateway.certificate else "")


def _log_format() -> str:
    return "{%s}" % ",".join('"%s":%s' % (name, '"%s"' % what if text else what) for name, what, text in _LOG)


def _backend(backend: Backend, gateway: Gateway, files: Mapping[str, str]) -> str:
    """A backend. Its servers leave when they stop answering or when /api/ps does not show the model."""
    key = gateway.upstream_key
    kinds = list(dict.fromkeys(map(_loaded, backend.servers)))
    checks = ["check%d_%s" % (number, backend.name) for number in range(len(kinds))] if len(kinds) > 1 else []
    text = _filled(
        _BACKEND,
        {
            **refusals(gateway),
            "name": backend.name,
            "balance": _balance(backend),
            "held": files["held"],
            "most": str(gateway.limits.queue + sum(server.slots for server in backend.servers)),
            "models": ", ".join(backend.models),
            "check": "" if checks else _check(kinds[0], key),
            "checked": "" if checks else _CHECKED + _WATCHED,
            "key": '    http-request set-header Authorization "Bearer %s"\n' % key if key else "",
            "retries": str(_TIMES * _FAILED * max(1, len(backend.servers) - 1)),
        },
    )
    for server in backend.servers:
        track = " track %s/%s" % (checks[kinds.index(_loaded(server))], server.name) if checks else ""
        slots = " maxconn %d weight %d%s" % (server.slots, server.weight, track)
        text += _server(server, slots)
    for name, kind in zip(checks, kinds):
        values = {"of": backend.name, "name": name, "check": _check(kind, key), "checked": _CHECKED.rstrip()}
        text += _filled(_CHECKS, values)
        text += "".join(_server(server) for server in backend.servers if _loaded(server) == kind)
    return text


def _loaded(server: Server) -> tuple[tuple[str, ...], bool]:
    """What the check of a server looks for: the names of its model, and whether that has to be loaded."""
    return tuple(sorted(server.loaded_as)), server.resident


def _check(kind: tuple[tuple[str, ...], bool], key: Optional[str]) -> str:
    names, resident = kind
    return _filled(
        _CHECK,
        {
            "uri": "/api/ps" if resident else "/api/tags",
            "check_key": ' hdr Authorization "Bearer %s"' % key if key else "",
            "expected": '(?i)"name":"(%s)"' % "|".join(re.escape(name) for name in names),
        },
    )


def _balance(backend: Backend) -> str:
    """How servers are chosen. leastconn sees weights only in the number of requests under way: of two servers that have
    none it takes each in turn, whatever their weights are. roundrobin passes over a server without a free slot, too.
    """
    weights = {server.weight for server in backend.servers if server.weight}
    return "roundrobin" if len(weights) > 1 else "leastconn"


def _server(server: Server, more: str = "") -> str:
    place = addresses.host_and_port(server.address, server.port)
    text = "server %s %s%s" % (server.name, place, more)
    if server.tls:
        text += " ssl verify required ca-file %s verifyhost %s" % (server.tls.ca_file, server.tls.name)
        text += " sni str(%s) check-sni %s" % (server.tls.name, server.tls.name)
    # For module gateway_drain, which finds the servers of a host by it.
    return "    %s # %s\n" % (text, json.dumps({"host": server.host, "instance": server.instance}))
