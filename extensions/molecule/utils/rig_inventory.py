#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Dynamic inventory: the rig's hosts of the running scenario, once they are made."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


def main():
    # As rig_set in rig.yml.
    scenario = os.environ["MOLECULE_SCENARIO_NAME"].replace("_", "-")
    name = (os.environ.get("GPUFLEET_SET") or "molecule") + "-" + scenario
    answer = subprocess.run(
        [sys.executable, "-m", "tests.rig", "--set", name, "inventory"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    # Before the hosts are made there is no inventory.
    group = (
        {}
        if answer.returncode
        else yaml.safe_load(pathlib.Path(answer.stdout.strip()).read_text(encoding="utf-8")).get("rig") or {}
    )
    hosts = group.get("hosts") or {}
    print(json.dumps({"rig": {"hosts": sorted(hosts), "vars": group.get("vars") or {}}, "_meta": {"hostvars": hosts}}))


if __name__ == "__main__":
    main()
