# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations


class ModuleDocFragment:
    """The option of the modules that put files in place."""

    DOCUMENTATION = r"""
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
"""
