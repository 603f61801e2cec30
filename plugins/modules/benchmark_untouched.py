#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark_untouched
short_description: Measure the models of a plan with the default settings of Ollama
version_added: "1.0.0"
description:
  - Stops the instances of a plan, measures their models on one Ollama with its default settings as
    M(gpufleet.ollama.benchmark_info) measures those of the plan, and starts the instances again. Nobody is served
    meanwhile.
  - That Ollama is the program of the planned release, as the service user, on a loopback port of its own. It chooses
    GPUs, context and slots, and what stays loaded. It has the models as they were pulled, as hard links in a store of
    its own, and removes nothing from the stores of the instances.
  - The instances are restored whatever happens. If the module is interrupted, killed, or takes longer than
    O(outage_limit), a unit of systemd starts them again, and removes all that was made for the measurement. After a
    reboot they start as always.
  - Instances that do not run are left so. At the end, the models are loaded and the instances checked as
    M(gpufleet.ollama.placement_check) does it. The task fails if they are not as planned.
  - The lock of the host is held from before the look at the plan and at the requests until the instances are restored,
    so that no run of the role changes them meanwhile.
author:
  - The gpufleet.ollama contributors (@gpufleet)
requirements:
  - requests and nvidia-ml-py, which the collection brings along
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.measuring
attributes:
  check_mode:
    support: full
    description: In check mode nothing is stopped and nothing is measured.
  diff_mode:
    support: none
options:
  may_disturb:
    description:
      - Whether this host may be disturbed. Without V(true), nothing is stopped, and the task fails.
    type: bool
    default: false
  outage_limit:
    description:
      - Seconds for which the instances may be stopped, V(10) to V(86400). They are started again when all is measured,
        and at the latest then. C(notes) of the result says what was not measured.
      - The start of the instances and the load of their models come on top of it.
    type: int
    default: 1800
notes:
  - It requires O(ignore:become).
  - If the power fails while it measures, the directory C(untouched) stays in the models directory. It holds hard links,
    and the next measurement replaces it.
"""

EXAMPLES = r"""
- name: Measure what Ollama does by itself
  gpufleet.ollama.benchmark_untouched:
    plan: "{{ host.applied_plan }}"
    may_disturb: true
  become: true
  register: result
"""

RETURN = r"""
benchmark:
  description:
    - What was measured, as M(gpufleet.ollama.benchmark_info) returns it.
    - C(loaded) has for each model the C(context_length) that the server gave it, its C(size_bytes), and how many of
      them are on GPUs (C(size_vram_bytes)), as the server says.
    - It is also returned where the measurement has failed after the instances were stopped, with what was measured
      before.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import untouched
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.in_force import PlanChanged
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.options import (
    OUTAGE_LIMIT,
    locked,
    measuring_options,
    problem,
    wanted,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.paused import (
    NotMeasured,
    NotPaused,
    NotRestored,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.run import Busy, as_data
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import (
    LibraryMissing,
    import_pynvml,
    import_requests,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.planned import plan_problem
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import StoreError

_REFUSED = (
    "The instances of this host would be stopped to measure an untouched Ollama, and nobody would be served meanwhile: "
    "set may_disturb (in the playbook ollama_multigpu_benchmark_may_disturb) to true if this host may be disturbed."
)
_NOT_MEASURED = (
    "The untouched Ollama was not measured to the end: %s The instances were stopped for it, and serve again."
)
_NOT_RESTORED = "After the measurement, the host is not as planned: %s Run the playbook gpufleet.ollama.site."
_FAILED_BEFORE = " The measurement itself had failed before: %s"


def main():
    spec = dict(
        measuring_options(),
        may_disturb={"type": "bool", "default": False},
        outage_limit={"type": "int", "default": OUTAGE_LIMIT},
    )
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    options = take_options(module)
    wrong = problem(options) or plan_problem(options["plan"])
    if wrong or not options["may_disturb"]:
        module.fail_json(msg=wrong or _REFUSED)
    if module.check_mode:
        found = untouched.Untouched(notes=["Nothing is measured in check mode."])
        module.exit_json(changed=False, benchmark=as_data(found))
    found = untouched.begun(options["plan"])
    try:
        import_requests()
        import_pynvml()
        untouched.measure_untouched(
            options["plan"], wanted(options), options["lock_timeout"], options["outage_limit"], found
        )
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    except LockHeld as held:
        module.fail_json(msg=locked(held))
    except (Busy, PlanChanged, NotPaused, StoreError, OSError) as error:
        module.fail_json(msg="%s." % str(error).rstrip("."))
    except NotRestored as error:
        before = _FAILED_BEFORE % error.failure if error.failure else ""
        module.fail_json(msg=_NOT_RESTORED % error + before, changed=True, benchmark=as_data(found))
    except NotMeasured as error:
        module.fail_json(msg=_NOT_MEASURED % error, changed=True, benchmark=as_data(found))
    module.exit_json(changed=True, benchmark=as_data(found))


if __name__ == "__main__":
    main()
