#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark_info
short_description: Measure how fast the instances of a plan load and answer
version_added: "1.0.0"
description:
  - Measures each model of a plan through the address of its instance, on the host itself - the time of a load, the time
    to the first token, the tokens per second of one request and of several at the same time, and the requests per
    minute, with prompts of several lengths. Replicas are also measured all at the same time.
  - Nothing is judged, and nothing is changed but that models are loaded, and unloaded and loaded again if O(loads) says
    so.
  - It fails if the host answers requests of others. A measurement before which others were served is marked as
    disturbed.
author:
  - The gpufleet.ollama contributors (@gpufleet)
requirements:
  - requests, which the collection brings along
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
    description: In check mode nothing is measured.
  diff_mode:
    support: none
  platform:
    platforms: linux
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
notes:
  - The engines of other users are read only with O(ignore:become).
"""

EXAMPLES = r"""
- name: Measure the instances
  gpufleet.ollama.benchmark_info:
    plan: "{{ host.applied_plan }}"
    repeats: 5
    prompts: [32, 2048]
  become: true
  register: result
"""

RETURN = r"""
benchmark:
  description:
    - What was measured. C(release) is that of the plan, and C(notes) says what was not measured.
    - Each of the C(loads) has C(model), C(instances) and C(seconds).
    - Each of the C(measurements) has C(model), C(instances) (several where replicas were measured together), C(prompt)
      (tokens that were asked for), C(streams) (requests at the same time), C(prompt_tokens) (as the server counts),
      C(first_token_seconds), C(tokens_per_second) (of one request while it generates), C(total_tokens_per_second) (of
      all together, from the first to the last byte), C(requests_per_minute) and C(disturbed) (repeats before which
      others were served).
    - Figures have C(median), C(q1), C(q3) and C(repeats).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import run as benchmark
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import OllamaError

_LIMITS = {"repeats": (1, 100), "tokens": (1, 4096), "loads": (0, 100), "quiet_timeout": (0, 86400)}
_LONGEST_PROMPT = 1000 * 1000


def problem(options):
    """Return which option has a value that cannot be measured with, None where all can."""
    for name, (least, most) in _LIMITS.items():
        if not least <= options[name] <= most:
            return "%s is %g: give a number from %d to %d." % (name, options[name], least, most)
    wrong = [words for words in options["prompts"] if not 1 <= words <= _LONGEST_PROMPT]
    if wrong:
        return "prompts has %d: give numbers from 1 to %d." % (wrong[0], _LONGEST_PROMPT)
    return None


def main():
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True, "no_log": True},
            "repeats": {"type": "int", "default": 3},
            "tokens": {"type": "int", "default": 64, "no_log": False},
            "prompts": {"type": "list", "elements": "int", "default": [32, 512]},
            "loads": {"type": "int", "default": 1},
            "quiet_timeout": {"type": "float", "default": 60.0},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    wrong = problem(options)
    if wrong:
        module.fail_json(msg=wrong)
    plan = options.pop("plan")
    if module.check_mode:
        found = benchmark.Benchmark(notes=["Nothing is measured in check mode."])
        module.exit_json(changed=False, benchmark=benchmark.as_data(found))
    try:
        found = benchmark.run(plan, benchmark.Wanted(**options))
    except benchmark.Busy as busy:
        module.fail_json(msg=str(busy))
    except OllamaError as error:
        module.fail_json(msg="A server that was measured has failed: %s." % error.message)
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    module.exit_json(changed=False, benchmark=benchmark.as_data(found))


if __name__ == "__main__":
    main()
