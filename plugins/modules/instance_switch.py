#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Change some instances of a host and prove them: thin, see module_utils/apply/."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_switch
short_description: Switch Ollama instances of a host to a plan, verify them, and restore them if this fails
version_added: "1.0.0"
description:
  - Stops instances, writes their files, links their models, starts them, waits until they answer, loads the models and
    checks them as M(gpufleet.ollama.placement_check) does, in one execution.
  - If a step fails, the module restores the files, models and services of these instances as they were with the plan
    that was applied before, and checks them again. It also restores the instances that other calls have switched since
    that plan was written. Then it fails with the reason, and with the evidence of both.
  - If the restore fails, the instances are left as they are, and the module says so.
  - If no plan was applied before, nothing is restored.
  - The module waits for the lock of the host and holds it while it works.
  - The progress of loads is shown on the controller.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.files
  - gpufleet.ollama.models
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
    details:
      - Services are reported as changed if they are in the options. Files and models are compared with those on the
        host.
  diff_mode:
    support: full
requirements:
  - requests and nvidia-ml-py, which the collection brings along
options:
  title:
    description:
      - Title of the change in messages.
    type: str
    required: true
  plan:
    description:
      - The whole plan of M(gpufleet.ollama.placement_info).
    type: dict
    required: true
  instances:
    description:
      - Names of the instances of the plan that are changed. They are checked.
    type: list
    elements: str
    default: []
  stop:
    description:
      - Units to stop and to disable.
    type: list
    elements: str
    default: []
  restart:
    description:
      - Names of instances to restart. The other instances keep running.
    type: list
    elements: str
    default: []
  enable:
    description:
      - Names of instances to enable, so that they start at boot.
    type: list
    elements: str
    default: []
  reload:
    description:
      - Whether systemd has to read its units again.
    type: bool
    default: false
  unproven:
    description:
      - What to do if the verdict is V(unproven). With V(accept), the instances stay switched.
    type: str
    choices: [fail, accept]
    default: fail
  slowdown_allowed:
    description:
      - By how many per cent a model may generate more slowly than with the former plan
        (M(gpufleet.ollama.plan_history)). A model that seems slower is measured up to three times, and the fastest
        result counts. V(100) allows everything.
      - If the plan changes what decides the speed (layers on the GPUs, content of the model, KV cache type, flash
        attention, speculative decoding), both figures are returned and nothing fails.
    type: int
    default: 20
  quiet_timeout:
    description:
      - Seconds to wait for running requests before instances are stopped, as far as their engines report them. After
        that they are stopped in any case.
    type: int
    default: 0
  watch_time:
    description:
      - Seconds to watch, after the check, the engines of all instances that were switched since the plan on the host
        was written. Then all of them are checked again.
      - If an engine ends in this time, the switch fails. With V(0), nothing is watched.
    type: int
    default: 0
  lock_timeout:
    description:
      - Seconds to wait while another process holds the lock of the host.
    type: int
    default: 900
seealso:
  - module: gpufleet.ollama.changes_info
  - module: gpufleet.ollama.placement_check
"""

EXAMPLES = r"""
- name: Change one instance after the other
  gpufleet.ollama.instance_switch:
    title: "{{ item.title }}"
    plan: "{{ planned.placement }}"
    instances: "{{ item.instances }}"
    stop: "{{ item.stop }}"
    restart: "{{ item.restart }}"
    enable: "{{ item.enable }}"
    reload: "{{ item.reload }}"
    files: "{{ item.files }}"
    models: "{{ item.models }}"
  become: true
  loop: "{{ compared.work.switches }}"
  loop_control:
    label: "{{ item.title }}"
"""

RETURN = r"""
seconds_without_answer:
  description:
    - Seconds from the stop until the models were loaded, by instance. Only of instances for which something was stopped
      that served.
  returned: always
  type: dict
  sample: {gpu0: 12.4}
seconds_until_quiet:
  description: Seconds that were waited until no request was answered.
  returned: always
  type: float
  sample: 3.0
files:
  description: As M(gpufleet.ollama.instance_files) returns them.
  returned: always
  type: list
  elements: dict
models:
  description: As M(gpufleet.ollama.instance_models) returns them.
  returned: always
  type: list
  elements: dict
evidence:
  description:
    - The evidence of these instances as M(gpufleet.ollama.placement_check) returns it. A further finding is V(slower).
  returned: if it was gathered
  type: dict
evidence_before:
  description: The evidence of the instances that went back, in the same form.
  returned: if instances went back
  type: dict
went_back:
  description: Names of the instances that went back and are proven again.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.report import failure_text
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.speed import Speeds, proven_before
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.switch import Done, Order, Plans, foresee, make
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import (
    LibraryMissing,
    import_pynvml,
    import_requests,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.planned import plan_problem
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.verdict_text import notes, summary
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.file_options import (
    diffs_of,
    file_options,
    file_result,
    read_files,
    without_contents,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import Files
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld, run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.state import applied_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.model_options import (
    model_diffs,
    model_options,
    read_models,
    result_of,
    warnings_of,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError

NAMES = dict(type="list", elements="str", default=[])
#: Options that a result repeats, beside the files without their contents.
SHOWN = ("title", "instances", "stop", "restart", "enable", "reload", "models")


def argument_spec() -> dict[str, Any]:
    """Return the options. The files are kept out of the log; main() decides what the result contains."""
    return dict(
        model_options(),
        title=dict(type="str", required=True),
        plan=dict(type="dict", required=True, no_log=True),
        instances=NAMES,
        stop=NAMES,
        restart=NAMES,
        enable=NAMES,
        reload=dict(type="bool", default=False),
        files=dict(type="list", elements="dict", required=True, options=file_options(), no_log=True),
        unproven=dict(type="str", choices=["fail", "accept"], default="fail"),
        slowdown_allowed=dict(type="int", default=20),
        quiet_timeout=dict(type="int", default=0),
        watch_time=dict(type="int", default=0),
        lock_timeout=dict(type="int", default=900),
    )


def read_order(options: dict[str, Any]) -> Order:
    """Return the switch of checked options.

    Raises:
        FilesError, ModelError: An entry is wrong; nothing was changed.
    """
    return Order(
        instances=tuple(options["instances"]),
        stop=tuple(options["stop"]),
        restart=tuple(options["restart"]),
        enable=tuple(options["enable"]),
        reload=options["reload"],
        files=tuple(read_files(options["files"])),
        models=tuple(read_models(options, paths.USER)),
    )


def result_of_switch(order: Order, done: Done) -> dict[str, Any]:
    """Return what the module answers, apart from the difference."""
    moved = bool(order.stop or order.restart or order.enable or order.reload)
    models = done.progress.done
    result = dict(
        changed=moved or any(one.changed for one in done.files) or any(outcome.changed for _wanted, outcome in models),
        seconds_without_answer=done.seconds_without_answer,
        seconds_until_quiet=done.quiet.seconds,
        files=list(map(file_result, done.files)),
        models=[result_of(wanted, outcome) for wanted, outcome in models],
        went_back=done.back.instances if done.back else [],
    )
    if done.proof.evidence:
        result["evidence"] = done.proof.evidence
    if done.back:
        result["evidence_before"] = done.back.evidence
    return result


def switch(order: Order, plans: Plans, files: Files, check_mode: bool, wait: int) -> Done:
    """Make the switch while the lock of the host is held; in check mode only foresee it.

    Raises:
        LibraryMissing, LockHeld, OSError: Nothing was changed.
    """
    if check_mode:
        return foresee(order, files)
    import_requests()
    # Both: what goes back is proven too.
    if any(one.get("gpu_uuids") for plan in (plans.wanted, plans.applied) for one in plan.get("instances") or []):
        import_pynvml()
    with run_lock(wait=wait):
        return make(order, plans, files)


def applied() -> dict[str, Any]:
    """Return the plan that is written on this host, {} where there is none that instances could go back to."""
    plan = applied_plan()
    return {} if not plan or plan_problem(plan) else plan


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = take_options(module)
    shown = dict({name: options[name] for name in SHOWN}, files=without_contents(options["files"]))
    problem = plan_problem(options["plan"])
    if problem:
        module.fail_json(msg=problem)
    files = Files(module.check_mode, module.backup_local, lambda path: module.set_default_selinux_context(path, False))
    before = applied()
    plans = Plans(
        options["plan"],
        before,
        options["unproven"] == "accept",
        Speeds(proven_before(before), options["slowdown_allowed"]),
        options["quiet_timeout"],
        options["watch_time"],
    )
    try:
        order = read_order(options)
        done = switch(order, plans, files, module.check_mode, options["lock_timeout"])
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    except (FilesError, ModelError, LockHeld, OSError) as error:
        module.fail_json(msg="%s." % str(error).rstrip("."))
    result = dict(result_of_switch(order, done), invocation=dict(module_args=shown))
    for warning in warnings_of(done.progress):
        module.warn(warning)
    if module._diff:
        result["diff"] = diffs_of(done.files, details=module._verbosity > 0)
        result["diff"] += model_diffs(done.progress.done, details=module._verbosity > 0)
    if done.failure:
        module.fail_json(
            msg=failure_text(options["title"], done.failure, done.back, plans.wanted, plans.applied), **result
        )
    for unit in done.quiet.busy:
        module.warn(
            "%s was stopped in the middle of a request, after %g seconds of waiting." % (unit, done.quiet.seconds)
        )
    evidence = done.proof.evidence
    for note in evidence.get("speed_notes", []) if evidence else []:
        module.warn(note)
    for note in notes(evidence) if evidence else []:
        module.warn(note)
    if evidence and evidence["verdict"] == "unproven":
        module.warn(summary(evidence))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
