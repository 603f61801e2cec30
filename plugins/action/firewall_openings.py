# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_host import OnHost


class ActionModule(OnHost):
    """Run the module firewall_openings and return what it documents."""
