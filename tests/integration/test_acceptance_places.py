# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The service user does not become root at the next run, whatever it or others put into the stores and their parents.

The hosts get traps after the first run. Then one run on all of them is refused, and a removal harms nothing.
"""

from __future__ import annotations

import dataclasses

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

#: trap: (host, script that sets it, words of the refusal). What is wrong with a directory hides what is wrong in it.
TRAPS = {
    "store-is-a-link": (
        "a",
        f"systemctl stop 'ollama@*'; mv {STORES}/gpu0-1 /srv/gone; ln -s /etc/victim {STORES}/gpu0-1",
        [f"{STORES}/gpu0-1 is a link to /etc/victim", "move it away"],
    ),
    "store-of-no-instance": (
        "a",
        f"ln -s /home {STORES}/gpu7; chown -h ollama:ollama {STORES}/gpu7",
        [f"{STORES}/gpu7 is a link to /home", "move it away"],
    ),
    "store-of-another": (
        "a",
        f"mkdir {STORES}/gpu8; echo x > {STORES}/gpu8/file; chown rig {STORES}/gpu8",
        [f"{STORES}/gpu8 belongs to rig:root, not to ollama:ollama", "chown -R ollama:ollama"],
    ),
    "directory-of-root": (
        "a",
        f"mkdir {STORES}/www; echo x > {STORES}/www/file",
        [f"{STORES}/www belongs to root:root, not to ollama:ollama"],
    ),
    "other-things": (
        "a",
        f"mkdir {STORE}/photos; echo x > {STORE}/photos/file",
        ["holds other things (photos)", "a directory of its own"],
    ),
    "stores-are-a-link": (
        "b",
        f"systemctl stop 'ollama@*'; mv {STORES} /srv/gone; ln -s /home {STORES}",
        [f"{STORES} is a link to /home", "move it away"],
    ),
    "parent-of-the-user": (
        "c",
        f"chown ollama {STORE}",
        [f"{STORE} belongs to ollama:root, not to root:root", f"chown root:root {STORE}"],
    ),
    "parent-for-all": ("d", f"chmod o+w {STORE}", [f"{STORE} may be written by every user", "chmod o-w"]),
    "link-in-manifests": (
        "e",
        f"runuser -u ollama -- sh -c 'rm -rf {STORES}/gpu0-1/manifests; ln -s /etc/victim {STORES}/gpu0-1/manifests'",
        [f"{STORES}/gpu0-1/manifests"],
    ),
    "fifo-in-blobs": (
        "f",
        f"runuser -u ollama -- mkfifo {STORES}/gpu0-1/blobs/sha256-{'0' * 64}",
        [f"{STORES}/gpu0-1/blobs/sha256-0"],
    ),
    "device-in-blobs": (
        "g",
        f"mknod {STORES}/gpu0-1/blobs/sha256-{'0' * 64} c 1 5; chown ollama {STORES}/gpu0-1/blobs/*",
        [f"{STORES}/gpu0-1/blobs/sha256-0"],
    ),
}
HOSTS = sorted({host for host, _script, _words in TRAPS.values()})


@dataclasses.dataclass
class Runs:
    """What a converged host says (`looked_at`), the run that is refused on the hosts with traps, and {host: changes of
    OUTSIDE} by the removal after it."""

    converged: dict[str, list[str]]
    refused: Outcome
    harmed: dict[str, list[str]]


@pytest.fixture(name="runs", scope="module")
def _runs(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-places"))
    fleet.up(SET, {name: "rtx-4090-x2" for name in HOSTS}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory(
            {name: {} for name in HOSTS},
            ollama_multigpu_models=[{"name": "tiny", "insecure": True, "strategy": "spread", "optimized": {}}],
        )
        site.play("site")
        converged = {name: looked_at(name) for name in HOSTS}
        for name in HOSTS:
            on(name, "sh", "-ec", PREPARE)
        for host, script, _words in TRAPS.values():
            on(host, "sh", "-ec", script)
        with site.untouched(*HOSTS):
            refused = site.play("site", expect=2)
        before = {name: outside(name) for name in HOSTS}
        site.play("remove", "-e", "ollama_multigpu_remove_models=true", expect=None)
        harmed = {name: changes.compare(files, outside(name)) for name, files in before.items()}
        yield Runs(converged["a"], refused, harmed)
    finally:
        fleet.down(SET)


def outside(host: str) -> dict[str, str]:
    """The files of a host that nobody may touch."""
    files = changes.snapshot(fleet.container_name(SET, host))
    return {path: state for path, state in files.items() if path.startswith(OUTSIDE)}


def looked_at(host: str) -> dict[str, list[str]]:
    """What a converged host says of the instance and its store."""
    store = STORES + "/gpu0-1"
    pid = on(host, "systemctl", "show", "-p", "MainPID", "--value", "ollama@gpu0-1.service").strip()
    # As the service itself, in its own mount namespace, where it may write by the mode of the directory.
    script = (
        "for at in %s %s %s /etc /usr/local/lib/ollama-multigpu /var/lib /srv/open; do "
        "touch $at/probe 2>/dev/null && echo $at; done; true" % (STORE, STORES, store)
    )
    on(host, "mkdir", "-m", "0777", "/srv/open")
    return {
        "owners": on(host, "stat", "-c", "%U:%G %a %n", STORE, STORES, store).splitlines(),
        "foreign": on(host, "find", store, "(", "!", "-user", "ollama", "-o", "-type", "l", ")").split(),
        "elsewhere": on(host, "find", "/", "-xdev", "-user", "ollama", "-not", "-path", STORES + "/*").split(),
        "environment": on(host, "cat", "/proc/%s/environ" % pid).split("\0"),
        "home": on(host, "ls", store + "/.ollama").split(),
        "written": on(
            host, "nsenter", "-m", "-t", pid, "--", "runuser", "-u", "ollama", "--", "sh", "-c", script
        ).split(),
    }


def test_the_service_user_owns_its_store_and_nothing_else(runs):
    store = STORES + "/gpu0-1"
    assert runs.converged["owners"] == [
        "root:root 755 " + STORE,
        "root:root 755 " + STORES,
        "ollama:ollama 750 " + store,
    ]
    assert runs.converged["foreign"] == []
    # The server that fetches models has a leaf of its own, of which its key stays.
    fetch = STORE + "/fetch"
    assert {path for path in runs.converged["elsewhere"] if not (path + "/").startswith(fetch + "/")} == set()
    assert "HOME=" + store in runs.converged["environment"] and "id_ed25519" in runs.converged["home"]
    assert runs.converged["written"] == [store]


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_refused_with_one_sentence_and_nothing_is_changed(runs, trap):
    host, _script, words = TRAPS[trap]
    messages = runs.refused.failures.get(host)
    assert messages, "%s was not refused" % trap
    for word in words:
        assert word in messages[-1], "%r says nothing of %r" % (messages[-1], word)
    assert "MODULE FAILURE" not in messages[-1] and runs.refused.counts[host]["changed"] == 0


@pytest.mark.parametrize("host", HOSTS)
def test_a_removal_touches_nothing_of_others(runs, host):
    assert runs.harmed[host] == []
    if host == "a":
        assert on("a", "cat", STORES + "/www/file", STORES + "/gpu8/file", STORE + "/photos/file") == "x\n" * 3
