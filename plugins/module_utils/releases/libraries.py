# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which CUDA libraries an Ollama release has, the GPUs that each is built for, and the driver that it needs.

The libraries and their sources are in engine_table.py. From 0.30 on the server starts the engine once with each of them
and keeps a GPU only where the library's list of architectures has exactly its compute capability
(discover/llama_server.go, `parseLlamaServerDevicesWithNative`): code for another capability of the same generation does
not count, although CUDA would run it.

Sources: discover/runner.go (`GPUDevices`, `filterOverlapByLibrary`), the same at every release tag from 0.30.0 to
0.33.0-rc2.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Optional, Sequence

from ..common.service_variables import Version, version_text
from . import engine_table
from .engine_table import NEWEST_READ, Capability, Library

_NAME = re.compile(r"(cuda_[a-z]+)([0-9]+(?:_[0-9]+)*)\Z")  # cuda_v13, cuda_jetpack6


@dataclasses.dataclass(frozen=True)
class RefusedGpu:
    """Why a release does not use a GPU.

    Attributes:
        reason: what is wrong and what to do, without a full stop.
        lasting: whether nothing on the host changes that, as another driver would.
        advice: what to do, where work on the host helps.
    """

    reason: str
    lasting: bool
    advice: str = ""


def compute_capability(text: Any) -> Optional[Capability]:
    """Return a compute capability as numbers: "8.6" is (8, 6); None for what is none, or is not known.

    Args:
        text: of the facts of a GPU.
    """
    parts = str(text or "").split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else None


def of_release(version: Version) -> tuple[Library, ...]:
    """The CUDA libraries of a release from 0.30 on, the one that the server prefers first."""
    return engine_table.of(version).libraries


def names(version: Version) -> list[str]:
    """Names of the CUDA libraries of a release, as OLLAMA_LLM_LIBRARY takes them."""
    return sorted(library.name for library in of_release(version))


def least_driver(version: Version, capability: Optional[Capability]) -> Optional[int]:
    """Return the least major version of the driver with which a release from 0.30 on uses a GPU; None where no library
    of its main archive is built for it, or the GPU is not known.

    Args:
        version: the Ollama version.
        capability: compute capability of the GPU.
    """
    able = [one for one in of_release(version) if not one.archive and capability and one.built_for(capability)]
    return min((library.driver_for(capability) for library in able), default=None)


def may_be_new(version: Version, name: str) -> bool:
    """Whether only a release that was not read may have a library: none that was read has one of its kind as new.

    Args:
        version: the Ollama version.
        name: of the library, as OLLAMA_LLM_LIBRARY gives it.
    """
    match = _NAME.match(name)
    if version <= NEWEST_READ or match is None:
        return False
    read = [_NAME.match(library.name) for row in engine_table.TABLE for library in row.libraries]
    return all(_number(match) > _number(other) for other in read if other and other.group(1) == match.group(1))


def _number(match: "re.Match[str]") -> tuple[int, ...]:
    """The CUDA or JetPack version in the name of a library."""
    return tuple(int(part) for part in match.group(2).split("_"))


def doubted_library(version: Version, name: str) -> Optional[str]:
    """What is not known of a library on a release that is newer than those that were read, or None."""
    if not may_be_new(version, name):
        return None
    return (
        "whether Ollama %s has the CUDA library %s, and for which GPUs and drivers, is not known here; %s has %s. "
        "Without it the GPUs are not used, which the verification finds"
        % (version_text(version), name, version_text(NEWEST_READ), ", ".join(names(NEWEST_READ)))
    )


def driver_major(driver_version: Optional[str]) -> Optional[int]:
    """Major version of the NVIDIA driver, or None where it is not known."""
    major = (driver_version or "").split(".")[0]
    return int(major) if major.isdigit() else None


def usable(
    version: Version, capability: Optional[Capability], driver: Optional[int], requested: str = ""
) -> tuple[str, ...]:
    """Names of the libraries with which the server uses a GPU, the one that it prefers first.

    The libraries of JetPack count only where they are requested: no main archive has them. A GPU that only a release
    which is newer than those read may know counts as known to its newest library (`doubted_gpu`), and a library that
    only such a release may have as good for every GPU (`may_be_new`).

    Args:
        version: the Ollama version.
        capability: the GPU's compute capability, or None where it is not known.
        driver: major version of the NVIDIA driver, or None where it is not known.
        requested: OLLAMA_LLM_LIBRARY, "" where unset.
    """
    if may_be_new(version, requested):
        return (requested,)
    listed = of_release(version)
    if _gpu_may_be_new(version, capability):
        listed, capability = listed[:1], None
    return tuple(
        library.name
        for library in listed
        if (library.name == requested if requested else not library.archive) and library.takes(capability, driver)
    )


def taken(libraries: Sequence[Sequence[str]]) -> list[str]:
    """The library that the server takes for each of several GPUs that it sees together.

    It looks for a library with which every GPU works that works with any; where there is none it keeps the oldest one
    for all GPUs that work with that, although a newer one may work with all (`filterOverlapByLibrary`).

    Args:
        libraries: for each GPU what `usable` returns; GPUs that work with none are not among them.
    """
    found = sorted({name for names_of_gpu in libraries for name in names_of_gpu}, reverse=True)
    alike = all(set(names_of_gpu) == set(found) for names_of_gpu in libraries)
    kept = found[0] if alike else found[-1]
    return [kept if kept in names_of_gpu else max(names_of_gpu) for names_of_gpu in libraries]


def refused_gpu(
    version: Version, capability: Optional[Capability], driver_version: Optional[str], requested: str = ""
) -> Optional[RefusedGpu]:
    """Why this release does not use an NVIDIA GPU (it leaves such a GPU out without an error), or None.

    Args:
        version: the Ollama version.
        capability: the GPU's compute capability, or None where it is not known.
        driver_version: text, for example "580.95.05", or None where it is not known.
        requested: OLLAMA_LLM_LIBRARY, "" where unset.
    """
    driver = driver_major(driver_version)
    if usable(version, capability, driver, requested):
        return None
    without = usable(version, capability, driver) if requested else ()
    if without:
        return RefusedGpu(
            "OLLAMA_LLM_LIBRARY %s leaves it out, as that library of Ollama %s is not for %s; leave the variable out, "
            "or give %s" % (requested, version_text(version), _shown(capability, driver_version), " or ".join(without)),
            lasting=True,
        )
    main = [library for library in of_release(version) if not library.archive]
    able = [library for library in main if capability is None or library.built_for(capability)]
    if not able:
        return RefusedGpu(_not_built(version, capability or (), driver), lasting=True)
    needed = min(library.driver_for(capability) for library in able)
    later = _first_later(version, capability, driver)
    advice = work = "use driver %d%s" % (needed, " or Ollama %s" % version_text(later) if later else "")
    jetpack = next((one for one in of_release(version) if one.archive and capability in one.machine_code), None)
    if jetpack:
        advice += "; JetPack 7 has such a driver, and %s for older ones is in %s, which is not installed" % (
            jetpack.name,
            jetpack.archive,
        )
    what = "compute capability %s" % _text(capability) if capability else "an NVIDIA GPU"
    return RefusedGpu(
        "Ollama %s does not use %s below driver %d, and the host has %s; %s"
        % (version_text(version), what, needed, driver_version, advice),
        lasting=False,
        advice=work,
    )


def doubted_gpu(version: Version, capability: Optional[Capability]) -> Optional[str]:
    """What is not known of a GPU on a release that is newer than those that were read, or None; without a full stop."""
    if not _gpu_may_be_new(version, capability):
        return None
    return "whether Ollama %s has a CUDA library for compute capability %s is not known here; %s has none" % (
        version_text(version),
        _text(capability),
        version_text(NEWEST_READ),
    )


def _gpu_may_be_new(version: Version, capability: Optional[Capability]) -> bool:
    """Whether only a release that was not read may be built for a GPU: it is newer than all that are known here."""
    if version <= NEWEST_READ or capability is None:
        return False
    return capability > max(one for library in of_release(version) for one in _all(library))


def _not_built(version: Version, capability: Capability, driver: Optional[int]) -> str:
    """The reason where no main library is built for a GPU."""
    every = sorted({one for library in of_release(version) if not library.archive for one in _all(library)})
    if capability < every[0]:
        return "Ollama needs compute capability %s, it has %s" % (_text(every[0]), _text(capability))
    jetpack = next((one for one in of_release(version) if one.archive and one.built_for(capability)), None)
    later = _first_later(version, capability, driver)
    advice = "use Ollama %s" % version_text(later) if later else "use another GPU"
    if jetpack:
        found = "its %s is, in %s, which is not installed" % (jetpack.name, jetpack.archive)
        advice = "%s; %s" % (advice, found) if later else found
    return "no CUDA library of Ollama %s is built for compute capability %s (they are for %s); %s" % (
        version_text(version),
        _text(capability),
        ", ".join(_text(one) for one in every),
        advice,
    )


def _all(library: Library) -> tuple[Capability, ...]:
    return library.machine_code + library.ptx


def _first_later(version: Version, capability: Optional[Capability], driver: Optional[int]) -> Optional[Version]:
    """The first later release that uses such a GPU with such a driver, or None."""
    later = [row.first for row in reversed(engine_table.TABLE) if row.first > version]
    return next((since for since in later if usable(since, capability, driver)), None)


def _text(capability: Optional[Capability]) -> str:
    return ".".join(str(part) for part in capability or ())


def _shown(capability: Optional[Capability], driver_version: Optional[str]) -> str:
    parts = ["compute capability %s" % _text(capability)] if capability else []
    return " with ".join(parts + (["driver %s" % driver_version] if driver_version else [])) or "it"
