#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The program of a host: thin, see module_utils/host/program_install.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: program_file
short_description: Install the program ollama-multigpu on a host
version_added: "1.0.0"
description:
  - Installs the program with which a host loads and checks its models without Ansible. It consists of the code of this
    collection on the controller, and is installed again if that has changed.
  - It is one file that belongs to root and is replaced by a rename. It runs with the Python interpreter that runs this
    module.
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
  path:
    description:
      - Path of the program. The units of the role start the default.
    type: path
    default: /usr/local/lib/ollama-multigpu/program/bin/ollama-multigpu
  digest:
    description:
      - The SHA-256 over the files of the program on the controller.
      - Set by the action plugin.
    type: str
  archive:
    description:
      - The zip file with the program on the host.
      - Set by the action plugin.
    type: path
"""

EXAMPLES = r"""
- name: Install the program of the host
  gpufleet.ollama.program_file:
  become: true
"""

RETURN = r"""
path:
  description: Path of the program.
  type: str
  returned: always
  sample: /usr/local/lib/ollama-multigpu/program/bin/ollama-multigpu
needed:
  description: Whether this task installs the program, because the host has none or another one.
  type: bool
  returned: success
  sample: true
interpreter:
  description: The Python interpreter that runs the program.
  type: str
  returned: success
  sample: /usr/bin/python3
"""

import sys

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import program_install
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": paths.PROGRAM},
            "digest": {"type": "str"},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    path, digest = options["path"], options["digest"]
    if digest is None:
        module.fail_json(msg="digest is missing: the action plugin of this module sets it, so call it in a task.")
    before = program_install.installed(path)
    needed = before["digest"] != digest
    if needed and options["archive"] and not module.check_mode:
        try:
            program_install.install(options["archive"], sys.executable, set_context(module), path)
        except program_install.ProgramRefused as refused:
            module.fail_json(msg=str(refused))
        except (FilesError, OSError) as error:
            module.fail_json(msg="The program could not be installed: %s." % error)
    module.exit_json(
        changed=needed,
        path=path,
        needed=needed,
        interpreter=sys.executable if needed else before["interpreter"],
        diff={"before": shown(path, before["digest"]), "after": shown(path, digest)},
    )


def set_context(module):
    """Return a function that gives a path its default SELinux context."""
    return lambda place: module.set_default_selinux_context(place, False)


def shown(path, digest):
    """Return the program as a difference shows it."""
    return {"path": path, "program": "sha256:%s" % digest if digest else None}


if __name__ == "__main__":
    main()
