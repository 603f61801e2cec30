# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host goes through the levels of ollama_multigpu_sandbox: what each gives up, and the models stay on their GPUs."""

from __future__ import annotations

import functools
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.unit_file import Sandbox, unit_text

from tests.integration.acceptance import SET, Site, on
from tests.integration.protections import Host
from tests.integration.support import CHECKOUT
from tests.rig.hosts import fleet

pytestmark = pytest.mark.hosts

UNIT = "ollama@gpu0.service"
GATEWAY = CHECKOUT / "roles" / "ollama_gateway" / "files"
GUIDE = CHECKOUT / "docs" / "docsite" / "rst" / "protection.rst"
MODELS = [{"name": "tiny", "insecure": True}]
#: Findings of protections.py on each level: everything that a level gives up, and nothing else.
_MODERATE = """attempt-other-device unit-DeviceAllow unit-DevicePolicy unit-ProtectClock unit-SystemCallFilter"""
_OFF = """attempt-kernel-modules attempt-link-local attempt-multicast attempt-namespace attempt-other-call
    attempt-packet-socket attempt-personality attempt-private-tmp attempt-privileged-call attempt-processes
    attempt-read-only attempt-set-user-id-file attempt-set-user-id-program attempt-write-elsewhere attempt-write-home
    attempt-write-sibling exposure process-CapBnd process-NoNewPrivs process-Seccomp process-namespace-mnt
    process-namespace-uts unit-CapabilityBoundingSet unit-IPAddressDeny unit-LockPersonality unit-NoNewPrivileges
    unit-PrivateMounts unit-PrivateTmp unit-ProtectControlGroups unit-ProtectHome unit-ProtectHostname
    unit-ProtectKernelLogs unit-ProtectKernelModules unit-ProtectKernelTunables unit-ProtectProc unit-ProtectSystem
    unit-ReadWritePaths unit-RemoveIPC unit-RestrictAddressFamilies unit-RestrictNamespaces unit-RestrictRealtime
    unit-RestrictSUIDSGID unit-SystemCallArchitectures unit-SystemCallErrorNumber"""
GIVEN_UP = {"strict": set(), "moderate": set(_MODERATE.split()), "off": set((_MODERATE + " " + _OFF).split())}


def documented():
    """{level: exposure} of the table in the guide."""
    rows = re.findall(r"\* - ``(\w+)``\n +- ([0-9.]+)\n", GUIDE.read_text(encoding="utf-8"))
    return {level: float(exposure) for level, exposure in rows}


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    fleet.up(SET, {"levels": "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site = Site(collections, tmp_path_factory.mktemp("levels"))
        site.inventory({"levels": {}}, ollama_multigpu_models=MODELS)
        site.play("site")
        yield site
    finally:
        fleet.down(SET)


@pytest.fixture(name="host", scope="module")
def _host(site):
    return Host(fleet.container_name(SET, "levels"), "gpu0")


def exposure(sh, unit=UNIT):
    """What systemd-analyze gives a unit as it is loaded on a host, whose shell is given."""
    told = sh("systemd-analyze security --no-pager " + unit)
    return float(re.search(r"exposure level for .*: ([0-9.]+) ", told)[1])


def hide(host, node):
    """A drop-in that leaves the nodes of the GPUs but for one; in force from the next start on."""
    nodes = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"} - {node}
    lines = ["[Service]", "DevicePolicy=closed", "DeviceAllow=", *("DeviceAllow=%s rw" % one for one in sorted(nodes))]
    place = "/run/systemd/system/%s.d" % UNIT
    host.sh("mkdir -p %s; cat > %s/test.conf" % (place, place), "\n".join([*lines, ""]).encode())
    return "rm -r " + place


def test_the_guide_has_what_each_unit_exposes(podman_hosts):
    """The units alone, on a host that has nothing else; a test below looks at those of a converged host."""
    fleet.up(SET, {"bare": "none"}, say=lambda text: None)
    try:
        sh = functools.partial(on, "bare", "sh", "-c")
        assert sorted(documented()) == ["moderate", "off", "strict"]
        for level, told in documented().items():
            put = "cat > /etc/systemd/system/ollama@.service; systemctl daemon-reload"
            sh(put, stdin=unit_text("/var/lib/ollama-multigpu", Sandbox(level)).encode())
            assert exposure(sh) == told, level
        assert documented()["strict"] <= 1.9
        for name in ("ollama-gateway.service", "ollama-gateway-address.service"):
            sh("cat > /etc/systemd/system/%s; systemctl daemon-reload" % name, stdin=(GATEWAY / name).read_bytes())
            assert "``%s`` (%s)" % (name, exposure(sh, name)) in " ".join(GUIDE.read_text(encoding="utf-8").split())
    finally:
        fleet.down(SET, ["bare"])


# From the strictest level to the others and back.
@pytest.mark.full
@pytest.mark.parametrize("level", ["moderate", "off", "strict"])
def test_a_level(site, host, level):
    given = ["-e", "ollama_multigpu_sandbox=" + level]
    site.play("site", *given)
    assert site.play("site", *given).counts["levels"]["changed"] == 0
    found = {line.partition(": ")[0] for line in host.findings()}
    assert exposure(host.sh) == documented()[level]
    assert found == GIVEN_UP[level]
    assert "Verdict: pass" in host.checked()
    back = hide(host, "/dev/nvidia-uvm")
    try:
        told = host.checked()
    finally:
        host.sh(back)
    assert "gpu_not_seen: the service %s cannot open /dev/nvidia-uvm: the device policy" % UNIT in told
    assert "Verdict: pass" in host.checked()
