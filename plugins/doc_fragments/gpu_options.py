# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

# Options of placement_info that say which GPUs a plan may use, and what stays free on them and on the host.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  selectors:
    description:
      - GPUs to use, by index, UUID or PCI address. The default is all GPUs. An empty list says that no GPU is to be
        used.
      - GPUs that cannot be read are not taken for GPUs that are not there. Unless the facts say surely that the host
        has none, or this list is empty, such a host has no feasible plan. The same holds where a GPU that serves by
        O(applied_plan) cannot be used now, unless the UUIDs or PCI addresses of this list leave it out.
    type: list
    elements: str
  exclude:
    description:
      - GPUs not to use, by index, UUID or PCI address, as a counterpart of O(selectors). It has precedence over them.
      - A UUID or PCI address that this host does not have is taken for that of another host, or of a GPU that is gone.
        An index that it does not have is refused.
    type: list
    elements: str
    default: []
  cordon:
    description:
      - GPUs to leave alone for a time. The models that run on them are planned on the other GPUs.
      - RV(placement.left_out) says why and until when. An entry that is over has no effect but a warning in
        RV(placement.warnings).
      - GPUs of other hosts are treated as in O(exclude).
    type: list
    elements: dict
    default: []
    suboptions:
      gpu:
        description: Index, UUID or PCI address of the GPU. An index may be another GPU's once a GPU before it is gone.
        type: raw
        required: true
      reason:
        description: Why it is left alone, in a few words.
        type: str
      until:
        description:
          - A date such as V(2026-12-31), which counts as a whole day, or a date and time such as V(2026-12-31T18:00) or
            V(2026-12-31T18:00:00+01:00). Without a time zone it is that of O(now).
          - Without this option the cordon has no end.
        type: raw
  now:
    description:
      - The time with which the ends of O(cordon) are compared, such as V(2026-12-31T18:00:00+01:00).
      - The default is the controller's clock.
    type: str
  headroom_bytes:
    description:
      - Bytes to keep free on every GPU.
    type: int
    default: 1073741824
  host_headroom_bytes:
    description:
      - Bytes of the host's memory to keep free for the host.
      - The default is 1/32 of the host's memory, at least 1 GiB and at most 8 GiB.
    type: int
  overhead_bytes:
    description:
      - Bytes that one process uses on one GPU in addition to the model, if you have measured them.
      - The default depends on the architecture of the GPU.
    type: int
"""
