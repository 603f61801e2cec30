# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Property tests use the same examples in every run, so that only the change under test decides, and have as much time
as a busy machine takes.

GPUFLEET_EXAMPLES=2000 uses that many new ones.
"""

from __future__ import annotations

import os

import hypothesis

hypothesis.settings.register_profile(
    "gpufleet",
    derandomize="GPUFLEET_EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("gpufleet")
