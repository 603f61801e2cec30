# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The service user does not become root at the next run, whatever it or others put into the stores and their parents.

Every host gets one trap after the first run. Then one run on all of them is refused, and a removal harms nothing.
"""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.integration.acceptance import SET, STORE, Outcome, Site, on
from tests.rig.hosts import changes, fleet

pytestmark = pytest.mark.hosts

STORES = STORE + "/instances"
#: What nobody may touch: a victim of each kind.
OUTSIDE = ("/etc/victim", "/home", "/root", "/srv/outside")
PREPARE = """
mkdir -p /etc/victim /srv/outside/instances /home/alice
echo secret > /etc/victim/file
echo hers > /home/alice/file
echo of others > /srv/outside/instances/file
chmod 600 /etc/victim/file
"""

#: host: (script that sets the trap, run as root; words of the refusal)
TRAPS = {
    "store-is-a-link": (
        f"systemctl stop 'ollama@*'; mv {STORES}/gpu0-1 /srv/gone; ln -s /etc/victim {STORES}/gpu0-1",
        [f"{STORES}/gpu0-1 is a link to /etc/victim", "move it away"],
    ),
    "store-of-nobody": (
        f"ln -s /home {STORES}/gpu7; chown -h ollama:ollama {STORES}/gpu7",
        [f"{STORES}/gpu7 is a link to /home", "move it away"],
    ),
    "stores-are-a-link": (
        f"systemctl stop 'ollama@*'; mv {STORES} /srv/gone; ln -s /home {STORES}",
        [f"{STORES} is a link to /home", "move it away"],
    ),
    "store-of-another": (
        f"chown rig {STORES}/gpu0-1",
        [f"{STORES}/gpu0-1 belongs to rig:ollama, not to ollama:ollama", "chown -R ollama:ollama"],
    ),
    "directory-of-another": (
        f"mkdir {STORES}/www; echo x > {STORES}/www/file",
        [f"{STORES}/www belongs to root:root, not to ollama:ollama"],
    ),
    "parent-of-the-user": (
        f"chown ollama {STORE}",
        [f"{STORE} belongs to ollama:root, not to root:root", f"chown root:root {STORE}"],
    ),
    "parent-for-all": (f"chmod o+w {STORE}", [f"{STORE} may be written by every user", "chmod o-w"]),
    "other-things": (f"mkdir {STORE}/photos", ["holds other things (photos)", "a directory of its own"]),
    "link-in-manifests": (
        f"runuser -u ollama -- sh -c 'rm -rf {STORES}/gpu0-1/manifests; ln -s /etc/victim {STORES}/gpu0-1/manifests'",
        [f"{STORES}/gpu0-1/manifests"],
    ),
    "fifo-in-blobs": (
        f"runuser -u ollama -- mkfifo {STORES}/gpu0-1/blobs/sha256-{'0' * 64}",
        [f"{STORES}/gpu0-1/blobs/sha256-0"],
    ),
    "device-in-blobs": (
        f"mknod {STORES}/gpu0-1/blobs/sha256-{'0' * 64} c 1 5; chown ollama {STORES}/gpu0-1/blobs/*",
        [f"{STORES}/gpu0-1/blobs/sha256-0"],
    ),
}


@dataclasses.dataclass
class Runs:
    """What happened on the hosts with traps: the refused run, and {host: changes of OUTSIDE} by the removal."""

    refused: Outcome
    harmed: dict[str, list[str]]


@pytest.fixture(name="runs", scope="module")
def _runs(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-places"))
    fleet.up(SET, {name: "rtx-4090-x2" for name in TRAPS}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory(
            {name: {} for name in TRAPS},
            ollama_multigpu_models=[{"name": "tiny", "insecure": True, "strategy": "spread", "optimized": {}}],
        )
        site.play("site")
        for name, (script, _words) in TRAPS.items():
            on(name, "sh", "-ec", PREPARE + script)
        with site.untouched(*TRAPS):
            refused = site.play("site", expect=2)
        before = {name: outside(name) for name in TRAPS}
        site.play("remove", "-e", "ollama_multigpu_remove_models=true", expect=None)
        yield Runs(refused, {name: changes.compare(files, outside(name)) for name, files in before.items()})
    finally:
        fleet.down(SET)


def outside(host: str) -> dict[str, str]:
    """The files of a host that nobody may touch."""
    files = changes.snapshot(fleet.container_name(SET, host))
    return {path: state for path, state in files.items() if path.startswith(OUTSIDE)}


@pytest.mark.parametrize("host", sorted(TRAPS))
def test_a_trap_is_refused_with_one_sentence_and_nothing_is_changed(runs, host):
    messages = runs.refused.failures.get(host)
    assert messages, "%s was not refused" % host
    for word in TRAPS[host][1]:
        assert re.search(re.escape(word), messages[-1]), "%r says nothing of %r" % (messages[-1], word)
    assert "MODULE FAILURE" not in messages[-1] and runs.refused.counts[host]["changed"] == 0


@pytest.mark.parametrize("host", sorted(TRAPS))
def test_a_removal_touches_nothing_of_others(runs, host):
    assert runs.harmed[host] == []
    if host == "directory-of-another":
        assert on(host, "cat", STORES + "/www/file") == "x\n"


def test_the_service_user_cannot_change_what_is_above_its_store(podman_hosts, collections, tmp_path):
    """On a converged host: who belongs what, what the service may write, and where its home is."""
    site = Site(collections, tmp_path)
    fleet.up(SET, {"a": "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory(
            {"a": {}},
            ollama_multigpu_models=[{"name": "tiny", "insecure": True, "strategy": "spread", "optimized": {}}],
        )
        site.play("site")
        owners = on("a", "stat", "-c", "%U:%G %a %n", STORE, STORES, STORES + "/gpu0-1").splitlines()
        assert owners == [
            "root:root 755 " + STORE,
            "root:root 755 " + STORES,
            "ollama:ollama 750 %s/gpu0-1" % STORES,
        ]
        foreign = on("a", "find", STORES + "/gpu0-1", "(", "!", "-user", "ollama", "-o", "-type", "l", ")")
        assert foreign == "", "all that is in a store belongs to its user"
        pid = on("a", "systemctl", "show", "-p", "MainPID", "--value", "ollama@gpu0-1.service").strip()
        environment = on("a", "cat", "/proc/%s/environ" % pid).split("\0")
        assert "HOME=%s/gpu0-1" % STORES in environment
        assert on("a", "ls", STORES + "/gpu0-1/.ollama").split() == ["id_ed25519", "id_ed25519.pub"]
        on("a", "mkdir", "-m", "0777", "/srv/open")
        # As the service itself, in its own mount namespace: of all directories it may write in its store only.
        script = (
            "for at in %s %s %s/gpu0-1 /etc /usr/local/lib/ollama-multigpu /var/lib /srv/open; do "
            "touch $at/probe 2>/dev/null && echo $at; done; true" % (STORE, STORES, STORES)
        )
        written = on("a", "nsenter", "-m", "-t", pid, "--", "runuser", "-u", "ollama", "--", "sh", "-c", script)
        assert written.split() == [STORES + "/gpu0-1"]
        assert on("a", "find", "/", "-xdev", "-user", "ollama", "-not", "-path", STORES + "/*") == ""
    finally:
        fleet.down(SET)
