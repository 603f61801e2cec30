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
options:
  files:
    description:
      - The directories, files and links, in the order in which they are processed.
      - The list is not logged on the host, because the content of a file may contain credentials.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - Absolute path.
        type: path
        required: true
      state:
        description:
          - V(directory) creates the directory. Missing parents belong to the user of the task and get the mode V(0755).
          - V(file) writes O(files[].content).
          - V(link) creates a symbolic link to O(files[].target).
          - V(absent) removes what is there. A directory is removed with its content, and links in it are not followed.
            What belongs to the service user C(ollama) is removed as that user. A directory of another user is refused.
        type: str
        choices: [directory, file, link, absent]
        default: file
      content:
        description:
          - Content of the file.
        type: str
        default: ""
      target:
        description:
          - What the link points to. It does not have to exist.
          - Required for O(files[].state=link).
        type: str
      owner:
        description:
          - Name or number of the owner. By default a new file belongs to the user of the task, and one that replaces
            another to its owner.
        type: str
      group:
        description:
          - Name or number of the group, like O(files[].owner).
        type: str
      mode:
        description:
          - Permissions of a directory or file as octal digits in quotes, such as V('0644').
          - By default the permissions are not changed.
        type: raw
      backup:
        description:
          - Whether to keep a copy of a file that is replaced or removed, in the same directory and with a timestamp in
            its name.
        type: bool
        default: false
      diff:
        description:
          - Whether diff mode shows the content of the file.
          - The default is V(true) for O(files[].state=file) and V(false) for O(files[].state=absent).
        type: bool
      force:
        description:
          - Whether a link may replace a regular file.
        type: bool
        default: false
      only_empty:
        description:
          - Whether O(files[].state=absent) removes only an empty directory. What is something else, is the root of a
            file system or belongs to a directory of another user is left, which is no error.
        type: bool
        default: false
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
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import FileOutcome, Files, WantedFile
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError, Ownership, parse_mode


def argument_spec() -> dict[str, Any]:
    """Return the options. The list is kept out of the log; main() decides what the result contains."""
    entry = dict(
        path=dict(type="path", required=True),
        state=dict(type="str", choices=["directory", "file", "link", "absent"], default="file"),
        content=dict(type="str", default=""),
        target=dict(type="str"),
        owner=dict(type="str"),
        group=dict(type="str"),
        mode=dict(type="raw"),
        backup=dict(type="bool", default=False),
        diff=dict(type="bool"),
        force=dict(type="bool", default=False),
        only_empty=dict(type="bool", default=False),
    )
    return dict(files=dict(type="list", elements="dict", required=True, options=entry, no_log=True))


def read_files(entries: list[dict[str, Any]]) -> list[WantedFile]:
    """Return the wanted files of checked options.

    Raises:
        FilesError: An entry is wrong; nothing was changed.
    """
    wanted = []
    for entry in entries:
        state = entry["state"]
        if state == "link" and not entry["target"]:
            raise FilesError("%s: a link needs target, the path that it points to" % entry["path"])
        wanted.append(
            WantedFile(
                path=entry["path"],
                state=state,
                content=entry["content"].encode("utf-8", "surrogateescape"),
                target=entry["target"] or "",
                ownership=Ownership(entry["owner"] or None, entry["group"] or None, parse_mode(entry["mode"])),
                backup=entry["backup"],
                show_content=entry["diff"] if entry["diff"] is not None else state == "file",
                force=entry["force"],
                only_empty=entry["only_empty"],
            )
        )
    return wanted


def diffs_of(outcome: FileOutcome) -> list[dict[str, Any]]:
    """Return the differences at one path, in Ansible's form."""
    return [
        dict(before=before, after=after, before_header=outcome.path, after_header=outcome.path)
        for before, after in outcome.differences
    ]


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    entries = take_options(module)["files"]
    # The rest of the list can be shown; each entry decides what its difference shows.
    invocation = dict(module_args=dict(files=[dict(entry, content=None) for entry in entries]))
    files = Files(module.check_mode, module.backup_local, lambda path: module.set_default_selinux_context(path, False))
    done, failure = [], None
    try:
        for wanted in read_files(entries):
            done.append(files.put(wanted))
    except FilesError as error:
        failure = str(error)
    result = dict(
        changed=any(outcome.changed for outcome in done),
        files=[
            dict(path=outcome.path, changed=outcome.changed, action=outcome.action, backup_file=outcome.backup_file)
            for outcome in done
        ],
        invocation=invocation,
    )
    if module._diff:
        result["diff"] = [diff for outcome in done for diff in diffs_of(outcome)]
    if failure:
        module.fail_json(msg="%s." % failure.rstrip("."), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
