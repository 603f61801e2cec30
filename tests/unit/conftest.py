# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Property tests draw the same examples each time, so that a change is judged by
itself; GPUFLEET_EXAMPLES=2000 draws that many new ones.
"""

from __future__ import annotations

import os

import hypothesis

hypothesis.settings.register_profile("gpufleet", derandomize="GPUFLEET_EXAMPLES" not in os.environ)
hypothesis.settings.load_profile("gpufleet")
