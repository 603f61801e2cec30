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
  - It fails if the host answers requests of others, and if another plan is in force by then. A measurement before which
    others were served is marked as disturbed.
author:
  - The gpufleet.ollama contributors (@gpufleet)
requirements:
  - requests, which the collection brings along
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.measuring
attributes:
  check_mode:
    support: full
    description: In check mode nothing is measured.
  diff_mode:
    support: none
notes:
  - Only with O(ignore:become), the engines of other users are read, and runs of the role that would change the
    instances meanwhile are kept waiting. The regular checks of the host are left out meanwhile, so that its verdict is
    the one of before.
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
    - What was measured. C(release) is that of the plan, and C(notes) says what was not measured. C(tokens) are the
      most tokens of an answer. C(plan) has the SHA-256 C(digest) of the plan, which is that of the file
      C(/etc/ollama-multigpu/plan.json) as the role writes it, and what it plans for each of its C(models).
    - Each of the C(loads) has C(model), C(instances) and C(seconds).
    - Each of the C(measurements) has C(model), C(instances) (several where replicas were measured together), C(prompt)
      (tokens that were asked for), C(streams) (requests at the same time), C(prompt_tokens) (as the server counts),
      C(first_token_seconds), C(tokens_per_second) (of one request while it generates), C(total_tokens_per_second) (of
      all together, from the first to the last byte), C(requests_per_minute) and C(disturbed) (repeats before which
      others were served).
    - Figures have C(median), C(q1), C(q3) and C(repeats).
    - If a server fails in the middle, the task fails, and this has what was measured before.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import run as benchmark
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.in_force import PlanChanged
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.options import (
    locked,
    measuring_options,
    problem,
    wanted,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError


def _measured(found):
    """What a measurement that has failed returns beside the message: what was measured before."""
    return {"benchmark": benchmark.as_data(found)} if found.loads or found.measurements else {}


def main():
    module = AnsibleModule(argument_spec=measuring_options(), supports_check_mode=True)
    options = take_options(module)
    wrong = problem(options)
    if wrong:
        module.fail_json(msg=wrong)
    if module.check_mode:
        found = benchmark.Benchmark(notes=["Nothing is measured in check mode."])
        module.exit_json(changed=False, benchmark=benchmark.as_data(found))
    found = benchmark.begun(options["plan"])
    try:
        benchmark.run(options["plan"], wanted(options), options["lock_timeout"], found)
    except LockHeld as held:
        module.fail_json(msg=locked(held))
    except (benchmark.Busy, PlanChanged, OSError) as error:
        module.fail_json(msg="%s." % str(error).rstrip("."))
    except ModelError as error:
        module.fail_json(msg="A model cannot be loaded again: %s." % error, **_measured(found))
    except OllamaError as error:
        module.fail_json(msg="A server that was measured has failed: %s." % error.message, **_measured(found))
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    module.exit_json(changed=False, benchmark=benchmark.as_data(found))


if __name__ == "__main__":
    main()
