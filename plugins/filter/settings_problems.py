# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: settings_problems
short_description: Say what is wrong with the role's variables
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Finds what the role's argument specification cannot - variables with the role's prefix that it does not know, ports, paths, addresses,
    environment variables that cannot be written, and what C(optimized) may hold.
options:
  _input:
    description: The values of the role's variables, by their names.
    type: dict
    required: true
  names:
    description: Names of all variables with the role's prefix.
    type: list
    elements: str
    required: true
  decided:
    description: Environment variables that the plan decides and that a user therefore may not set.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.fail:
    msg: "{{ problems | join(' ') }}"
  vars:
    settings: {ollama_multigpu_base_port: 70000}
    problems: "{{ settings | gpufleet.ollama.settings_problems(['ollama_multigpu_base_prot'], []) }}"
  when: problems | length > 0
"""

RETURN = r"""
_value:
  description: One sentence for each problem; empty where there is none.
  type: list
  elements: str
"""

import difflib
import re

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses

HIGHEST_PORT = 65535
_PATH = re.compile(r"(/[A-Za-z0-9._@+-]+)+\Z")
_VERSION = re.compile(r"\d+\.\d+\.\d+(-rc\d+)?\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?\Z")
#: The dynamic linker reads them before the program: what runs would not be the release that was verified, or another CUDA than its own.
_LINKER = re.compile(r"LD_[A-Z_]+\Z")
#: Keys of a model's `optimized`: what their values are in YAML, and an example.
_OPTIMIZED = {
    "suffix": (str, "a text"),
    "parameters": (dict, "a mapping such as {temperature: 0.3}"),
    "system": (str, "a text"),
    "template": (str, "a text"),
}
_CHECKSUM = re.compile(r"((sha256:)?[0-9a-fA-F]{64}|https?://\S+)\Z")


def settings_problems(settings, names, decided):
    """Sentences about `settings` ({variable: value}); `names` are all variables that carry the role's prefix, `decided` the plan's own
    environment variables."""
    problems = [_unknown(name, settings) for name in sorted(set(names) - set(settings))]

    def value(name):
        return settings.get("ollama_multigpu_" + name)

    port = value("base_port")
    if port is not None and not (str(port).isdigit() and 1 <= int(port) <= HIGHEST_PORT):
        problems.append(
            "ollama_multigpu_base_port is %s: give a port between 1 and %d (Ollama itself would silently take 11434)."
            % (port, HIGHEST_PORT)
        )
    models_dir = value("models_dir")
    if models_dir and (not _PATH.match(str(models_dir).rstrip("/")) or ".." in str(models_dir).split("/")):
        problems.append(
            "ollama_multigpu_models_dir is %r: give an absolute path made of letters, digits and . _ @ + - without '..'."
            % (models_dir,)
        )
    version = value("version")
    if version is not None and not _VERSION.match(str(version)):
        problems.append(
            "ollama_multigpu_version is %r: give a release of Ollama such as 0.32.15, without a leading v." % (version,)
        )
    if value("release_url") and not _URL.match(str(value("release_url"))):
        problems.append(
            "ollama_multigpu_release_url is %r: give the http or https address of the directory that holds the archives."
            % (value("release_url"),)
        )
    if value("release_checksum") and not _CHECKSUM.match(str(value("release_checksum"))):
        problems.append(
            "ollama_multigpu_release_checksum is %r: give the archive's SHA-256 (64 hexadecimal digits) or the address of a sha256sum.txt."
            % (value("release_checksum"),)
        )
    if value("listen_address") is not None:
        problems += _address(str(value("listen_address")))
    if value("headroom_bytes") is not None and str(value("headroom_bytes")).isdigit() is False:
        problems.append(
            "ollama_multigpu_headroom_bytes is %r: give a number of bytes, 0 or more." % (value("headroom_bytes"),)
        )
    for name, text in (value("environment") or {}).items():
        problems += _environment(str(name), text, decided)
    if "ollama_multigpu_models" in settings and not value("models"):
        problems.append("ollama_multigpu_models is empty: name at least one model to serve.")
    models = [model for model in value("models") or [] if isinstance(model, dict)]
    for model in models:
        problems += _optimized(model.get("name"), model.get("optimized"))
    names = [model.get("name") for model in models]
    for name in sorted({str(name) for name in names if names.count(name) > 1}):
        problems.append(
            "ollama_multigpu_models names %s more than once: give one entry for it, with replicas for several copies."
            % name
        )
    return problems


def _unknown(name, settings):
    close = difflib.get_close_matches(name, list(settings), n=1, cutoff=0.7)
    remedy = "did you mean %s?" % close[0] if close else "remove it; the role's README lists its variables."
    return "%s is not a variable of this role: %s" % (name, remedy)


def _optimized(name, optimized):
    """Problems of a model's `optimized`. The argument specification leaves it to this: its own words for a value of another type help nobody."""
    if optimized is None:
        return []
    key = "ollama_multigpu_models: optimized of %s" % name
    if not isinstance(optimized, dict):
        return [
            "%s is %s: give a mapping with %s, {} for the planned parameters alone, or leave it out."
            % (key, str(optimized).lower() if isinstance(optimized, bool) else repr(optimized), ", ".join(_OPTIMIZED))
        ]
    problems = []
    for part, given in optimized.items():
        kind, what = _OPTIMIZED.get(part, (None, None))
        if kind is None:
            problems.append("%s has the unknown key %s: it takes %s." % (key, part, ", ".join(_OPTIMIZED)))
        elif given is not None and not isinstance(given, kind):
            problems.append("%s: %s is %r: give %s." % (key, part, given, what))
    return problems


def _address(value):
    if addresses.ip_address(str(value)):
        return []
    return ["ollama_multigpu_listen_address is %r: give an IP address of the host, such as 127.0.0.1." % str(value)]


def _environment(name, text, decided):
    if not _VARIABLE.match(name):
        return [
            "ollama_multigpu_environment holds the name %r: a variable is made of letters, digits and underscores."
            % name
        ]
    if name in decided:
        return [
            "ollama_multigpu_environment sets %s, which the plan decides: remove it and use the role's own variables."
            % name
        ]
    if _LINKER.match(name):
        return [
            "ollama_multigpu_environment sets %s, which changes the programs and libraries that were verified: remove it."
            % name
        ]
    if isinstance(text, (dict, list)) or text is None:
        return ["ollama_multigpu_environment gives %s no plain value: write a string or a number." % name]
    if any(ord(character) < 32 and character != "\t" or ord(character) == 127 for character in str(text)):
        return [
            "ollama_multigpu_environment gives %s a value with a newline or another control character, which no environment file can carry: "
            "remove it." % name
        ]
    return []


class FilterModule:
    def filters(self):
        return {"settings_problems": settings_problems}
