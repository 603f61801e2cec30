# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Take away what protects a converged host, one thing at a time, and see whether protections.py on the host tells.

`losses` lists them: every line of the unit and of the environment that protects something, owners and modes of files,
the oldest release that may serve. Each names findings that have to appear.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import shlex

from tests.integration.support import SCENARIOS
from tests.rig.hosts.podman import podman
from tests.rig.ollama.build_archive import zipapp

UNIT = "/etc/systemd/system/ollama@.service"
ENVIRONMENT = "/etc/ollama-multigpu/instances/%s.env"
INSTALLATION = "/usr/local/lib/ollama-multigpu"
CHECK = "/run/protections.py"

#: Lines of [Service] that protect nothing, and why.
UNPROTECTING = {
    "Type": "when a start counts as done",
    "ExecStart": "what is run; its owner is checked as a file",
    "RestartSec": "a pause",
    "TimeoutStopSec": "a pause",
    "LimitMEMLOCK": "allows more, not less",
}
WITHOUT_FILTERS = """\
LockPersonality=false
ProtectClock=false
ProtectHostname=false
ProtectKernelLogs=false
ProtectKernelModules=false
ProtectKernelTunables=false
RestrictAddressFamilies=
RestrictNamespaces=false
RestrictRealtime=false
RestrictSUIDSGID=false
SystemCallFilter=
SystemCallArchitectures="""
#: key of a line: (what stands there instead, findings that have to appear). None: the line is taken away. Where a line
#: says what systemd's default is, taking it away would change nothing, so another value stands there.
UNIT_LINES = {
    # Root without capabilities cannot read the files of the store: the server ends.
    "User": [(None, ["unit-User", "process-user|serves|version|check"])],
    "Group": [("Group=daemon", ["unit-Group", "process-group"])],
    # A server that cannot make its home ends.
    "Environment": [(None, ["environment-HOME|serves|version|check"])],
    "EnvironmentFile": [(None, ["environment-OLLAMA_VULKAN", "environment-CUDA_VISIBLE_DEVICES"])],
    "Restart": [(None, ["unit-Restart"])],
    "KillMode": [("KillMode=process", ["unit-KillMode"])],
    "UMask": [(None, ["unit-UMask", "process-umask", "attempt-umask"])],
    "LimitCORE": [(None, ["unit-LimitCORE", "attempt-core"])],
    "RemoveIPC": [(None, ["unit-RemoveIPC"])],
    "PrivateMounts": [(None, ["unit-PrivateMounts"])],
    "ProtectProc": [(None, ["unit-ProtectProc", "attempt-processes"])],
    "ProtectClock": [(None, ["unit-ProtectClock"])],
    # Each of the two lines is taken away.
    "SystemCallFilter": [(None, ["unit-SystemCallFilter", "attempt-privileged-call|attempt-other-call"])],
    "SystemCallErrorNumber": [(None, ["unit-SystemCallErrorNumber"])],
    # A list of devices, which ProtectClock has as well, is a policy without this line.
    "DevicePolicy": [
        (None, ["unit-DevicePolicy"]),
        ("DevicePolicy=auto\nDeviceAllow=\nProtectClock=false", ["unit-DevicePolicy", "attempt-other-device"]),
    ],
    "DeviceAllow": [
        (None, ["unit-DeviceAllow", "attempt-gpu-device"]),
        # As with ollama_multigpu_devices, which no host of the test has.
        ("DeviceAllow=char-nvidia* rw\nDeviceAllow=/dev/protections rw", ["unit-DeviceAllow", "attempt-other-device"]),
    ],
    "IPAddressDeny": [
        (None, ["unit-IPAddressDeny", "attempt-link-local", "attempt-multicast"]),
        ("IPAddressDeny=multicast", ["unit-IPAddressDeny", "attempt-link-local"]),
    ],
    # systemd sets it by itself for a unit with system call filters, so that both go in the second case.
    "NoNewPrivileges": [
        (None, ["unit-NoNewPrivileges"]),
        (WITHOUT_FILTERS, ["unit-NoNewPrivileges", "process-NoNewPrivs", "attempt-set-user-id-program"]),
    ],
    "CapabilityBoundingSet": [(None, ["unit-CapabilityBoundingSet", "process-CapBnd"])],
    "AmbientCapabilities": [
        (
            "AmbientCapabilities=CAP_NET_RAW\nCapabilityBoundingSet=CAP_NET_RAW",
            ["unit-AmbientCapabilities", "process-CapAmb", "process-CapEff", "attempt-raw-socket"],
        )
    ],
    "ProtectSystem": [(None, ["unit-ProtectSystem", "attempt-write-elsewhere", "attempt-read-only"])],
    # ProtectSystem=strict leaves /home as it is.
    "ProtectHome": [
        (None, ["unit-ProtectHome", "attempt-write-home"]),
        ("ProtectHome=read-only", ["unit-ProtectHome", "attempt-write-home"]),
    ],
    "ReadWritePaths": [
        (None, ["unit-ReadWritePaths", "attempt-write-leaf"]),
        ("ReadWritePaths=/var/lib/ollama-multigpu/instances", ["unit-ReadWritePaths", "attempt-write-sibling"]),
        ("ReadWritePaths=/srv", ["unit-ReadWritePaths", "attempt-write-elsewhere"]),
    ],
    "PrivateTmp": [(None, ["unit-PrivateTmp", "attempt-private-tmp"])],
    "ProtectControlGroups": [(None, ["unit-ProtectControlGroups", "attempt-read-only"])],
    "ProtectHostname": [(None, ["unit-ProtectHostname", "process-namespace-uts"])],
    "ProtectKernelLogs": [(None, ["unit-ProtectKernelLogs"])],
    "ProtectKernelModules": [(None, ["unit-ProtectKernelModules", "attempt-kernel-modules"])],
    "ProtectKernelTunables": [(None, ["unit-ProtectKernelTunables", "attempt-read-only"])],
    "LockPersonality": [(None, ["unit-LockPersonality", "attempt-personality"])],
    "RestrictAddressFamilies": [(None, ["unit-RestrictAddressFamilies", "attempt-packet-socket"])],
    "RestrictNamespaces": [(None, ["unit-RestrictNamespaces", "attempt-namespace"])],
    "RestrictRealtime": [(None, ["unit-RestrictRealtime"])],
    "RestrictSUIDSGID": [(None, ["unit-RestrictSUIDSGID", "attempt-set-user-id-file"])],
    "SystemCallArchitectures": [(None, ["unit-SystemCallArchitectures"])],
}
#: The same of instances that listen on a network.
NETWORK_LINES = {
    "ExecStartPre": [
        (None, ["unit-ExecStartPre"]),
        ("ExecStartPre=+-/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft", ["unit-ExecStartPre"]),
    ]
}
#: What else keeps others from these instances: (what is done, what takes it back, the finding).
RULES = (
    ("nft delete table inet ollama_multigpu", "systemctl reload ollama-firewall", "rules-port"),
    ("nft flush chain inet ollama_multigpu clients", "systemctl reload ollama-firewall", "rules-drop"),
    ("nft flush chain inet ollama_multigpu input", "systemctl reload ollama-firewall", "rules-port"),
    ("nft insert rule inet ollama_multigpu input accept", "systemctl reload ollama-firewall", "rules-accept"),
    ("nft 'add table inet ollama_multigpu { flags dormant; }'", "systemctl reload ollama-firewall", "rules-hook"),
    ("systemctl disable -q ollama-firewall", "systemctl enable -q ollama-firewall", "rules-unit"),
    ("systemctl stop ollama-firewall", "systemctl start ollama-firewall", "rules-unit"),
)
#: Files of root's that load these rules.
LOADERS = (
    "/etc/ollama-multigpu/firewall.nft",
    "/etc/systemd/system/ollama-firewall.service",
    "/etc/systemd/system/nftables.service.d/ollama-multigpu.conf",
)
#: Further values of variables; each of them is taken away, too.
VARIABLES = {
    "OLLAMA_HOST": [('OLLAMA_HOST="0.0.0.0:%(port)s"', ["environment-OLLAMA_HOST", "listens-loopback"])],
    "CUDA_VISIBLE_DEVICES": [('CUDA_VISIBLE_DEVICES="0"', ["environment-CUDA_VISIBLE_DEVICES"])],
    "OLLAMA_VULKAN": [('OLLAMA_VULKAN="1"', ["environment-OLLAMA_VULKAN"])],
    "OLLAMA_NO_CLOUD": [('OLLAMA_NO_CLOUD="0"', ["environment-OLLAMA_NO_CLOUD"])],
    "OLLAMA_KEEP_ALIVE": [('OLLAMA_KEEP_ALIVE="5m"', ["environment-OLLAMA_KEEP_ALIVE"])],
}


@dataclasses.dataclass(frozen=True)
class Loss:
    """Something that is taken away on a host.

    `name` says what, `change` and `back` are shell commands, `findings` have to appear (one of them where there is a
    `|`), and `restart` tells whether the
    instance is started again with it. `look` leaves out what the service itself tries.
    """

    name: str
    change: str
    back: str
    findings: tuple[str, ...]
    restart: bool = False
    look: bool = True

    def missed(self, names: set[str]) -> bool:
        """Whether the findings with these names are those that have to appear."""
        return all(names & set(finding.split("|")) for finding in self.findings)


class Host:
    """A converged host of the rig with an instance of this name, and the program that looks at it."""

    def __init__(self, container: str, instance: str, program: str = "protections.py"):
        self.container, self.instance = container, instance
        self._stale = False  # whether the instance was started with something missing
        self.sh("cat > %s" % CHECK, (SCENARIOS / "utils" / program).read_bytes())

    def sh(self, command: str, stdin: bytes = b"", check: bool = True) -> str:
        """Output of a shell command, as root."""
        done = podman("exec", "-i", self.container, "sh", "-c", command, stdin=stdin, check=check)
        return done.stdout.decode()

    def read(self, path: str) -> str:
        """Content of a file."""
        return self.sh("cat " + shlex.quote(path))

    def findings(self, look: bool = False) -> list[str]:
        """Lines of protections.py."""
        self._refresh()
        return self._findings(look)

    def _refresh(self) -> None:
        """Start the instance again where something was missing when it was started, and wait until it answers."""
        if self._stale:
            self.restart()
            self._findings(look=True)
            self._stale = False

    def _findings(self, look: bool) -> list[str]:
        told = self.sh("python3 %s %s; true" % (CHECK, "--look" if look else ""))
        return [line for line in told.splitlines() if line]

    def restart(self) -> None:
        """Let systemd read its files again and start the instance again, however that ends."""
        unit = "ollama@%s.service" % self.instance
        self.sh("systemctl daemon-reload; systemctl reset-failed %s; systemctl restart %s" % (unit, unit), check=False)

    def findings_without(self, loss: Loss) -> list[str]:
        """What protections.py tells while something is missing; afterwards it is there again.

        The instance is started again with it only before the next look.
        """
        if not loss.restart:
            self._refresh()
        self.sh(loss.change)
        try:
            if loss.restart:
                self.restart()
            self._stale = loss.restart
            return self._findings(loss.look)
        finally:
            self.sh(loss.back)

    def load(self) -> None:
        """Start the instance again, and wait for the end of the unit that loads its models, however that ends."""
        self.restart()
        self.sh("systemctl start ollama-ready@%s.service" % self.instance, check=False)

    def checked(self) -> str:
        """What the program of the host says once the instance was started again and its models are loaded."""
        self.load()
        return self.sh("ollama-multigpu check 2>&1; true")

    def losses(self) -> list[Loss]:
        """Everything that can be taken away."""
        return self._unit(UNIT_LINES) + self._environment() + self._files() + self._releases()

    def network_losses(self) -> list[Loss]:
        """What keeps others from instances that listen on a network; network_protections.py looks at it."""
        rules = [Loss("rules: " + change, change, back, (finding,)) for change, back, finding in RULES]
        gone = [
            Loss("rules: without " + one, "mv %s /run/x" % one, "mv /run/x " + one, ("file-" + one,)) for one in LOADERS
        ]
        owned = [
            Loss("rules: of others: " + one, "chown ollama " + one, "chown root " + one, ("file-" + one,))
            for one in LOADERS
        ]
        return self._unit(NETWORK_LINES) + rules + gone + owned

    def _unit(self, lines: dict[str, list]) -> list[Loss]:
        text = self.read(UNIT)
        losses = []
        for line in service_lines(text):
            key = line.partition("=")[0]
            for instead, findings in lines.get(key, []) if key not in UNPROTECTING else []:
                name = "unit: %s%s" % (line, " -> " + instead.replace("\n", ", ") if instead else "")
                # Another line of the same key goes, too, where the replacement has one.
                gone = [line] + [
                    other
                    for other in service_lines(text)
                    if other != line and instead and re.search("^%s=" % other.partition("=")[0], instead, re.MULTILINE)
                ]
                kept = [part for part in text.split("\n") if part not in gone]
                changed = "\n".join(kept).replace("[Service]\n", "[Service]\n%s" % (instead + "\n" if instead else ""))
                losses.append(
                    Loss(name, written(UNIT, changed), written(UNIT, text), tuple(findings), restart=True, look=False)
                )
        return losses

    def _environment(self) -> list[Loss]:
        path = ENVIRONMENT % self.instance
        text = self.read(path)
        losses = []
        for line in environment_lines(text):
            name = line.partition("=")[0]
            port = re.search(r"OLLAMA_HOST=.*:(\d+)", text)
            further = [(new % {"port": port and port[1]}, found) for new, found in VARIABLES.get(name, [])]
            for instead, findings in [("", ["environment-" + name]), *further]:
                losses.append(
                    Loss(
                        "environment: %s%s" % (line, " -> " + instead if instead else ""),
                        written(path, text.replace(line + "\n", instead and instead + "\n")),
                        written(path, text),
                        tuple(findings),
                        restart=True,
                    )
                )
        return losses

    def _files(self) -> list[Loss]:
        models = "/var/lib/ollama-multigpu"
        leaf = "%s/instances/%s" % (models, self.instance)
        environment = ENVIRONMENT % self.instance
        release = "%s/instances/%s" % (INSTALLATION, self.instance)
        engine = release + "/lib/ollama/llama-server"
        wanted = [
            ("/etc/ollama-multigpu", "chmod 0777"),
            ("/etc/ollama-multigpu/instances", "chown ollama"),
            ("/etc/ollama-multigpu/instances", "chmod 0775"),
            (environment, "chmod 0644"),
            (environment, "chown ollama"),
            ("/etc/ollama-multigpu/plan.json", "chmod 0644"),
            ("/etc/ollama-multigpu/plans", "chmod 0755"),
            ("/etc/ollama-multigpu/instances/%s.json" % self.instance, "chown ollama"),
            ("/usr/local/lib/ollama-multigpu/program/bin/ollama-multigpu", "chmod 0775"),
            ("/usr/local/lib/ollama-multigpu/program/bin/ollama-multigpu", "chown ollama"),
            ("/etc/systemd/system/ollama-ready@.service", "chmod 0666"),
            ("/etc/systemd/system/ollama-check.service", "chown ollama"),
            (UNIT, "chmod 0666"),
            (UNIT, "chown ollama"),
            ("/etc/ansible/facts.d/ollama_multigpu.fact", "chmod 0666"),
            ("/etc/ansible/facts.d", "chown ollama"),
            (models, "chmod 0777"),
            (models, "chown ollama"),
            (models + "/instances", "chown ollama"),
            (models + "/instances", "chmod 0777"),
            ("/var/lib", "chmod 0777"),
            (leaf, "chmod 0755"),
            (leaf, "chown root"),
            (leaf, "chgrp root"),
            (INSTALLATION, "chmod 0777"),
            (INSTALLATION + "/releases", "chown ollama"),
            (INSTALLATION + "/instances", "chown ollama"),
            (release + "/bin/ollama", "chown ollama"),
            (release + "/bin/ollama", "chmod 0775"),
            (engine, "chmod 4755"),
            (engine, "chmod 2755"),
        ]
        losses = []
        for path, command in wanted:
            real = self.sh("realpath " + path).strip()
            owner, group, mode = self.sh("stat -c '%%u %%g %%a' %s" % real).split()
            back = "chown %s:%s %s; chmod %s %s" % (owner, group, real, mode, real)
            losses.append(Loss("file: %s %s" % (command, path), "%s %s" % (command, real), back, ("file-" + real,)))
        for name, make in (("link", "ln -s /etc %s"), ("fifo", "mkfifo %s")):
            path = "%s/%s" % (leaf, name)
            losses.append(Loss("store: a %s" % name, make % path, "rm " + path, ("store-" + name,)))
        for finding, link in (
            ("current", INSTALLATION + "/current"),
            ("instances/" + self.instance, release),
            ("file-/usr/local/bin/ollama", "/usr/local/bin/ollama"),
        ):
            target = self.sh("readlink " + link).strip()
            losses.append(
                Loss(
                    "link: %s -> elsewhere" % link,
                    "mkdir -p /srv/other/bin; ln -sfn /srv/other %s" % link,
                    "ln -sfn %s %s; rm -r /srv/other" % (target, link),
                    (finding,),
                )
            )
        return losses

    def _releases(self) -> list[Loss]:
        """A release from before the floor that serves; it was put there by hand."""
        link = "%s/instances/%s" % (INSTALLATION, self.instance)
        there = self.sh("readlink " + link).strip()
        old = "%s/releases/0.32.9" % INSTALLATION
        program = base64.b64encode(zipapp("0.32.9")).decode()
        return [
            Loss(
                "release: 0.32.9 serves",
                "cp -a {link}/. {old}; echo {program} | base64 -d > {old}/bin/ollama; "
                "ln -sfn ../releases/0.32.9 {link}".format(link=link, old=old, program=program),
                "ln -sfn %s %s; rm -r %s" % (there, link, old),
                ("instances/" + self.instance, "version"),
                restart=True,
            )
        ]


def service_lines(text: str) -> list[str]:
    """The settings in the section [Service] of a unit."""
    section = text.partition("[Service]\n")[2].partition("\n[")[0]
    return [line for line in section.split("\n") if "=" in line and not line.startswith("#")]


def environment_lines(text: str) -> list[str]:
    """The variables in an environment file."""
    return [line for line in text.split("\n") if "=" in line and not line.startswith("#")]


def written(path: str, text: str) -> str:
    """A shell command that replaces the content of a file and keeps its owner and mode."""
    return "echo %s | base64 -d > %s" % (base64.b64encode(text.encode()).decode(), path)
