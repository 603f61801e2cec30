# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import NVML
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.with_libraries import WithLibraries


class ActionModule(WithLibraries):
    """Run the module gpu_facts with its library brought along."""

    LIBRARIES = (NVML,)

    def without_library(self, outcome, problem):
        """Facts do not fail for a missing library (state no_binding): they say what the controller cannot send."""
        inventory = (outcome.get("ansible_facts") or {}).get("gpu_inventory")
        if outcome.get("failed") or not inventory:
            return super().without_library(outcome, problem)
        inventory["reason"], _colon, remedy = problem.rpartition(": ")
        inventory["remedy"] = remedy[:1].upper() + remedy[1:]
        return outcome
