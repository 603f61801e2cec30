# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

# Attributes shared by all modules. The name of a part is written after a dot:
#
#     extends_documentation_fragment:
#       - gpufleet.ollama.attributes                  # what every module must say itself
#       - gpufleet.ollama.attributes.actiongroup_all  # complete
#       - gpufleet.ollama.attributes.idempotent       # complete, for modules that change something
#
# A module that extends the first one gives C(support) for check_mode and diff_mode.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), in diff mode.
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: linux
"""

    IDEMPOTENT = r"""
options: {}
attributes:
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled or queried by the module has not changed in a relevant way.
    support: full
"""

    ACTIONGROUP_ALL = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/gpufleet.ollama.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - gpufleet.ollama.all
"""
