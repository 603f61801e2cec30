# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The connection to a rig host: that of containers.podman with pipelining.

One 'podman exec' per task instead of seven calls of podman.
"""

from __future__ import annotations

DOCUMENTATION = """
name: podman
author: The gpufleet.ollama contributors (@gpufleet)
short_description: Enter a host of the rig
description: Runs commands in a container through podman, with Ansible's modules on its standard input.
extends_documentation_fragment:
  - connection_pipelining
options:
  remote_addr:
    description: The container.
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
  remote_user:
    description: The user in the container.
    vars:
      - name: ansible_user
  podman_extra_args:
    description: Further arguments of podman.
    default: ''
    vars:
      - name: ansible_podman_extra_args
  podman_executable:
    description: The program podman.
    default: podman
    vars:
      - name: ansible_podman_executable
"""

import pathlib
import shlex

from ansible.errors import AnsibleError
from ansible.plugins.connection import ensure_connect
from ansible.utils.display import Display
from ansible_collections.containers.podman.plugins.connection.podman import Connection as Podman


class Connection(Podman):
    transport = "gpufleet_rig.hosts.podman"
    has_pipelining = True

    def _connect(self):
        """Mount nothing: files are sent through the standard input as well."""
        self._connected = True

    @ensure_connect
    def exec_command(self, cmd, in_data=None, sudoable=False):
        return self._podman(["exec", "-i"] + (["--user", self.user] if self.user else []), shlex.split(cmd), in_data)

    @ensure_connect
    def put_file(self, in_path, out_path):
        Display().vvv("PUT %s TO %s" % (in_path, out_path), host=self._container_id)
        status, unused, stderr = self.exec_command(
            "sh -c %s" % shlex.quote("cat > " + shlex.quote(out_path)), pathlib.Path(in_path).read_bytes()
        )
        if status:
            raise AnsibleError(
                "The file %s could not be written in %s: %s"
                % (out_path, self._container_id, stderr.decode(errors="replace").strip())
            )

    @ensure_connect
    def fetch_file(self, in_path, out_path):
        Display().vvv("FETCH %s TO %s" % (in_path, out_path), host=self._container_id)
        status, stdout, stderr = self.exec_command("cat %s" % shlex.quote(in_path))
        if status:
            raise AnsibleError(
                "The file %s could not be read in %s: %s"
                % (in_path, self._container_id, stderr.decode(errors="replace").strip())
            )
        pathlib.Path(out_path).write_bytes(stdout)
