#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: libraries
short_description: Install the Python libraries of the other modules on a host
version_added: "1.0.0"
description:
  - The modules of this collection need the Python libraries C(requests) and C(nvidia-ml-py) on the host. If they are
    missing, each task transfers the controller's copies. This module installs the same copies in a directory of the
    collection, so that later tasks transfer nothing.
  - A library that the host's Python interpreter already has is used as it is. The interpreter itself is not changed.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  state:
    description:
      - V(present) installs the libraries that the host does not have. V(absent) removes the directory.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - Directory of the copies. The other modules only search the default, so use another one for tests only.
    type: path
    default: /usr/local/lib/ollama-multigpu/python
  names:
    description:
      - The libraries to install.
    type: list
    elements: str
    choices: [requests, nvidia-ml-py]
    default: [requests, nvidia-ml-py]
  copies:
    description:
      - The copies that the controller has, by library, each with C(version) and C(digest).
      - Set by the action plugin.
    type: dict
    default: {}
  archive:
    description:
      - The zip file with the copies on the host.
      - Set by the action plugin.
    type: path
"""

EXAMPLES = r"""
- name: Install the libraries of the modules
  gpufleet.ollama.libraries:
  become: true

- name: Remove them again
  gpufleet.ollama.libraries:
    state: absent
  become: true
"""

RETURN = r"""
found:
  description: The file that each library was imported from before this task. Null if the library was missing.
  type: dict
  returned: when O(state=present)
  sample: {"requests": null, "nvidia-ml-py": "/usr/lib/python3/dist-packages/pynvml.py"}
needed:
  description: The libraries that this task installs, because the host has none or another copy.
  type: list
  elements: str
  returned: when O(state=present)
  sample: ["requests"]
directory:
  description: The directory of the copies.
  type: str
  returned: always
  sample: /usr/local/lib/ollama-multigpu/python
python_version:
  description: The version of the host's Python.
  type: str
  returned: always
  sample: 3.11.2
"""

import platform
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import library_directory
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import (
    NVML,
    PERMANENT_DIRECTORY,
    REQUESTS,
    LibraryMissing,
    extra_directories,
    import_pynvml,
    import_requests,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options

IMPORTS = {REQUESTS: import_requests, NVML: import_pynvml}


def place_of(name: str, directories: list[str]) -> str | None:
    """Return the file that library `name` is imported from, looking in `directories` too, or None."""
    try:
        return IMPORTS[name](directories).__file__
    except LibraryMissing:
        return None


def present(module: AnsibleModule, options: dict[str, Any]) -> dict[str, Any]:
    """Install what the host's own interpreter does not have; return the module's result."""
    path, names, copies = options["path"], options["names"], options["copies"]
    own = {name: place_of(name, []) for name in names}
    found = {name: own[name] or place_of(name, extra_directories()) for name in names}
    before = {name: library_directory.digest(path, name) for name in names}
    needed = [
        name for name in names if own[name] is None and name in copies and before[name] != copies[name].get("digest")
    ]
    # A library that neither the host nor the controller has: the action plugin knows the controller's reason.
    needed += [name for name in names if found[name] is None and name not in copies]
    after = dict(before)
    for name in needed:
        after[name] = (copies.get(name) or {}).get("digest")
    if needed and not module.check_mode and options["archive"]:
        library_directory.unpack(options["archive"], path, needed)
    return {
        "changed": bool(needed),
        "found": found,
        "needed": needed,
        "diff": {"before": _shown(path, before), "after": _shown(path, after)},
    }


def absent(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Remove the directory; return the module's result."""
    there = library_directory.exists(path)
    if there and not module.check_mode:
        library_directory.remove(path)
    return {
        "changed": there,
        "diff": {
            "before": {"path": path, "state": "present" if there else "absent"},
            "after": {"path": path, "state": "absent"},
        },
    }


def _shown(path: str, digests: dict[str, str | None]) -> dict[str, Any]:
    return {
        "path": path,
        "libraries": {name: "sha256:%s" % digest if digest else None for name, digest in sorted(digests.items())},
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path", "default": PERMANENT_DIRECTORY},
            "names": {"type": "list", "elements": "str", "choices": [REQUESTS, NVML], "default": [REQUESTS, NVML]},
            "copies": {"type": "dict", "default": {}},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    path = options["path"]
    try:
        if options["state"] == "present":
            result = present(module, options)
        else:
            result = absent(module, path)
    except OSError as error:
        module.fail_json(
            msg="The libraries could not be written to %s: %s. Run the task with become, or free some space."
            % (path, error)
        )
    module.exit_json(directory=path, python_version=platform.python_version(), **result)


if __name__ == "__main__":
    main()
