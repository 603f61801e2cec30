# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What changes on which hosts and why, as Markdown for the comment on a pull request. Pure.

It is short: hosts that stay as they are share a line, and hosts with the same changes a section.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import counted, gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.downtimes import AT_A_SWITCH
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.markdown import cell, code, escaped
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_record import (
    DIFFERS,
    REFUSED,
    SAME,
    UNPLANNED,
)

#: A comment on GitHub has at most 65536 characters.
LONGEST = 60000
_LEFT_OUT = "%d parts of this summary are left out, because it is too long for a comment.\n"
_ROOM = LONGEST - len(_LEFT_OUT % 10**9)
_MOST_ROWS, _MOST_NAMES, _MOST_TEXTS, _MOST_INSTANCES = 50, 20, 12, 8
_LONGEST_TEXT = 400
_HEAD = ("host", "GPUs", "changes", "to fetch", "gives no answer")
_NO_PLAN = "No plan was made. The output of the run says why."


def plan_summary(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the summary.

    Args:
        records: the short data of each host (plan_record.short_record).
    """
    hosts = sorted(records, key=lambda one: str(one["host"]))
    changing = [one for one in hosts if one["state"] == DIFFERS]
    same = [one["host"] for one in hosts if one["state"] == SAME]
    parts = [
        ["## Plan for Ollama on %s" % counted(len(hosts), "host"), "", _overview(hosts), ""],
        _table(changing) if changing else [],
        *map(_stuck, [one for one in hosts if one["state"] in (REFUSED, UNPLANNED)]),
        ["**Nothing changes on** %s." % _names(same), ""] if same else [],
        *map(_section, _alike(changing)),
    ]
    return _bounded([part for part in parts if part])


def _overview(hosts: Sequence[Mapping[str, Any]]) -> str:
    counts = {state: sum(1 for one in hosts if one["state"] == state) for state in (DIFFERS, SAME, REFUSED, UNPLANNED)}
    said = ["%d of %d change" % (counts[DIFFERS], len(hosts))]
    said += ["%d cannot be applied" % counts[REFUSED]] if counts[REFUSED] else []
    said += ["%d without a plan" % counts[UNPLANNED]] if counts[UNPLANNED] else []
    size = sum((one.get("to_fetch") or {}).get("size_bytes") or 0 for one in hosts if one["state"] == DIFFERS)
    said += ["%s of models are fetched" % gib(size)] if size else []
    return "%s." % ", ".join(said)


def _table(hosts: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [_HEAD, ["---"] * len(_HEAD), *map(_row, hosts[:_MOST_ROWS])]
    lines = ["| %s |" % " | ".join(row) for row in rows]
    left = len(hosts) - _MOST_ROWS
    return [*lines, "", *(["And %d more hosts." % left, ""] if left > 0 else [])]


def _row(host: Mapping[str, Any]) -> list[str]:
    cells = [code(host["host"]), _gpus(host), str(host["change_count"]), _fetched(host), _down_in_short(host)]
    return [cell(text) for text in cells]


def _gpus(host: Mapping[str, Any]) -> str:
    counts: dict[str, int] = {}
    for name in host["gpus"]:
        counts[name] = counts.get(name, 0) + 1
    return ", ".join("%d × %s" % (count, code(name)) for name, count in sorted(counts.items())) or "none"


def _fetched(host: Mapping[str, Any]) -> str:
    fetched = host["to_fetch"]
    said = [escaped("Ollama %s" % fetched["release"])] if fetched["release"] else []
    if fetched["models"]:
        unknown = any(model["size_bytes"] is None for model in fetched["models"])
        said.append("%s%s of models" % ("at least " if unknown else "", gib(fetched["size_bytes"])))
    return " and ".join(said) or "nothing"


def _down_in_short(host: Mapping[str, Any]) -> str:
    downtimes = host["downtimes"]
    if len(downtimes) > _MOST_INSTANCES:
        return "%d instances" % len(downtimes)
    return ", ".join("%s %s" % (code(one["name"]), _length(one)) for one in downtimes) or "none"


def _length(one: Mapping[str, Any]) -> str:
    if not one["comes_back"]:
        return "stops"
    return "for an unknown time" if one["seconds"] is None else "about %s" % _seconds(one["seconds"])


def _seconds(seconds: float) -> str:
    return "%d s" % max(1, round(seconds)) if seconds < 120 else "%d min" % round(seconds / 60)


def _stuck(host: Mapping[str, Any]) -> list[str]:
    title = "**The plan of** %s **cannot be applied:**" if host["state"] == REFUSED else "**No plan for** %s:"
    return [title % code(host["host"]), "", *_listed(host["obstacles"] or [_NO_PLAN]), ""]


def _alike(hosts: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for host in hosts:
        groups.setdefault("\n".join(_body(host)), []).append(host)
    return list(groups.values())


def _section(hosts: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["### %s" % _names([host["host"] for host in hosts]), "", *_body(hosts[0])]


def _body(host: Mapping[str, Any]) -> list[str]:
    lines = []
    for title, texts in (
        ("New plan" if host["is_first"] else "Differs from the plan in force", _listed(host["differences"])),
        ("Changes", _listed(host["done"])),
        ("Risks", _risks(host)),
    ):
        if texts:
            lines += ["**%s**" % title, "", *texts, ""]
    return lines


def _risks(host: Mapping[str, Any]) -> list[str]:
    return ["- %s" % text for text in map(_down, host["downtimes"])] + _listed(host["warnings"])


def _down(one: Mapping[str, Any]) -> str:
    name = code(one["name"])
    if not one["comes_back"]:
        text = "%s stops and does not come back." % name
    elif one["seconds"] is None:
        text = "%s gives no answer while it is switched. How long is not known, because it was not measured yet." % name
    else:
        basis = "its last switch took" if one["measured_at"] == AT_A_SWITCH else "loading its models took"
        text = "%s gives no answer for about %s, as long as %s." % (name, _seconds(one["seconds"]), basis)
    if one["unserved"]:
        text += " Nothing else on the host serves %s meanwhile." % _names(one["unserved"])
    elif one["comes_back"] and one["is_replaced"]:
        text += " Other instances serve its models meanwhile."
    return text


def _listed(texts: Sequence[Any]) -> list[str]:
    lines = ["- %s" % escaped(_cut(str(text))) for text in texts[:_MOST_TEXTS]]
    left = len(texts) - _MOST_TEXTS
    return [*lines, *(["- and %d more" % left] if left > 0 else [])]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(code(_cut(name)) for name in names[:_MOST_NAMES])
    left = len(names) - _MOST_NAMES
    return "%s and %d more" % (shown, left) if left > 0 else shown


def _bounded(parts: Sequence[list[str]]) -> str:
    """The text of as many parts as a comment takes."""
    text, left_out = "", 0
    for part in parts:
        more = "\n".join([*part, ""])
        if len(text) + len(more) <= _ROOM:
            text += more
        else:
            left_out += 1
    return text.rstrip("\n") + "\n" + ("\n" + _LEFT_OUT % left_out if left_out else "")
