# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Tests of the rig itself: what other tests rely on. Nothing of the collection is used here."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pynvml
import pytest

from tests.integration.support import CHECKOUT, environment, run, tool
from tests.rig.hosts import ansible, changes, fleet, gpus, seed
from tests.rig.hosts.podman import INTERFACES, NETWORK, containers, podman
from tests.rig.registry import background
from tests.rig.settings import find_program, root_prefix
from tests.rig.waiting import wait_until

pytestmark = pytest.mark.hosts
SET = f"rig-test-{os.getpid()}"
UNIT = """[Service]
Type=oneshot
User=probe
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ExecStart=/usr/bin/python3 /opt/state.py set gpu0.utilization 77
ExecStart=/bin/echo probe-wrote-this
ExecStart=-/usr/bin/touch /etc/probe-was-here
"""


@pytest.fixture(name="hosts", scope="module", autouse=True)
def _hosts(podman_hosts):
    """Hosts a (2 GPUs), b (two 4090), c (no driver) and a server; removed afterwards."""
    fleet.up(SET, fleet.parse_hosts("a=2xA6000,b=2x4090,c=none"))
    fleet.serve(SET)
    yield
    fleet.down(SET)
    assert containers(SET) == [] and background.status(fleet.server_state(SET)) is None


def on(host: str, *command: str, user: str = "root", stdin: bytes | None = None) -> str:
    """Output of a command on a host."""
    return podman("exec", "-i", "--user", user, fleet.container_name(SET, host), *command, stdin=stdin).stdout.decode()


def play(*arguments: str) -> str:
    """Output of an ad hoc Ansible task on the hosts."""
    env = environment(collections=ansible.collections())
    return run(
        [tool("ansible"), "-i", fleet.write_inventory(SET), *arguments], cwd=CHECKOUT.parent, env=env, timeout=600
    )


def test_three_hosts_are_fresh_within_ten_seconds():
    """The image exists already. A file of an earlier host of the same name is gone."""
    on("c", "touch", "/etc/old")
    started, load = time.monotonic(), os.getloadavg()[0]
    fleet.up(SET, fleet.parse_hosts("a=2xA6000,b=2x4090,c=none"))
    assert time.monotonic() - started < 10 * max(1, load)
    with pytest.raises(Exception, match="/etc/old"):
        on("c", "cat", "/etc/old")


def test_systemd_runs_with_a_control_group_tree_of_its_own():
    """The control group of a service has the same path as on a real host."""
    assert on("a", "systemctl", "is-system-running").strip() == "running"
    pid = on("a", "systemctl", "show", "-p", "MainPID", "--value", "dbus.service").strip()
    assert "0::/system.slice/dbus.service" in on("a", "cat", f"/proc/{pid}/cgroup").splitlines()


def test_nothing_but_what_a_host_promises():
    """No pip, no compiler, no curl and none of our libraries: the collection must bring what it needs."""
    assert (
        on("a", "sh", "-c", "for p in systemctl python3 sudo zstd tar; do command -v $p >/dev/null || echo $p; done")
        == ""
    )
    assert on("a", "sh", "-c", "for p in pip3 gcc curl wget nvidia-smi ollama; do command -v $p; done; true") == ""
    assert (
        on(
            "a",
            "python3",
            "-c",
            "import importlib.util as u; print([n for n in ('requests', 'pynvml', 'yaml') if u.find_spec(n)])",
        ).strip()
        == "[]"
    )


def test_ansible_enters_as_an_unprivileged_user_and_becomes_root():
    """With pipelining, using only the written inventory."""
    assert play("a", "-m", "ansible.builtin.command", "-a", "id -un").split(">>")[1].strip() == "rig"
    assert play("a", "-b", "-m", "ansible.builtin.command", "-a", "id -un").split(">>")[1].strip() == "root"


def test_a_command_of_ansible_is_as_one_of_podman():
    """Whatever takes Ansible into the host: user, rights, directory and control group are the same."""
    script = "id; pwd; umask; tail -n 1 /proc/self/cgroup; grep Cap /proc/self/status; echo $PATH $HOME $container"
    told = play("a", "-m", "ansible.builtin.shell", "-a", script).split(">>\n")[1]
    assert told.strip() == on("a", "sh", "-c", script, user="rig").strip()


def test_what_ansible_began_goes_on_where_it_is_killed():
    """As with SSH."""
    script = "touch /begun; while [ ! -e /go-on ]; do sleep 0.1; done; touch /over"
    process = subprocess.Popen(
        [tool("ansible"), "-i", fleet.write_inventory(SET), "a", "-b", "-m", "ansible.builtin.shell", "-a", script],
        env=environment(collections=ansible.collections()),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def there(path):
        return on("a", "sh", "-c", "ls %s 2>/dev/null; true" % path)

    wait_until(lambda: there("/begun"), "the command on the host")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    on("a", "touch", "/go-on")
    wait_until(lambda: there("/over"), "the end of the command")


def test_a_hardened_service_writes_the_state_file_and_the_journal():
    """As the unit of Ollama does with the engine stand-in."""
    on("a", "sh", "-c", "useradd -r probe; cat > /opt/state.py", stdin=pathlib.Path(gpus.state.__file__).read_bytes())
    on("a", "sh", "-c", "cat > /etc/systemd/system/probe.service", stdin=UNIT.encode())
    on("a", "systemctl", "daemon-reload")
    on("a", "systemctl", "start", "probe.service")
    container = fleet.container_name(SET, "a")
    assert gpus.run(container, "get", "gpu0.utilization").strip() == "77"
    assert "probe-wrote-this" in on("a", "journalctl", "-u", "probe.service", "--no-pager")
    assert on("a", "sh", "-c", "ls /etc/probe-was-here 2>/dev/null; true") == ""


def test_the_real_pynvml_sees_the_gpus_of_the_state_file():
    """Through the library in the library path of the system. A process that uses memory is listed, and a host without a
    driver has no library.
    """
    script = b"""import json, pynvml as n
n.nvmlInit()
gpus = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
print(json.dumps([[n.nvmlDeviceGetName(g), n.nvmlDeviceGetMemoryInfo(g).total,
                   [p.usedGpuMemory for p in n.nvmlDeviceGetComputeRunningProcesses(g)]] for g in gpus]))
"""
    library = pathlib.Path(pynvml.__file__).read_bytes()
    for host in "ac":
        on(host, "sh", "-c", "cat > /tmp/pynvml.py", stdin=library)
    gpus.run(fleet.container_name(SET, "a"), "process", "add", "1", "10G")
    seen = json.loads(on("a", "env", "PYTHONPATH=/tmp", "python3", "-", user="rig", stdin=script))
    assert seen == [["NVIDIA RTX A6000", 49140 << 20, []], ["NVIDIA RTX A6000", 49140 << 20, [10 << 30]]]
    failed = podman(
        "exec",
        "-i",
        fleet.container_name(SET, "c"),
        "env",
        "PYTHONPATH=/tmp",
        "python3",
        "-",
        stdin=script,
        check=False,
    )
    assert "NVMLError_LibraryNotFound" in failed.stderr.decode()


def test_registry_and_releases_are_reached_at_the_same_address_from_hosts_and_controller():
    """So is the host name of the redirect."""
    variables = fleet.load(SET)["variables"]
    manifest = json.loads(_get(f"{variables['rig_registry_url']}/v2/library/tiny/manifests/latest"))
    digest = manifest["layers"][0]["digest"]
    script = f"""import urllib.request as u
class No(u.HTTPRedirectHandler):
    def redirect_request(self, *a): return None
try: u.build_opener(No).open("{variables["rig_registry_url"]}/v2/library/tiny/blobs/{digest}")
except u.HTTPError as e: place = e.headers["Location"]
import hashlib; print(place, hashlib.sha256(u.urlopen(place).read()).hexdigest())
"""
    for place, hexadecimal in (
        on("b", "python3", "-c", script).split(),
        subprocess.check_output([sys.executable, "-c", script], text=True).split(),
    ):
        assert "sha256:" + hexadecimal == digest
        assert place.split("/")[2].split(":")[0] != variables["rig_registry"].split(":")[0]
    sums = _get(variables["rig_checksum_url"]).decode().split()
    assert sums == [variables["rig_checksum"], "./ollama-linux-amd64.tar.zst"] and len(sums[0]) == 64
    assert variables["rig_checksums"] == {"0.32.15": sums[0]}


def test_the_controller_keeps_its_hardware_address_whatever_host_comes_or_goes():
    """With another one, no host would reach it for up to 70 seconds."""
    name = json.loads(podman("network", "inspect", NETWORK).stdout)[0]["network_interface"]
    before = (INTERFACES / name / "address").read_text()
    port = socket.if_indextoname(int(on("c", "cat", "/sys/class/net/eth0/iflink")))
    lowest = [*root_prefix(), find_program("ip"), "link", "set", "dev", port, "address", "02:00:00:00:00:01"]
    subprocess.run(lowest, check=True)
    assert (INTERFACES / port / "address").read_text().strip() == lowest[-1]
    fleet.down(SET, ["c"])
    assert (INTERFACES / name / "address").read_text() == before
    fleet.up(SET, fleet.parse_hosts("c=none"))
    assert (INTERFACES / name / "address").read_text() == before


def _get(url: str) -> bytes:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60).read()


def test_a_seeded_model_has_its_true_size_and_takes_no_room():
    """67 GB in about 12 MB of disk; the name of a blob is its digest."""
    said = seed.seed(
        fleet.container_name(SET, "b"), "llama4:16x17b", "/srv/models", registry="mirror:5000", owner="rig"
    )
    assert "67,107,066,464 bytes (sparse" in said
    listed = on(
        "b",
        "sh",
        "-c",
        "cd /srv/models; find . -type f -size +1G -printf '%u %s %k\\n"
        "'; ls -d manifests/mirror:5000/library/llama4/16x17b",
    )
    owner, size, kilobytes, manifest = listed.split()
    assert (owner, size, manifest) == ("rig", "67107066464", "manifests/mirror:5000/library/llama4/16x17b") and int(
        kilobytes
    ) < 20_000


def test_check_mode_leaves_no_trace_and_every_touch_is_seen():
    """Writing the same bytes again is a change; the files of Ansible's own connection are not."""
    container = fleet.container_name(SET, "b")
    on("b", "sh", "-c", "echo one > /etc/probe; echo gone > /etc/gone; mkdir /etc/place")
    before = changes.snapshot(container)
    play("b", "-b", "--check", "-m", "ansible.builtin.copy", "-a", "content=two dest=/etc/probe")
    play("b", "-b", "-m", "ansible.builtin.setup")
    assert changes.compare(before, changes.snapshot(container)) == []
    on(
        "b",
        "sh",
        "-c",
        "echo one > /etc/probe; rm /etc/gone; touch /var/new; chmod 700 /etc/place; mkdir -p /dev/shm/x",
    )
    lines = changes.compare(before, changes.snapshot(container))
    assert [line.split(":")[0] for line in lines] == [
        "A /dev/shm/x",
        "D /etc/gone",
        "C /etc/place",
        "C /etc/probe",
        "A /var/new",
    ]
