# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The order in which changes are made, and the stage of a run that makes each. Pure."""

from __future__ import annotations

from .schema import Change

INSTALL, FETCH, SWITCH, FINISH, HISTORY, PRUNE = "install", "fetch", "switch", "finish", "history", "prune"
#: A stage of files only: they are written when "switch" begins, before the first instance is changed.
GUARD = "guard"

#: (kind, object) -> stage, in the order in which they are made.
ORDER = {
    ("fetch", "release"): INSTALL,
    ("write", "library"): INSTALL,
    ("write", "program"): INSTALL,
    # Changes that can be prepared while the former instances serve.
    ("stop", "fetch server"): FETCH,
    ("create", "group"): FETCH,
    ("create", "user"): FETCH,
    ("change", "user"): FETCH,
    ("write", "record"): FETCH,
    ("write", "directory"): FETCH,
    ("disable", "timer"): FETCH,
    ("fetch", "model"): FETCH,
    ("copy", "model"): FETCH,
    ("create", "model"): FETCH,
    # The firewall rules, before an instance listens on a network.
    ("write", "firewall"): SWITCH,
    ("load", "firewall"): SWITCH,
    # After the rules that keep everybody else out.
    ("open", "firewall"): SWITCH,
    ("close", "firewall"): SWITCH,
    # The state of an adopted Ollama is recorded before it is changed, so that it can always be restored.
    ("carry_over", "environment"): SWITCH,
    ("adopt", "service"): SWITCH,
    ("stop", "instance"): SWITCH,
    ("remove", "file"): SWITCH,
    ("link", "release"): SWITCH,
    ("write", "file"): SWITCH,
    ("enable", "instance"): SWITCH,
    ("start", "instance"): SWITCH,
    ("restart", "instance"): SWITCH,
    # From the store of the fetch server, or from another store on the host.
    ("link", "model"): SWITCH,
    ("alias", "model"): SWITCH,
    ("unload", "model"): SWITCH,
    ("load", "model"): SWITCH,
    ("narrow", "firewall"): FINISH,
    ("remove", "firewall"): FINISH,
    ("adopt", "command"): FINISH,
    ("link", "command"): FINISH,
    # Late, so that the plan on the host is always one that was applied completely.
    ("write", "plan"): FINISH,
    ("remove", "record"): FINISH,
    ("enable", "timer"): FINISH,
    # Only after everything is verified.
    ("write", "history"): HISTORY,
    ("delete", "model"): PRUNE,
    ("prune", "release"): PRUNE,
    ("prune", "store"): PRUNE,
    ("prune", "leftovers"): PRUNE,
    ("prune", "history"): PRUNE,
}
_PLACES = {pair: place for place, pair in enumerate(ORDER)}


def stage(change: Change) -> str:
    """Return the stage of a run that makes a change: install, fetch, switch, finish, history or prune."""
    return ORDER[change.kind, change.object]


def ordered(changes: list[Change]) -> tuple[Change, ...]:
    """Return changes in the order in which they are made; changes of the same kind and object keep their order."""
    return tuple(sorted(changes, key=lambda change: _PLACES[change.kind, change.object]))
