# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.loads_models import LoadsModels


class ActionModule(LoadsModels):
    """Run the module placement_check with its libraries brought along, and show how far models are loaded."""
