#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Directories, files and links of the instances of a host: thin, see module_utils/host/files.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_files
short_description: Manage the directories, files and links of Ollama instances
version_added: "1.0.0"
description:
  - Creates, changes and removes directories, files and links in one execution, and returns a result for each entry.
  - The entries are processed in the order of the list. After a failure the rest of the list is skipped.
  - Files and links are put in place by a rename, with owner and permissions already set.
  - A link is replaced and not followed. The exception is a directory, which may be a link that belongs to root or to
    the user of the task.
  - Nothing that exists is given to another owner or group. A file or link is replaced by a new one, and a directory of
    another owner or group is refused.
  - Nothing is done at a path if one of its parent directories belongs to another user than root and the user of the
    task, or may be written by every user. A directory with the sticky bit is accepted.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.files
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.attributes.idempotent
attributes:
  check_mode:
    support: full
    details:
      - An owner or group that the host does not have, and a directory that does not exist, are no errors in check mode,
        because an earlier task would have created them.
  diff_mode:
    support: full
seealso:
  - module: ansible.builtin.file
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Put the files of an instance in place
  gpufleet.ollama.instance_files:
    files:
      - path: /etc/ollama-multigpu/instances
        state: directory
        owner: root
        group: root
        mode: "0755"
      - path: /etc/ollama-multigpu/instances/gpu0.env
        content: |
          OLLAMA_HOST=127.0.0.1:11434
        owner: root
        group: ollama
        mode: "0640"
      - path: /usr/local/bin/ollama
        state: link
        target: /usr/local/lib/ollama-multigpu/current/bin/ollama
      - path: /etc/systemd/system/ollama@.service.d/override.conf
        state: absent
        backup: true
        diff: true
  become: true
"""

RETURN = r"""
files:
  description:
    - The result of each entry, in the order of O(files).
    - After a failure, the entries that were processed before it.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The path.
      type: str
      sample: /etc/ollama-multigpu/instances/gpu0.env
    changed:
      description: Whether something was changed, or would be changed in check mode.
      type: bool
    action:
      description:
        - What was done, or would be done in check mode.
        - V(change) replaces the content of a file or the target of a link. V(attributes) sets only owner, group or
          permissions.
      type: str
      choices: [none, create, change, attributes, remove]
      sample: create
    backup_file:
      description: Path of the copy of the file that was replaced or removed. Null if there is none.
      type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.file_options import (
    diffs_of,
    file_options,
    file_result,
    read_files,
    without_contents,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import Files
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError


def argument_spec() -> dict[str, Any]:
    """Return the options. The list is kept out of the log; main() decides what the result contains."""
    return dict(files=dict(type="list", elements="dict", required=True, options=file_options(), no_log=True))


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    entries = take_options(module)["files"]
    invocation = dict(module_args=dict(files=without_contents(entries)))
    files = Files(module.check_mode, module.backup_local, lambda path: module.set_default_selinux_context(path, False))
    done, failure = [], None
    try:
        for wanted in read_files(entries):
            done.append(files.put(wanted))
    except FilesError as error:
        failure = str(error)
    result = dict(
        changed=any(outcome.changed for outcome in done), files=list(map(file_result, done)), invocation=invocation
    )
    if module._diff:
        result["diff"] = diffs_of(done, details=module._verbosity > 0)
    if failure:
        module.fail_json(msg="%s." % failure.rstrip("."), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
