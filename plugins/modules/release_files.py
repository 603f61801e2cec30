#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A release of Ollama on a host: thin, see module_utils/host/release_install.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_files
short_description: Install a release of Ollama from its archive
version_added: "1.0.0"
description:
  - Downloads the archive of a release, checks it against its SHA-256, unpacks it, asks its program for the version, and
    puts the release into a directory of its own by one rename.
  - A redirect from https to http is not followed, and neither is one from the internet into a private network.
  - Only regular files, directories and links inside the archive are unpacked. Absolute paths, C(..), paths through a
    link, devices, FIFOs, sparse files and set-id or sticky bits are refused. All files belong to root and have the mode
    0755 or 0644. An archive may have up to 20000 members, 8 GiB in a file and 32 GiB in all.
  - Nothing that came with the archive is run as root. The program is asked for its version as the service user
    C(ollama), or as C(nobody) on a host that does not have that user yet, without any environment of the task.
  - Several releases can be installed side by side. This module removes none of them, and starts no service.
  - After a failure the host is as it was. What a task leaves behind that was killed is removed by the next one.
  - One task at a time installs on a host. Another one waits up to 15 minutes for it, also for one that goes on after
    its connection was cut.
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
      - Nothing is downloaded in check mode.
  diff_mode:
    support: full
options:
  version:
    description:
      - The release, for instance V(0.32.15). The program in the archive has to say the same.
    type: str
    required: true
  url:
    description:
      - Address of the archive, a file with the name C(ollama-linux-*.tar.zst).
      - It may begin with C(http://) only if O(checksum) is the SHA-256 itself.
      - A user name and a password in it are sent to its own host only, and shown and logged nowhere. The same applies
        to O(checksum).
    type: str
    required: true
  checksum:
    description:
      - The SHA-256 of the archive, or the https address of a C(sha256sum.txt) that has a line for it.
      - A release that was installed with the same value, apart from user name, password and query, is not installed
        again.
    type: str
    required: true
  path:
    description:
      - Directory of all releases. It is created if it is missing, and has to belong to root.
      - The role uses the default.
    type: path
    default: /usr/local/lib/ollama-multigpu/releases
  timeout:
    description:
      - Give up if a server sends nothing for this number of seconds.
    type: int
    default: 60
requirements:
  - zstd on the host
  - Python library C(requests), which the action plugin transfers if the host does not have it
"""

EXAMPLES = r"""
- name: Install a release
  gpufleet.ollama.release_files:
    version: 0.32.15
    url: https://mirror.example.com/ollama/v0.32.15/ollama-linux-amd64.tar.zst
    checksum: 50539c5fe9bf85887733355098dcdb266b433cb8c73fa180713417e9ed6e42bb
  become: true
"""

RETURN = r"""
directory:
  description: Directory of the release.
  type: str
  returned: success
  sample: /usr/local/lib/ollama-multigpu/releases/0.32.15
members:
  description: How many files, directories and links were unpacked.
  type: int
  returned: when the release was installed
  sample: 214
size_bytes:
  description: Bytes of the unpacked files.
  type: int
  returned: when the release was installed
  sample: 4831838208
"""

import posixpath
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import shown_address, take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.as_user import UserError, service_account
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.release_archive import ArchiveError, Unpacked
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.release_install import Release, install, prepared
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.release_download import (
    Download,
    DownloadError,
    DownloadInterrupted,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import archives

_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?\Z")


def problem_of(params: dict[str, Any]) -> str | None:
    """Return what is wrong with the options; None where they are fine."""
    if not _VERSION.match(params["version"]):
        return "version is %r: give a release such as 0.32.15" % params["version"]
    if not re.match(r"https?://\S+\Z", params["url"]):
        return "url is %r: give the https address of the archive" % shown_address(params["url"])
    pinned = archives.is_sha256(params["checksum"])
    if not pinned and not re.match(r"https://\S+\Z", params["checksum"]):
        return (
            "checksum is %r: give the SHA-256 of the archive (64 hexadecimal digits), or the https address of a "
            "sha256sum.txt" % shown_address(params["checksum"])
        )
    if archives.is_plain_http(params["url"]) and not pinned:
        return "url is %r, and what comes over plain http needs a SHA-256 as checksum" % shown_address(params["url"])
    return None


def put(release: Release, params: dict[str, Any]) -> Unpacked | None:
    """Download and install a release. Return None where another run, which had to be waited for, has done it.

    Args:
        release: as its marker describes it, without credentials.
        params: the options of the module.

    Raises:
        ArchiveError, DownloadError, UserError, OSError: It is not installed, and nothing is left of it.
        LibraryMissing: requests is not installed.
    """
    user = service_account()
    download = Download(params["timeout"])
    with prepared(release):
        if release.installed() == release.checksum:
            return None
        sha256 = archives.sha256_of(params["checksum"])
        if sha256 is None:
            sha256 = download.checksum(params["checksum"], posixpath.basename(shown_address(params["url"])))
        download.archive(params["url"], release.archive, sha256)
        return install(release, user)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            version=dict(type="str", required=True),
            url=dict(type="str", required=True, no_log=True),
            checksum=dict(type="str", required=True, no_log=True),
            path=dict(type="path", default=paths.RELEASES),
            timeout=dict(type="int", default=60),
        ),
        supports_check_mode=True,
    )
    params = take_options(module)
    problem = problem_of(params)
    if problem:
        module.fail_json(msg="%s." % problem)
    release = Release(params["version"], shown_address(params["checksum"]), params["path"])
    before = release.installed()
    changed = before != release.checksum
    result: dict[str, Any] = {"changed": changed, "directory": release.directory}
    if module._diff:
        result["diff"] = {"before": _shown(release, before), "after": _shown(release, release.checksum)}
    if changed and not module.check_mode:
        try:
            unpacked = put(release, params)
        except LibraryMissing as error:
            module.fail_json(**error.as_failure())
        except (ArchiveError, DownloadError, UserError, OSError) as error:
            interrupted = isinstance(error, DownloadInterrupted)
            kept = ", and the next run goes on with what was downloaded" if interrupted else ""
            module.fail_json(
                msg="Ollama %s could not be installed from %s: %s. Nothing on the host was changed%s. Check the "
                "options url and checksum (of the role: ollama_multigpu_release_url, ollama_multigpu_release_checksum)."
                % (release.version, shown_address(params["url"]), str(error).rstrip("."), kept)
            )
        if unpacked is None:
            result["changed"] = False
        else:
            result.update(members=unpacked.members, size_bytes=unpacked.size_bytes)
    module.exit_json(**result)


def _shown(release: Release, checksum: str | None) -> dict[str, Any]:
    """The state of a release as diff mode shows it."""
    state = {"path": release.directory, "state": "absent" if checksum is None else "present"}
    return state if checksum is None else dict(state, checksum=checksum)


if __name__ == "__main__":
    main()
