# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The connection to a rig host: that of containers.podman with pipelining, one command per task instead of seven.

Root enters the host by nsenter, which takes a twentieth of the time of 'podman exec'. What is started is no child of
Ansible, as with SSH: it goes on where Ansible is killed. All others, and who meets a host that does not run, have
'podman exec'.
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
  set_directory:
    description: Directory of the set that the host belongs to. It has the number of the host's first process.
    default: ''
    vars:
      - name: ansible_rig_set_directory
"""

import os
import pathlib
import shlex
import subprocess

from ansible.errors import AnsibleError
from ansible.plugins.connection import ensure_connect
from ansible.utils.display import Display
from ansible_collections.containers.podman.plugins.connection.podman import Connection as Podman

#: Runs the arguments in the background, as a child of nobody, and writes their exit status to the descriptor $0.
_DETACHED = '{ { setsid "$@" <&4; echo $? > /dev/fd/$0; } & } 4<&0'
#: Runs the arguments in the control group of the host, as 'podman exec' does.
_INSIDE = """cd /
for group in . init.scope; do echo $$ 2>/dev/null > /sys/fs/cgroup/$group/cgroup.procs && break; done
exec "$@"
"""
_ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "container=podman")


class Connection(Podman):
    transport = "gpufleet_rig.hosts.podman"
    has_pipelining = True

    def _connect(self):
        """Mount nothing: files are sent through the standard input as well."""
        self._connected = True

    @ensure_connect
    def exec_command(self, cmd, in_data=None, sudoable=False):
        pid = self._first_process() if os.geteuid() == 0 else None
        if pid:
            return self._entered(pid, shlex.split(cmd), in_data)
        return self._podman(["exec", "-i"] + (["--user", self.user] if self.user else []), shlex.split(cmd), in_data)

    def _first_process(self):
        """The number of the host's PID 1 on this machine; None where it does not run, or that is not known."""
        directory = pathlib.Path(self.get_option("set_directory"))
        host = self._container_id.removeprefix(directory.name + "-")
        try:
            pid = int((directory / ("pid-" + host)).read_text())
            mounts = pathlib.Path("/proc/%d/mountinfo" % pid).read_text()
        except (OSError, ValueError):
            return None
        # The number may be that of another process by now.
        return pid if "/%s/meminfo-%s /proc/meminfo " % (directory.name, host) in mounts else None

    def _entered(self, pid, arguments, in_data):
        """(exit status, stdout, stderr) of a command in the namespaces of a process."""
        user = self.user or "root"
        Display().vvv("ENTER %d %s" % (pid, arguments), host=self._container_id)
        inside = ["env", "-i", *_ENVIRONMENT, "HOME=" + ("/root" if user == "root" else "/home/" + user)]
        if user != "root":
            inside += ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all"]
        namespaces = ["-m", "-u", "-i", "-n", "-p", "-C"]
        command = ["nsenter", "-t", str(pid), *namespaces, "--", "/bin/sh", "-c", _INSIDE, "sh", *inside, *arguments]
        told, telling = os.pipe()
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _DETACHED, str(telling), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(telling,),
            )
            os.close(telling)
            stdout, stderr = process.communicate(input=in_data)
            return int(os.read(told, 16) or 137), stdout, stderr  # nothing is told of what was killed
        finally:
            os.close(told)

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
