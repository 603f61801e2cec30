# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts that a host must not have.

Whatever module runs on a host, its answer may hold facts, and Ansible puts facts above the inventory (vars/manager.py
of ansible-core): a host could choose the registry that the controller asks, or the name under which its evidence is
written. Such a host is refused, with the name of the fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from ansible import constants as C
from ansible.errors import AnsibleActionFail

#: Beginnings of the names of the role's variables and of the results that its tasks register.
PREFIXES = ("ollama_multigpu_", "__ollama_multigpu_")
#: Names to which Ansible and its templates give a meaning.
MAGIC = C.INTERNAL_STATIC_VARS | {"lookup", "omit", "q", "query", "vars"}
_PREFIX = "ansible_"


def host_name(task_vars: Optional[Mapping[str, Any]]) -> str:
    """Return the name of a task's host in the inventory; after refuse_foreign_names, no fact has set it."""
    return str((task_vars or {}).get("inventory_hostname") or "the host")


def refuse_foreign_names(task_vars: Optional[Mapping[str, Any]], plugins: Iterable[Any] = ()) -> None:
    """Refuse a host that has a fact with the name of a variable that only the play and the inventory may set.

    Args:
        task_vars: Variables of the task.
        plugins: The plugins that run commands on the host. Their options are variables, too.

    Raises:
        AnsibleActionFail: There is such a fact.
    """
    variables = task_vars or {}
    name = foreign_name(variables, _options(plugins))
    if name is None:
        return
    host = "The host" if "inventory_hostname" in variables["ansible_facts"] else host_name(variables)
    raise AnsibleActionFail(
        "%s has the fact %s. Facts outrank the inventory, so a host must not set this variable: find out which module "
        "or cache the fact comes from, clear it, and set the variable in the inventory (not with set_fact and "
        "cacheable)." % (host, name)
    )


def foreign_name(variables: Mapping[str, Any], options: Iterable[str] = ()) -> Optional[str]:
    """Return the name of the first fact that a host must not have, None where there is none.

    Args:
        variables: Variables of a task.
        options: Names of variables that are options of the plugins that run commands on the host.
    """
    facts = variables.get("ansible_facts")
    if not isinstance(facts, Mapping):
        return None
    connecting = MAGIC.union(options, C.COMMON_CONNECTION_VARS, *C.MAGIC_VARIABLE_MAPPING.values())
    injected = C.config.get_config_value("INJECT_FACTS_AS_VARS")
    for name in sorted(facts):
        if name.startswith(PREFIXES) or name in MAGIC:
            return name
        # Ansible takes the prefix ansible_ away in ansible_facts. Where facts become variables, one that came without
        # the prefix is a variable by its own name, and harmless.
        whole = _PREFIX + name
        if (whole in connecting or _decides(name)) and injected and name not in variables:
            return whole
    return None


def _decides(name: str) -> bool:
    """Return whether ansible_<name> says how commands run on a host; vars/clean.py of ansible-core has the rule."""
    return name == "become" or name.startswith("become_") or name.endswith("_interpreter")


def _options(plugins: Iterable[Any]) -> set[str]:
    """Return the names of the variables that are options of plugins."""
    names: set[str] = set()
    for plugin in plugins:
        if getattr(plugin, "_load_name", None):
            names.update(C.config.get_plugin_vars(plugin.plugin_type, plugin._load_name))
    return names
