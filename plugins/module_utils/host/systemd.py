# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What systemd knows about Ollama's units, read with one systemctl call and from the unit files themselves."""

from __future__ import annotations

import glob
import os
import re
import shlex
import subprocess

from .command import ask

EXISTING_UNIT = "ollama.service"
INSTANCE_PATTERN = "ollama@*.service"
#: Where an administrator's drop-ins for our units may lie; the collection itself writes none.
UNIT_DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system")
_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths"
_INSTANCE = re.compile(r"ollama@(.+)\.service\Z")


def show_units():
    """{unit: {property: text}} of ollama.service and of every loaded instance. Empty where systemd does not answer (a container without it)."""
    try:
        output = ask(
            ["systemctl", "show", "--no-pager", "--property=" + _PROPERTIES, EXISTING_UNIT, INSTANCE_PATTERN],
            timeout=30,
        )[1]
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_show(output)


def parse_show(text):
    """{unit: {property: text}} of the output of `systemctl show`: blocks of key=value lines, one empty line between blocks."""
    units = {}
    for block in text.split("\n\n"):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if properties.get("Id"):
            units[properties["Id"]] = properties
    return units


def instance_of(unit):
    """ "gpu0-1" of "ollama@gpu0-1.service"; None for other units."""
    match = _INSTANCE.match(unit or "")
    return match.group(1) if match else None


def enabled_instances(root="/"):
    """Names of the instances that start at boot: links in the wants directories, also of units that are not loaded."""
    links = glob.glob(os.path.join(root, "etc/systemd/system/*.wants", INSTANCE_PATTERN))
    return {instance_of(os.path.basename(link)) for link in links}


def drop_ins(root="/"):
    """[{path, unit}] of the drop-ins that change our units and that the collection did not write: all that there are and that are not empty."""
    found = []
    for directory in UNIT_DIRECTORIES:
        pattern = os.path.join(root, directory.lstrip("/"), "ollama@*.service.d", "*.conf")
        for path in sorted(glob.glob(pattern)):
            found.append({"path": path, "unit": os.path.basename(os.path.dirname(path))[: -len(".d")]})
    return found


def environment_of(paths):
    """Environment variables that the unit files `paths` (the unit first, then its drop-ins in their order) set with Environment= and
    EnvironmentFile=, as systemd.exec(5) reads them: an empty assignment forgets what came before. Files that cannot be read count as empty."""
    variables, files = {}, []
    for path in paths:
        for key, value in _assignments(path):
            if key == "Environment":
                if not value:
                    variables = {}
                variables.update(_pairs(_words(value.replace("%%", "%"))))
            elif key == "EnvironmentFile":
                files = files + [value.lstrip("-")] if value else []
    for path in files:
        variables.update(_pairs(_file_lines(path)))
    return variables


def user_of(paths):
    """The User= of the unit files `paths`, "root" where none sets it."""
    users = [value for path in paths for key, value in _assignments(path) if key == "User" and value]
    return users[-1] if users else "root"


def _assignments(path):
    """[(key, value)] of a unit file; a line that ends in a backslash goes on in the next one."""
    text = re.sub(r"\\\n", " ", _read(path))
    lines = [line.strip() for line in text.splitlines()]
    return [
        tuple(part.strip() for part in line.split("=", 1)) for line in lines if "=" in line and line[0] not in "#;["
    ]


def _file_lines(path):
    """The assignments of an environment file, unquoted; comments and lines that cannot be read are left out."""
    lines = [line.strip() for line in _read(path).splitlines()]
    return [word for line in lines if line and line[0] not in "#;" for word in _words(line)[:1]]


def _words(text):
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is never closed: systemd ignores such a line as well
        return []


def _pairs(words):
    return dict(word.split("=", 1) for word in words if "=" in word)


def _read(path):
    try:
        with open(path, "r", encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""
