# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The content of a set's server: the models of the rig and release archives, in the layout of registry/store.py."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

from tests.rig.models import store
from tests.rig.ollama import build_archive
from tests.rig.settings import RigError, find_program

VERSION = "0.32.15"


def given_archive() -> tuple[pathlib.Path, str] | None:
    """The archive of $OLLAMA_ARCHIVE and its version; None where the variable is not set."""
    given = os.environ.get("OLLAMA_ARCHIVE")
    if not given:
        return None
    if not pathlib.Path(given).is_file():
        raise RigError(
            f"OLLAMA_ARCHIVE names '{given}', which is no file: give the path of a downloaded "
            "ollama-linux-amd64.tar.zst, or unset it."
        )
    try:
        return pathlib.Path(given), build_archive.version_of(pathlib.Path(given))
    except (OSError, SystemExit) as error:
        raise RigError(f"OLLAMA_ARCHIVE names no archive of a release: {error}.") from error


def default_version() -> str:
    """The version that is offered where none is asked for: that of $OLLAMA_ARCHIVE, or of the double."""
    given = given_archive()
    return given[1] if given else VERSION


def prepare(directory: pathlib.Path, versions: list[str], say=print) -> dict[str, str]:
    """Write models and the releases of these versions into the directory.

    Returns the inventory variables {name: path on the server} of the first version. Each release is the double with
    that version; the one that $OLLAMA_ARCHIVE has is its archive, with the engine stand-in in it. "VERSION=FAULT" is
    the double as a release that fails (ollama/double/version.py).
    """
    for name in store.names():
        model, unused, tag = name.partition(":")
        for blob in store.blobs(name):
            store.write_blob(name, blob, directory / "blobs")
        path = directory / "manifests" / "library" / model / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.manifest(name))
    for version in versions:
        _release(directory / "releases" / f"v{number(version)}", version, say)
    place = f"releases/v{number(versions[0])}"
    return {
        "rig_release_url": place,
        "rig_checksum_url": f"{place}/sha256sum.txt",
        "rig_archive_url": f"{place}/{build_archive.NAME}",
    }


def checksums(directory: pathlib.Path, versions: list[str]) -> dict[str, str]:
    """SHA-256 of the archives of these versions, which `prepare` has written into the directory."""
    return {
        version: (directory / "releases" / f"v{version}" / "sha256sum.txt").read_text(encoding="ascii").split()[0]
        for version in map(number, versions)
    }


def number(version: str) -> str:
    """The version of "VERSION=FAULT" or "VERSION"."""
    return version.partition("=")[0]


def _release(directory: pathlib.Path, version: str, say) -> None:
    version, _equals, fault = version.partition("=")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)+[0-9A-Za-z.-]*", version):
        raise RigError(f"'{version}' is no version of Ollama: write it as {VERSION}.")
    if not find_program("zstd"):
        raise RigError(
            "The release archive needs zstd, which this machine lacks: run 'apt-get install -y zstd' as root and try "
            "again."
        )
    given = given_archive()
    real = given[0] if given and given[1] == version and not fault else None
    try:
        build_archive.build(directory, version, real=real, fault=fault)
    except (OSError, RuntimeError, subprocess.SubprocessError, SystemExit) as error:
        raise RigError(f"The release archive of {version} could not be made: {error}") from error
    say(
        f"Offering Ollama {version}: "
        + (
            f"{real} with the engine stand-in in place of its llama-server."
            if real
            else "the double, not the real program%s." % (f", which fails: {fault}" if fault else "")
        )
    )
