#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Read what is installed on a host to run Ollama
version_added: "1.0.0"
description:
  - Reads everything that the role ollama_multigpu needs to decide - the installed releases, the applied plan,
    the instances, drop-ins that change their units, an Ollama that was installed by other means, and which process
    listens on which port.
  - It starts no service, needs no library and changes nothing.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  models_dir:
    description:
      - Directory that contains the stores of the instances.
    type: path
    default: /var/lib/ollama-multigpu
  address:
    description:
      - IP address that the services will listen on. RV(host.address_available) says whether the host has it.
    type: str
  allow_from:
    description:
      - IP addresses and networks that may connect to the services. Of the rules of others in ufw,
        RV(host.firewall) has only those for these.
    type: list
    elements: str
    default: []
  metrics_directory:
    description:
      - Directory in which the checks of the host will write metrics. It is described in RV(host.files).
    type: path
    default: ""
  secrets:
    description:
      - Whether to return RV(secrets) too. Use O(ignore:no_log) with it.
    type: bool
    default: false
  kept_plan:
    description:
      - Number of a plan in RV(host.history) to return as RV(kept_plan).
    type: int
"""

EXAMPLES = r"""
- name: Read what is on the host
  gpufleet.ollama.host_info:
  become: true
  register: result

- name: Show the version that is in use
  ansible.builtin.debug:
    msg: "{{ result.host.release.current }}"
"""

RETURN = r"""
secrets:
  description:
    - The variables in RV(host.secret_variables) with their values. With O(kept_plan), the variables that this plan
      hides, as the environment files that are kept with it have them.
  type: dict
  returned: when O(secrets) is true
kept_plan:
  description: The plan with the number O(kept_plan). V((hidden\)) stands for the values of secret variables.
  type: dict
  returned: when O(kept_plan) is given
host:
  description:
    - What is on the host. In the environments in it, V((hidden\)) stands for the values of secret variables, which are
      those whose name says so, those with a password in an address, and those that the collection does not know.
  type: dict
  returned: always
  contains:
    architecture:
      description: The machine's architecture as C(uname -m) prints it.
      type: str
    systemd:
      description: Whether systemd runs the host.
      type: bool
    zstd:
      description: Whether the program zstd is installed. It is needed to unpack releases.
      type: bool
    groups:
      description: Which of the groups render, video and ollama exist.
      type: list
      elements: str
    installed:
      description: Whether the collection's installation directory exists.
      type: bool
    release:
      description:
        - C(current) (the version in use, or null), C(complete) (the checksums by version), C(sizes) (bytes by version)
          and C(leftovers) (directories of interrupted installations).
      type: dict
    command:
      description: What C(/usr/local/bin/ollama) is - V(absent), V(ours) or V(foreign).
      type: str
    applied_plan:
      description: The plan that was applied last. Empty if there is none.
      type: dict
    history:
      description:
        - The plans that were in force, the last one at the end, as C(plans). C(leftovers) are paths of plans that are
          not complete, because a run was killed.
        - Each plan has C(number), C(order) (its place among them, the last has the highest), C(release), C(checksum)
          (of the archive of the release), C(time), C(verdict) and C(tokens_per_second) (by instance and model) of its
          proof, C(load_seconds) (of the last loads, by instance and model), C(seconds_without_answer) (of the switch,
          by instance), C(rolled_back_from) (number of the plan that was given up for it, or null) and C(files) (the
          SHA-256 of the copies of its plan, its unit and its environment files, by the path of the file in force).
      type: dict
    last_check:
      description:
        - What the last check on the host itself has found, with C(verdict) and C(time). Null if there was none.
      type: dict
    made:
      description: Directories outside its own that the role has made. Its entry point C(remove) removes the empty ones.
      type: list
      elements: str
    models_dir:
      description:
        - What is at O(models_dir), with C(path) (where it leads, without links), C(homes) (where C(/home), C(/root)
          and C(/run/user) lead, without links), C(entries) (names of what is in it beside the stores of the instances,
          at most 20), C(free_bytes) (of its file system), C(parent) (of the stores of the instances), C(stores) (the
          paths of those that are there), C(fetch_store) (the path of the store of the server that models are fetched
          with) and C(closed) (the first directory above it that the service user cannot enter, or null).
      type: dict
    left_behind:
      description:
        - Stores of the applied plan that are not in O(models_dir), with C(path), C(size_bytes), C(stores) and
          C(same_file_system). Null if there are none.
      type: dict
    adopted:
      description: What was recorded about an Ollama that was adopted. Empty if none was adopted.
      type: dict
    existing:
      description:
        - An Ollama that was installed by other means, adopted or not, with C(unit), C(path), C(drop_ins), C(active),
          C(enabled), C(environment) and C(store). Null if there is none.
      type: dict
    fetch_server:
      description: Whether the server runs that models are fetched with. It runs only while they are.
      type: bool
    instances:
      description:
        - Every instance with a unit, an environment file, a link to a release or a store. Each entry has C(name),
          C(active), C(enabled), C(env_file), C(release) (the version that its link names, null without one), C(store)
          (whether there is a directory of the service user in a place of root's) and C(plan) (what the instance is
          configured with; another one than RV(host.applied_plan) after a run that did not come to its end).
      type: list
      elements: dict
    stores:
      description:
        - The stores that may hold models, by path - those of the instances, that of the server that models are fetched
          with, those in RV(host.left_behind), and that of an Ollama that was installed by other means. No server is
          asked.
        - Each has C(same_file_system) (whether it is on the file system of O(models_dir)), C(owned) (whether all its
          blobs belong to the service user) and C(models), a list of the complete models with C(name), C(digest) and
          C(size_bytes). Models can be linked from a store where both are true, otherwise they are copied.
        - C(models) is null if what the store holds cannot be known.
        - C(problems) says what in the store of an instance is refused (links and special files among blobs and
          manifests, other owners anywhere), and C(notes) what in another store cannot be used.
        - C(begun_bytes) is what no model uses takes on the disk, such as downloads that are not complete.
        - C(leftovers) lists what no model in the store of an instance uses and is older than an hour, with C(name) and
          C(size_bytes).
      type: dict
    check_timer:
      description: The timer of the checks between runs, with C(active) and C(enabled).
      type: dict
    metrics_directory:
      description: Directory in which the checks of the host write metrics. Empty if they write none.
      type: str
    firewall:
      description:
        - What the firewall of the host says, with C(program) (that of nftables, null if there is none), C(loaded) (what
          names the rules of the collection in the kernel, empty if they were changed, null if there are none),
          C(active) and C(enabled) (of the unit that loads them), C(places) and C(problem) (why not all places are
          known, or null).
        - C(places) are those of ufw and firewalld in which the ports of the instances are opened, with C(manager),
          C(zone) (empty for ufw), C(lasting) (whether it is what a reboot brings), C(active) (whether the manager is in
          force), C(opens) (the versions of IP that are opened there), C(own) (the openings of
          M(gpufleet.ollama.firewall_openings), with C(network) and C(ports)), C(held) (rules of others for networks in
          O(allow_from)), C(shut) (the versions of IP for which all clients are refused), C(kept) (openings of the
          module that cannot be taken away now) and C(why_kept).
      type: dict
    drop_ins:
      description: Drop-ins that change the units of the instances, with C(path) and C(unit). The collection writes
        none.
      type: list
      elements: dict
    files:
      description:
        - The files, directories and links that the role manages, by path. Each has C(kind) (V(absent), V(file),
          V(directory), V(link) or V(other)), C(owner), C(group), C(mode), C(digest) (the SHA-256 of a file), C(target)
          (of a link) and C(problem).
        - C(problem) is the reason why nothing is done at the path as root, such as a parent directory of another user.
          The file itself is then not read. Null if there is none.
        - Behind a link of root to a directory, that directory is described. The stores of the instances and their
          parent may not be links.
      type: dict
    file_systems:
      description:
        - The file systems of the releases and of O(models_dir), with C(path), C(device) (a number that is the same for
          paths on one file system) and C(free_bytes).
      type: list
      elements: dict
    user:
      description: The user of the services, with C(group), C(groups), C(home) and C(shell). Null if there is none.
      type: dict
    libraries:
      description:
        - The Python libraries of the modules by name - C(own) (whether the host's Python has the library itself) and
          C(digest) (of the copy that M(gpufleet.ollama.libraries) installed; null where there is none).
      type: dict
    program:
      description:
        - The program that M(gpufleet.ollama.program_file) installed - C(digest) (over its files; null if there is none
          or if it cannot run) and C(interpreter).
      type: dict
    secret_variables:
      description: Names of the secret variables of the Ollama that was adopted, or could be.
      type: list
      elements: str
    listeners:
      description: Listening TCP sockets, with C(address), C(port), C(pid), C(process) and C(unit).
      type: list
      elements: dict
    address_available:
      description: Whether a process of the host can listen on O(address). Null if O(address) is not given.
      type: bool
    default_address:
      description:
        - The address by which the host reaches others, on the way of its default route, of IPv4 before IPv6. Null
          without such a route.
      type: str
  sample:
    architecture: x86_64
    systemd: true
    zstd: true
    groups: [render, video]
    installed: false
    release: {current: null, complete: {}, sizes: {}, leftovers: []}
    command: absent
    applied_plan: {}
    history: {plans: [], leftovers: []}
    made: []
    models_dir:
      path: /var/lib/ollama-multigpu
      homes: [/home, /root, /run/user]
      entries: []
      free_bytes: 1900000000000
      parent: /var/lib/ollama-multigpu/instances
      stores: []
      fetch_store: /var/lib/ollama-multigpu/fetch
      closed: null
    left_behind: null
    adopted: {}
    existing: null
    fetch_server: false
    instances: []
    stores:
      /var/lib/ollama-multigpu/instances/gpu0:
        {same_file_system: true, owned: true, models: [], problems: [], notes: []}
    check_timer: {active: false, enabled: false}
    metrics_directory: ""
    firewall: {program: /usr/sbin/nft, loaded: null, active: false, enabled: false, places: [], problem: null}
    drop_ins: []
    files:
      /usr/local/bin/ollama:
        {kind: absent, owner: null, group: null, mode: null, digest: null, target: null, problem: null}
    file_systems: [{path: /var/lib/ollama-multigpu, device: 66306, free_bytes: 1900000000000}]
    user: null
    libraries: {requests: {own: false, digest: null}, nvidia-ml-py: {own: false, digest: null}}
    program: {digest: null, interpreter: null}
    secret_variables: []
    listeners: [{address: 127.0.0.1, port: 11434, pid: 812, process: ollama, unit: ollama.service}]
    address_available: true
    default_address: 192.0.2.7
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import networks, paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import shown_plan, take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import history
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.state import (
    host_state,
    model_stores,
    secret_variables,
    shown_state,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.listing import list_stores


def main():
    module = AnsibleModule(
        argument_spec={
            "models_dir": {"type": "path", "default": paths.DEFAULT_MODELS_DIR},
            "address": {"type": "str"},
            "allow_from": {"type": "list", "elements": "str", "default": []},
            "metrics_directory": {"type": "path", "default": ""},
            "secrets": {"type": "bool", "default": False, "no_log": False},
            "kept_plan": {"type": "int"},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    models_dir = options["models_dir"]
    try:
        allowed = networks.canonical(networks.usable(options["allow_from"]))
        state = host_state(
            models_dir, options["address"], metrics_directory=options["metrics_directory"], allowed=allowed
        )
        state["stores"] = list_stores(model_stores(state, models_dir), models_dir)
    except OSError as error:
        module.fail_json(msg="The state of the host could not be read (%s): run the task with become." % error)
    try:
        more = kept(options["kept_plan"], options["secrets"])
    except FilesError as error:
        module.fail_json(msg="%s." % error)
    asked = {"secrets": secret_variables(state)} if options["secrets"] else {}
    module.exit_json(host=shown_state(state), **dict(asked, **more))


def kept(number, with_secrets):
    """Return what is asked for of the kept plan with a number; {} where it is None."""
    if number is None:
        return {}
    plan = history.kept_plan(number)
    return {"kept_plan": shown_plan(plan), **({"secrets": history.kept_secrets(plan, number)} if with_secrets else {})}


if __name__ == "__main__":
    main()
