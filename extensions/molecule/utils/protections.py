# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Look at a host that the role has configured: does everything that protects it act?

Prints one line for each protection that does not, "name: what was found", and exits with status 1 if there is any. Runs
as root on the host, needs nothing but Python 3.9, and knows nothing of the collection's code: what is expected is
written here. It looks at what systemd, the kernel and the file system say, and starts an instance of ollama@.service
named `protections` whose program tries what must not work (not with the argument --look).
tests/integration/test_protections.py takes the protections away one by one and expects this program to name each.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import json
import os
import pwd
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time
import urllib.request

USER = "ollama"
UNIT = "/etc/systemd/system/ollama@.service"
#: Units that run the program of the host as root.
PROGRAM_UNITS = ("ollama-gpus.service", "ollama-ready@.service", "ollama-check.service", "ollama-check.timer")
PROGRAM = "/usr/local/lib/ollama-multigpu/program/bin/ollama-multigpu"
PROGRAM_COMMAND = "/usr/local/bin/ollama-multigpu"
VERDICT = "/var/lib/ollama-multigpu/verdict.json"
CONFIGURATION = "/etc/ollama-multigpu"
INSTALLATION = "/usr/local/lib/ollama-multigpu"
COMMAND = "/usr/local/bin/ollama"
FACTS = "/etc/ansible/facts.d/ollama_multigpu.fact"
#: The oldest release that may serve: blobs could stay unverified before it.
FLOOR = (0, 32, 10)
#: What the plan on the host has in place of a value that may be secret.
HIDDEN = "(hidden)"
PROBE = "protections"
#: A directory that every user may write, with what the attempts need, and what the attempts found.
GROUND = "/srv/protections"
ANSWERS = "/run/protections.json"
DROP_IN = "/run/systemd/system/ollama@%s.service.d" % PROBE

#: Properties of the instances, as systemd has them loaded: those that are only on, and the others.
SWITCHES = """NoNewPrivileges PrivateTmp PrivateMounts RemoveIPC LockPersonality ProtectClock ProtectControlGroups
    ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables RestrictNamespaces
    RestrictRealtime RestrictSUIDSGID"""
PROPERTIES = {
    **dict.fromkeys(SWITCHES.split(), "yes"),
    "User": USER,
    "Group": USER,
    "UMask": "0077",
    "LimitCORE": "0",
    "KillMode": "control-group",
    "Restart": "always",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectProc": "invisible",
    "SystemCallErrorNumber": "1",
    "SystemCallArchitectures": "native",
    "DevicePolicy": "closed",
    "DeviceAllow": "char-nvidia* rw, char-rtc r",
    "IPAddressDeny": "169.254.0.0/16 224.0.0.0/4 fe80::/64 ff00::/8",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_NETLINK AF_UNIX",
}
#: What `systemd-analyze security` may give the unit at most.
EXPOSURE = 1.9
#: Variables whose value is the same on every host with GPUs; the others are compared with the plan.
VARIABLES = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OLLAMA_VULKAN": "0", "OLLAMA_NO_CLOUD": "1", "OLLAMA_KEEP_ALIVE": "-1"}
#: What the attempts of the probe have to find.
FORBIDDEN = """privileged-call other-call other-device link-local multicast set-user-id-file raw-socket personality
    namespace"""
ATTEMPTS = {
    **dict.fromkeys(FORBIDDEN.split(), "EPERM"),
    "write-leaf": "works",
    "write-sibling": "EROFS",
    "write-elsewhere": "EROFS",
    "write-home": "EACCES",
    "read-only": [],
    "umask": "0600",
    "core": [0, 0],
    "processes": "hidden",
    "gpu-device": "reachable",
    "private-tmp": [],
    "set-user-id-program": "stays",
    "packet-socket": "EAFNOSUPPORT",
    "kernel-log": "refused",
    "kernel-modules": "refused",
}
_PR_READ_ONLY = ("/", "/usr", "/etc", "/var", "/proc/sys", "/sys", "/sys/fs/cgroup")
#: A device of no driver: opening it fails with ENXIO, and with EPERM where a service may not open devices.
NODE, _NUMBER = "/dev/protections", (499, 0)
#: The number of pidfd_getfd, which @system-service does not have, and which every process may use on itself.
_PIDFD_GETFD = 438


class Findings(list):
    """Lines "name: what was found"."""

    def expect(self, name, found, expected):
        """Add a line where something is not as expected."""
        if found != expected:
            self.append("%s: %r, not %r" % (name, found, expected))

    def require(self, name, condition, text):
        """Add a line where a condition does not hold."""
        if not condition:
            self.append("%s: %s" % (name, text))


def main(arguments):
    """Print the findings; return the exit status."""
    findings = Findings()
    with open(CONFIGURATION + "/plan.json", encoding="utf-8") as stream:
        plan = json.load(stream)
    checks = [lambda instance=instance: check_instance(findings, instance) for instance in plan["instances"]]
    checks += [lambda: check_files(findings, plan), lambda: check_programs(findings)]
    checks += [lambda: check_host_program(findings)]
    checks += [] if "--look" in arguments else [lambda: check_attempts(findings, plan)]
    for check in checks:
        try:
            check()
        except Exception as error:  # what makes a check fail is a finding, too
            findings.append("check: %s: %s" % (type(error).__name__, error))
    for finding in findings:
        print(finding)
    return 1 if findings else 0


def check_instance(findings, instance):
    """Compare a service with its unit's and environment's protections."""
    unit = "ollama@%s.service" % instance["name"]
    shown = show(unit)
    for name, value in PROPERTIES.items():
        findings.expect("unit-" + name, shown.get(name), value)
    calls = shown.get("SystemCallFilter", "~").split()
    listed = "chown" not in calls and "read" in calls and not calls[0].startswith("~")
    findings.require("unit-SystemCallFilter", listed, "it does not list the calls of a service alone")
    findings.expect("unit-ReadWritePaths", shown.get("ReadWritePaths"), instance["store"])
    findings.expect("unit-DropInPaths", shown.get("DropInPaths", ""), "")
    findings.require("exposure", exposure(unit) <= EXPOSURE, "systemd-analyze security gives %s more" % unit)
    pid = int(shown.get("MainPID") or 0)
    findings.require("serves", pid and shown.get("ActiveState") == "active", "%s is %s" % (unit, shown.get("SubState")))
    if pid:
        # It answers once it listens.
        findings.require("version", version_of(instance) >= FLOOR, "%s serves no release that may serve" % unit)
        check_process(findings, pid)
        check_environment(findings, pid, instance)
        check_listeners(findings, pid, instance)


def check_process(findings, pid):
    """Look at the rights of a process, as the kernel has them."""
    with open("/proc/%d/status" % pid, encoding="utf-8") as stream:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
    user = pwd.getpwnam(USER)
    findings.expect("process-user", status["Uid"].split(), [str(user.pw_uid)] * 4)
    findings.expect("process-group", status["Gid"].split(), [str(user.pw_gid)] * 4)
    allowed = {entry.gr_gid for entry in grp.getgrall() if entry.gr_name in (USER, "render", "video")}
    findings.require("process-groups", set(map(int, status["Groups"].split())) <= allowed, status["Groups"])
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        findings.expect("process-" + name, int(status[name], 16), 0)
    findings.expect("process-NoNewPrivs", status["NoNewPrivs"], "1")
    findings.expect("process-Seccomp", status["Seccomp"], "2")
    findings.expect("process-umask", status["Umask"], "0077")
    for name in ("mnt", "uts"):
        own = os.readlink("/proc/%d/ns/%s" % (pid, name)) != os.readlink("/proc/1/ns/" + name)
        findings.require("process-namespace-" + name, own, "it is the host's")


def check_environment(findings, pid, instance):
    """Look at the environment that a process was started with."""
    with open("/proc/%d/environ" % pid, "rb") as stream:
        pairs = (entry.partition("=") for entry in stream.read().decode("utf-8", "surrogateescape").split("\0"))
        found = {name: text for name, _equals, text in pairs if name}
    expected = dict(VARIABLES, HOME=instance["store"], OLLAMA_MODELS=instance["store"])
    expected["OLLAMA_MAX_LOADED_MODELS"] = str(len(instance["models"]))
    expected["CUDA_VISIBLE_DEVICES"] = ",".join(instance["gpu_uuids"])
    for name, value in expected.items():
        findings.expect("environment-" + name, found.get(name), value)
    for name, value in instance["environment"].items():
        if value == HIDDEN:
            findings.require("environment-" + name, name in found, "it is missing")
        else:
            findings.expect("environment-" + name, found.get(name), value)
    uuids = found.get("CUDA_VISIBLE_DEVICES", "").split(",")
    findings.require("environment-CUDA_VISIBLE_DEVICES", all(uuid.startswith("GPU-") for uuid in uuids), str(uuids))


def check_listeners(findings, pid, instance):
    """Look at the addresses that a process listens on."""
    inodes = set()
    for name in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(OSError):
            inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink("/proc/%d/fd/%s" % (pid, name))))
    addresses = []
    for family, size in (("tcp", 8), ("tcp6", 32)):
        with contextlib.suppress(FileNotFoundError), open("/proc/net/" + family, encoding="ascii") as stream:
            for fields in (line.split() for line in stream.readlines()[1:]):
                if fields[3] == "0A" and fields[9] in inodes:
                    address, port = fields[1][:size], int(fields[1][size + 1 :], 16)
                    addresses.append((address, port))
    loopback = ("0100007F", "0" * 24 + "01000000")
    findings.expect("listens-port", [port for _address, port in addresses], [instance["port"]])
    findings.require("listens-loopback", all(address in loopback for address, _port in addresses), str(addresses))


def version_of(instance):
    """The release that answers at an instance's address, as numbers; () where none does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen("http://127.0.0.1:%d/api/version" % instance["port"], timeout=60) as answer:
                return tuple(map(int, json.load(answer)["version"].partition("-")[0].split(".")))
        time.sleep(0.1)
    return ()


def show(unit):
    """{property: value} of a unit; one that comes several times has all of them, in order."""
    text = subprocess.run(["systemctl", "show", "--all", unit], stdout=subprocess.PIPE, check=True).stdout.decode()
    found = {}
    for name, _equals, value in (line.partition("=") for line in text.splitlines() if "=" in line):
        found.setdefault(name, []).append(value)
    shown = {name: ", ".join(sorted(values)) for name, values in found.items()}
    shown["IPAddressDeny"] = " ".join(sorted(shown.get("IPAddressDeny", "").split()))
    return shown


def exposure(unit):
    """What `systemd-analyze security` gives a unit, from 0 to 10."""
    text = subprocess.run(["systemd-analyze", "security", "--no-pager", unit], capture_output=True, check=False).stdout
    found = re.search(rb"exposure level for .*: ([0-9.]+) ", text)
    return float(found.group(1)) if found else 10.0


def check_files(findings, plan):
    """Look at owners and modes of the configuration and of the stores."""
    models = plan["models_dir"]
    for path in (CONFIGURATION, CONFIGURATION + "/instances", os.path.dirname(FACTS), models, models + "/instances"):
        expect_file(findings, path, "root:root 0755 directory")
    parent = os.path.dirname(models)
    while parent != "/":
        check_only_root_changes(findings, parent)
        parent = os.path.dirname(parent)
    expect_file(findings, UNIT, "root:root 0644 file")
    expect_file(findings, FACTS, "root:root 0644 file")
    expect_file(findings, CONFIGURATION + "/plan.json", "root:root 0640 file")
    expect_file(findings, CONFIGURATION + "/plans", "root:root 0700 directory")
    if os.path.lexists(CONFIGURATION + "/adopted.json"):
        expect_file(findings, CONFIGURATION + "/adopted.json", "root:root 0600 file")
    for instance in plan["instances"]:
        expect_file(findings, "%s/instances/%s.env" % (CONFIGURATION, instance["name"]), "root:%s 0640 file" % USER)
        expect_file(findings, "%s/instances/%s.json" % (CONFIGURATION, instance["name"]), "root:root 0640 file")
        expect_file(findings, instance["store"], "%s:%s 0750 directory" % (USER, USER))
        check_store(findings, instance["store"])


def check_store(findings, store):
    """Look for what a store must not hold."""
    for path in below(store):
        status = os.lstat(path)
        name = "store-" + os.path.relpath(path, store)
        is_plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        findings.require(name, is_plain, "is a link or special file")
        findings.expect(name, pwd.getpwuid(status.st_uid).pw_name, USER)
        findings.expect(name, oct(status.st_mode & 0o6022), "0o0")


def check_programs(findings):
    """Look at everything that root or the services run."""
    for path in (INSTALLATION, *below(INSTALLATION)):
        check_only_root_changes(findings, path)
    for path in (INSTALLATION, INSTALLATION + "/releases", INSTALLATION + "/instances", INSTALLATION + "/python"):
        if os.path.lexists(path):
            expect_file(findings, path, "root:root 0755 directory")
    check_link_to_release(findings, "current", "")
    for name in sorted(os.listdir(INSTALLATION + "/instances")):
        check_link_to_release(findings, "instances/" + name, "../")
    check_only_root_changes(findings, COMMAND)
    findings.expect("file-" + COMMAND, os.readlink(COMMAND), INSTALLATION + "/current/bin/ollama")


def check_host_program(findings):
    """Look at what runs as root between the runs of the role."""
    expect_file(findings, PROGRAM, "root:root 0755 file")
    findings.expect("file-" + PROGRAM_COMMAND, os.readlink(PROGRAM_COMMAND), PROGRAM)
    with open(PROGRAM, "rb") as stream:
        line = stream.readline().decode("ascii", "replace").split()
    # Isolated: no variable and no package of a user changes what root runs.
    findings.expect("program-isolated", line[1:], ["-I"])
    for name in PROGRAM_UNITS:
        expect_file(findings, os.path.dirname(UNIT) + "/" + name, "root:root 0644 file")
    for name in ("ollama-gpus.service", "ollama-check.service"):
        shown = show(name)
        findings.expect("unit-%s-NoNewPrivileges" % name, shown.get("NoNewPrivileges"), "yes")
        findings.expect("unit-%s-ProtectSystem" % name, shown.get("ProtectSystem"), "full")
    timer = show("ollama-check.timer")
    findings.expect("check-timer", (timer.get("ActiveState"), timer.get("UnitFileState")), ("active", "enabled"))
    if os.path.lexists(VERDICT):
        expect_file(findings, VERDICT, "root:root 0644 file")


def check_link_to_release(findings, name, above):
    """Look whether a link leads to a release that is not too old."""
    target = os.readlink("%s/%s" % (INSTALLATION, name))
    version = os.path.basename(target)
    findings.expect(name, target, "%sreleases/%s" % (above, version))
    findings.require(name, tuple(map(int, version.partition("-")[0].split("."))) >= FLOOR, version + " is too old")


def check_only_root_changes(findings, path):
    """Look whether a file belongs to root, cannot be written by others, and gives nobody root's rights."""
    status = os.lstat(path)
    findings.expect("file-" + path, (status.st_uid, status.st_gid), (0, 0))
    if stat.S_ISLNK(status.st_mode):
        inside = os.path.realpath(path).startswith((INSTALLATION + "/", INSTALLATION))
        findings.require("file-" + path, inside, "points to " + os.readlink(path))
    else:
        findings.expect("file-" + path, oct(status.st_mode & 0o6022), "0o0")


def expect_file(findings, path, expected):
    """Compare "owner:group mode kind" of a file."""
    try:
        status = os.lstat(path)
    except OSError as error:
        findings.append("file-%s: %s" % (path, error.strerror))
        return
    kind = "directory" if stat.S_ISDIR(status.st_mode) else "file" if stat.S_ISREG(status.st_mode) else "other"
    owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    found = "%s:%s %04o %s" % (owner, group, stat.S_IMODE(status.st_mode), kind)
    findings.expect("file-" + path, found, expected)


def below(top):
    """Every path below a directory."""
    for parent, directories, files in os.walk(top):
        for name in directories + files:
            yield os.path.join(parent, name)


def check_attempts(findings, plan):
    """Let an instance of the unit try what must not work."""
    text = ""
    with prepared(plan):
        subprocess.run(["systemctl", "start", "ollama@%s.service" % PROBE], check=False, capture_output=True)
        with contextlib.suppress(OSError), open(ANSWERS, encoding="utf-8") as stream:
            text = stream.read()
    try:
        answers = json.loads(text)
    except ValueError:
        findings.append("attempts: they ended early: %s" % text.strip().rpartition("\n")[2][:200])
        return
    for name, expected in ATTEMPTS.items():
        findings.expect("attempt-" + name, answers.get(name), expected)


@contextlib.contextmanager
def prepared(plan):
    """The probe's unit, environment and leaf, and what it tries to reach; all of it is gone afterwards."""
    user = pwd.getpwnam(USER)
    environment = "%s/instances/%s.env" % (CONFIGURATION, PROBE)
    modules = "/usr/lib/modules"
    tmp = ["/tmp/protections", "/var/tmp/protections"]
    sibling = plan["instances"][0]["store"]
    made = ["%s/instances/%s" % (plan["models_dir"], PROBE), GROUND, "/home/protections"]
    made += [] if os.path.exists(modules) else [modules]
    gone = [*made, *tmp, NODE, DROP_IN, environment, ANSWERS, sibling + "/protections"]
    remove(*gone)
    try:
        for path in made:
            os.mkdir(path, 0o755 if path == modules else 0o700)
            if path != modules:
                os.chown(path, user.pw_uid, user.pw_gid)
        os.chmod(GROUND, 0o777)
        shutil.copy("/usr/bin/id", GROUND + "/id")
        os.chmod(GROUND + "/id", 0o4755)
        shutil.copy(os.path.abspath(__file__), GROUND + "/probe.py")
        for path in tmp:
            write(path, "", 0o666)
        os.mknod(NODE, stat.S_IFCHR, os.makedev(*_NUMBER))
        os.chmod(NODE, 0o666)
        os.mkdir(DROP_IN)
        write(environment, "LEAF=%s\nSIBLING=%s\n" % (made[0], sibling), 0o640)
        command = "/usr/bin/python3 %s/probe.py --attempts" % GROUND
        lines = ["Type=oneshot", "Restart=no", "ExecStartPre=", "ExecStart=", "ExecStart=" + command]
        lines += ["StandardOutput=file:" + ANSWERS, "StandardError=file:" + ANSWERS]
        write(DROP_IN + "/probe.conf", "\n".join(["[Service]", *lines, ""]))
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        yield
    finally:
        remove(*gone)
        unit = "ollama@%s.service" % PROBE
        subprocess.run(["systemctl", "reset-failed", unit], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["systemctl", "daemon-reload"], check=True)


def write(path, text, mode=0o644):
    """Write a file with a mode."""
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)


def remove(*paths):
    """Remove files and directories."""
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)


def attempts():
    """As the service: try everything, print what came of it."""
    leaf = os.environ["LEAF"]
    libc = ctypes.CDLL(None, use_errno=True)
    read_only = [path for path in _PR_READ_ONLY if os.path.isdir(path)]
    answers = {
        "write-leaf": attempt(lambda: write(leaf + "/file", "x", 0o600)),
        "write-sibling": attempt(lambda: write(os.environ["SIBLING"] + "/protections", "x")),
        "write-elsewhere": attempt(lambda: write(GROUND + "/file", "x")),
        "write-home": attempt(lambda: write("/home/protections/file", "x")),
        "read-only": [path for path in read_only if not os.statvfs(path).f_flag & os.ST_RDONLY],
        "umask": umask(leaf + "/other"),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "processes": "seen" if os.path.exists("/proc/1") else "hidden",
        "privileged-call": attempt(lambda: os.chown(leaf + "/file", os.geteuid(), -1)),
        "other-call": attempt(lambda: call(libc.syscall, _PIDFD_GETFD, os.pidfd_open(os.getpid()), 1, 0)),
        "other-device": attempt(lambda: os.open(NODE, os.O_RDWR)),
        "gpu-device": reachable("/dev/nvidiactl"),
        "link-local": attempt(lambda: datagram("169.254.169.254")),
        "multicast": attempt(lambda: datagram("224.0.0.1")),
        "private-tmp": [path for path in ("/tmp/protections", "/var/tmp/protections") if os.path.exists(path)],
        "set-user-id-file": attempt(lambda: os.chmod(leaf + "/file", 0o4700)),
        "set-user-id-program": "stays" if effective_user(GROUND + "/id") == os.geteuid() else "root",
        "raw-socket": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)),
        "packet-socket": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "personality": attempt(lambda: call(libc.personality, 0x0008)),
        "namespace": attempt(lambda: call(libc.unshare, 0x10000000)),
        "kernel-log": attempt(lambda: os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK), "refused"),
        "kernel-modules": attempt(lambda: os.listdir("/usr/lib/modules"), "refused"),
    }
    print(json.dumps(answers))


def attempt(action, failed=""):
    """ "works", or the name of the error; `failed` for any error."""
    try:
        action()
    except OSError as error:
        return failed or errno.errorcode.get(error.errno, str(error))
    return "works"


def reachable(node):
    """ "reachable" where a device node can be opened, or only has no driver; else the name of the error."""
    found = attempt(lambda: os.close(os.open(node, os.O_RDWR)))
    return "reachable" if found in ("works", "ENXIO") else found


def datagram(address):
    """Send an empty datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", (address, 9))


def umask(path):
    """Mode of a new file, "" where there is none."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
        return "%04o" % stat.S_IMODE(os.stat(path).st_mode)
    return ""


def call(function, *arguments):
    """Call a function of the C library; OSError where it fails."""
    if function(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def effective_user(program):
    """The user that a program runs as."""
    answer = subprocess.run([program, "-u"], capture_output=True, check=False).stdout
    return int(answer) if answer.strip().isdigit() else os.geteuid()


if __name__ == "__main__":
    sys.exit(attempts() if sys.argv[1:] == ["--attempts"] else main(sys.argv[1:]))
