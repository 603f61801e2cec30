# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Look at a host whose instances listen on a network: do the rules of who may connect act, now and at each start?

Prints one line for each thing that does not, "name: what was found", and exits with status 1 if there is any. Runs as
root on the host, needs nothing but Python 3.9, and knows nothing of the collection's code, as protections.py beside it.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
import subprocess
import sys

CONFIGURATION = "/etc/ollama-multigpu"
RULES = CONFIGURATION + "/firewall.nft"
RULES_UNIT = "ollama-firewall.service"
#: What loads the rules.
LOADERS = (RULES, "/etc/systemd/system/" + RULES_UNIT, "/etc/systemd/system/nftables.service.d/ollama-multigpu.conf")


def main():
    """Print the findings; return the exit status."""
    with open(CONFIGURATION + "/plan.json", encoding="utf-8") as stream:
        instances = json.load(stream)["instances"]
    findings = [finding for instance in instances for finding in of_start(instance["unit"])]
    findings += of_kernel([instance["port"] for instance in instances]) + of_unit()
    findings += [finding for path in LOADERS for finding in of_file(path)]
    print("\n".join(findings))
    return 1 if findings else 0


def of_start(unit):
    """Whether an instance loads the rules before it starts, and does not start where that fails."""
    wanted = "argv[]=/usr/sbin/nft -f %s ; ignore_errors=no" % RULES
    return [] if wanted in show(unit)["ExecStartPre"] else ["unit-ExecStartPre: %s starts without the rules" % unit]


def of_kernel(ports):
    """Whether the rules that are loaded see what comes in, are for all ports, end with a drop, and let through nobody
    but the host itself and networks."""
    listed = subprocess.run(["nft", "list", "table", "inet", "ollama_multigpu"], capture_output=True, check=False)
    text = listed.stdout.decode()
    found = re.search(r"tcp dport (\{.*?\}|\d+) jump clients", text)
    guarded = re.findall(r"\d+", found.group(1)) if found else []
    findings = ["rules-port: nothing guards port %s" % port for port in ports if str(port) not in guarded]
    if not re.search(r"(?m)^\s*counter .*drop$", text):
        findings.append("rules-drop: who is not listed is let through")
    if "hook input priority filter; policy accept;" not in text or "flags" in text:
        findings.append("rules-hook: the rules do not see what comes in")
    accepts = [line.strip() for line in text.splitlines() if line.strip().endswith("accept")]
    others = [line for line in accepts if not re.match(r'iifname "lo" accept$|ip6? saddr (\{.*\}|\S+) accept$', line)]
    return findings + ["rules-accept: %s" % line for line in others]


def of_unit():
    """Whether the unit that loads the rules has run and runs at boot."""
    found = show(RULES_UNIT)
    states = (found["ActiveState"], found["UnitFileState"])
    return [] if states == ("active", "enabled") else ["rules-unit: %s is %s and %s" % (RULES_UNIT, *states)]


def of_file(path):
    """Whether a file is root's, and nobody else can write it."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return ["file-%s: %s" % (path, error.strerror)]
    found = (pwd.getpwuid(status.st_uid).pw_name, "%o" % stat.S_IMODE(status.st_mode), stat.S_ISREG(status.st_mode))
    return [] if found == ("root", "644", True) else ["file-%s: %s" % (path, found)]


def show(unit):
    """{property: value} of a unit; "" for one that it does not have."""
    names = ("ActiveState", "UnitFileState", "ExecStartPre")
    command = ["systemctl", "show", "--all", "--property=" + ",".join(names), unit]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
    return {**dict.fromkeys(names, ""), **dict(line.split("=", 1) for line in text.splitlines() if "=" in line)}


if __name__ == "__main__":
    sys.exit(main())
