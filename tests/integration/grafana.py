# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What Grafana's own types for Python (grafana-foundation-sdk, generated from its schema) keep of a dashboard.

Grafana itself is in no Debian package and on no registry that tests may use. The wheel comes from the Python package
index of the machine, in one version, and is kept in the cache; it is not a part of the test environment.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from tests.integration.needed import not_run
from tests.rig.settings import cache_root, locked

VERSION = "1769699998!10.1.0"
#: Reads a dashboard and writes what the types have of it. A field that they do not know is lost.
_ROUND_TRIP = """
import json, sys
sys.path.insert(0, sys.argv[1])
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard
plugins.register_default_plugins()
print(encoder.JSONEncoder().encode(dashboard.Dashboard.from_json(json.load(sys.stdin))))
"""


def wheel() -> pathlib.Path:
    """The path of the wheel."""
    place = cache_root() / "grafana"
    with locked("grafana"):
        found = sorted(place.glob("grafana_foundation_sdk-%s-*.whl" % VERSION))
        if not found:
            what = "grafana-foundation-sdk==" + VERSION
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), what]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                not_run("%s cannot be fetched: %s" % (what, done.stderr.strip()[-300:]))
            found = sorted(place.glob("grafana_foundation_sdk-%s-*.whl" % VERSION))
        return found[0]


def kept(dashboard: dict) -> dict:
    """Return what Grafana's types have of a dashboard."""
    done = subprocess.run(
        [sys.executable, "-c", _ROUND_TRIP, str(wheel())],
        input=json.dumps(dashboard),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lost(before: object, after: object, path: str = "") -> list[str]:
    """Return the paths of what is in `before` and not the same in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            one
            for key, value in before.items()
            for one in (lost(value, after[key], "%s/%s" % (path, key)) if key in after else ["%s/%s" % (path, key)])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after))
        return [one for place, pair in pairs for one in lost(*pair, "%s/%d" % (path, place))]
    return [] if before == after else [path]
