# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The image of a rig host: Debian or Ubuntu like the controller, minbase with systemd, python3, sudo and zstd."""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform
import subprocess
import tempfile
import uuid
from collections.abc import Sequence

from tests.rig.gpus import build
from tests.rig.hosts.podman import podman
from tests.rig.settings import RigError, cache_root, locked, require_programs, root_prefix

# A host has no package index: what the role ollama_gateway would install is there, and not started, and nft.
_OF_ROLES = ("haproxy", "openssl", "keepalived", "nftables")
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "sudo", "zstd", *_OF_ROLES)
REPOSITORY = "localhost/gpufleet-rig"
FILES = pathlib.Path(__file__).parent / "files"
# Nothing may run in the background and change the host; nothing may touch the controller's kernel (a host is
# privileged).
MASKED = (
    "systemd-modules-load.service",
    "systemd-sysctl.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "motd-news.timer",
    "console-getty.service",
    "getty@tty1.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-firstboot.service",
)
SETUP = """#!/bin/sh
set -eu
root="$1"
chroot "$root" useradd --create-home --shell /bin/bash rig
echo 'rig ALL=(ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/rig"
chmod 0440 "$root/etc/sudoers.d/rig"
install -m 0755 "@FILES@/rig-init" "$root/sbin/rig-init"
for unit in @MASKED@; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
rm -f "$root/etc/systemd/system/multi-user.target.wants/haproxy.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
: > "$root/etc/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/usr/share/doc/* "$root"/usr/share/man/* \
"$root"/etc/resolv.conf "$root"/etc/hostname
"""
#: Of an image with further packages: a test starts their services itself.
_SETUP_MORE = """\
rm -f "$root"/etc/systemd/system/multi-user.target.wants/firewalld.service
"""


def name(more: Sequence[str] = ()) -> str:
    """Tag of the image with further packages. It depends on the recipe, so that an old image is never used for a new
    recipe."""
    recipe = "\n".join([suite(), *PACKAGES, *more, *MASKED, _setup(more), (FILES / "rig-init").read_text()])
    return f"{REPOSITORY}:{suite()}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure(library_file: pathlib.Path | None = None, say=print, more: Sequence[str] = ()) -> str:
    """Return the name of the image, with the given library (a fake libnvidia-ml.so.1) in its library path, and with
    further packages of the distribution, whose services do not start by themselves.

    The image is built once (about half a minute), kept as an archive in the cache, and imported if podman has lost it.
    """
    with locked("image"):
        image = name(more)
        if not _exists(image):
            archive = cache_root() / "image" / (image.rsplit(":", 1)[1] + ".tar")
            if not archive.is_file():
                _build(archive, more, say)
            say(f"Importing the image of the rig's hosts as {image}.")
            podman(
                "import", "--change", 'CMD ["/sbin/rig-init"]', "--change", "STOPSIGNAL SIGRTMIN+3", str(archive), image
            )
        return image if library_file is None else _with_library(image, library_file)


def library() -> pathlib.Path:
    """The fake libnvidia-ml.so.1, compiled once per state of its source."""
    source = hashlib.sha256(build.SOURCE.read_bytes()).hexdigest()[:12]
    try:
        with locked("nvml"):
            return build.build_nvml(cache_root() / "nvml" / source)
    except (RuntimeError, subprocess.SubprocessError) as error:
        raise RigError(str(error)) from error


def library_path() -> str:
    """Path of libnvidia-ml.so.1 in the image, which is that of the driver package of the distribution."""
    return f"/usr/lib/{platform.machine()}-linux-gnu/libnvidia-ml.so.1"


def _setup(more: Sequence[str]) -> str:
    return SETUP + (_SETUP_MORE if more else "")


def _exists(image: str) -> bool:
    return podman("image", "exists", image, check=False).returncode == 0


def _with_library(base: str, library: pathlib.Path) -> str:
    image = f"{base}-{hashlib.sha256(library.read_bytes()).hexdigest()[:12]}"
    if not _exists(image):
        container = f"gpufleet-image-{uuid.uuid4().hex[:12]}"
        podman("create", "--name", container, base)
        try:
            podman("cp", str(library), f"{container}:{library_path()}")
            podman("commit", "--quiet", container, image)
        finally:
            podman("rm", "-f", container)
    return image


def _build(archive: pathlib.Path, more: Sequence[str], say) -> None:
    with tempfile.TemporaryDirectory(prefix="gpufleet-image-") as scratch:
        hook = pathlib.Path(scratch) / "setup"
        hook.write_text(_setup(more).replace("@FILES@", str(FILES)).replace("@MASKED@", " ".join(MASKED)))
        hook.chmod(0o755)
        bootstrap(archive, [*PACKAGES, *more], "the rig's hosts", say, hook)


def bootstrap(archive: pathlib.Path, packages, what: str, say, hook: pathlib.Path | None = None) -> None:
    """Make an archive of a system with these packages, of this machine's own distribution and apt sources.

    Args:
        archive: a tar that podman imports.
        packages: beside the smallest set.
        what: the image is for.
        say: takes a line for people.
        hook: a program that changes the root, which it gets as its argument.
    """
    require_programs("mmdebstrap")
    archive.parent.mkdir(parents=True, exist_ok=True)
    sources = _sources()
    say(
        f"Building the image of {what} ({suite()}: {', '.join(packages)}) from this machine's own apt sources; this "
        "takes about a minute, once."
    )
    partial = archive.with_name(f"{archive.name}.{os.getpid()}.partial")
    command = [
        *root_prefix(),
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        *([f'--customize-hook={hook} "$1"'] if hook else []),
        "--format=tar",
        suite(),
        "-",
        *sources,
    ]
    with partial.open("wb") as output:
        built = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, check=False)
    if built.returncode:
        partial.unlink(missing_ok=True)
        lines = built.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        raise RigError(f"mmdebstrap could not build the image of {what} from this machine's apt sources: {lines[-1]}")
    partial.replace(archive)


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return {key: value.strip('"') for key, unused, value in pairs}


def suite() -> str:
    """Code name of this machine's distribution."""
    codename = _os_release().get("VERSION_CODENAME")
    if not codename:
        raise RigError(
            "The rig builds its hosts from this machine's own Debian or Ubuntu, and /etc/os-release names no "
            "VERSION_CODENAME."
        )
    return codename


def _sources() -> list[str]:
    """deb lines of this machine's own distribution, as apt reads them from /etc/apt. Sources of other vendors are left
    out.
    """
    found = _index_targets()
    if not found:
        subprocess.run([*root_prefix(), "apt-get", "update", "-q"], capture_output=True, check=False)
        found = _index_targets()
    if not found:
        raise RigError(
            f"apt knows no source for {suite()} on this machine: check /etc/apt/sources.list and run 'apt-get update'."
        )
    return found


def _index_targets() -> list[str]:
    require_format = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(CREATED_BY)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", require_format], capture_output=True, text=True, check=False
    )
    lines = []
    for target in listed.stdout.splitlines():
        uri, release, component, origin, kind = target.split("|")
        # A security or updates suite is named after the codename in both distributions.
        if (
            kind == "Packages"
            and origin in ("Debian", "Ubuntu")
            and (release == suite() or release.startswith(suite() + "-"))
        ):
            lines.append(f"deb {uri} {release} {component}")
    return sorted(set(lines))
