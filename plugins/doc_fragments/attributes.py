# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

# Attributes shared by all modules. The name of a part is written after a dot:
#
#     extends_documentation_fragment:
#       - gpufleet.ollama.attributes                  # what every module must say itself
#       - gpufleet.ollama.attributes.actiongroup_all  # complete
#       - gpufleet.ollama.attributes.idempotent       # complete, for modules that change something
#       - gpufleet.ollama.attributes.on_controller    # for modules whose action plugin does all the work
#       - gpufleet.ollama.attributes.record           # with it, for those that write a record of the run
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

    ON_CONTROLLER = r"""
options: {}
attributes: {}
notes:
  - It is executed on the controller, as the user that runs Ansible, and opens no connection to the host.
"""

    RECORD = r"""
options: {}
attributes: {}
notes:
  - What it writes is a record of the run, so the task is never changed.
"""
