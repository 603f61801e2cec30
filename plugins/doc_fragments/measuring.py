# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

# Options of the modules that measure (module_utils/benchmark/options.py).

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  plan:
    description:
      - The plan that was applied, as M(gpufleet.ollama.host_info) returns it.
    type: dict
    required: true
  repeats:
    description:
      - How often each figure is measured. The results are median and quartiles.
    type: int
    default: 3
  tokens:
    description:
      - The most tokens of an answer.
    type: int
    default: 64
  prompts:
    description:
      - About how many tokens the prompts have. No two prompts begin alike, so that none is read from a cache.
    type: list
    elements: int
    default: [32, 512]
  loads:
    description:
      - How often each model is unloaded and loaded to take the time. It does not answer meanwhile. V(0) leaves it
        loaded.
    type: int
    default: 1
  quiet_timeout:
    description:
      - Seconds to wait until nobody else is served.
    type: float
    default: 60.0
  lock_timeout:
    description:
      - Seconds to wait for a run of the role that changes the host, a load or a check.
    type: int
    default: 900
"""
