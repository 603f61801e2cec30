# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import NVML, REQUESTS
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.with_libraries import WithLibraries


class ActionModule(WithLibraries):
    """Run the module benchmark_untouched with its libraries brought along."""

    LIBRARIES = (REQUESTS, NVML)
