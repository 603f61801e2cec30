# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama 0.30 and later start llama-server: flash attention, batch, projector and margins."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import engine_start, v0_30

from tests.oracle import models

MIB = 1024 * 1024
GIB = 1024 * MIB


def gpus(*free_mib):
    return [
        {"uuid": "GPU-%d" % index, "total_bytes": size * MIB, "free_bytes": size * MIB}
        for index, size in enumerate(free_mib)
    ]


def test_the_projector_widens_the_margin():
    model, newest = models.facts("llama3.1-8b", projector_bytes=512 * MIB), v0_30.NEWEST_VERSION
    assert engine_start.fit_margins(model, gpus(24100), {}, newest) == [1536 * MIB]
    assert engine_start.fit_margins(model, gpus(1500), {}, newest) == [GIB]
    assert engine_start.fit_margins(model, gpus(24100), {}, newest, num_gpu=10) == [GIB]
    assert engine_start.fit_margins(model, gpus(24100, 24100), {"LLAMA_ARG_FIT_TARGET": "512,2048"}, newest) == [
        512 * MIB,
        2048 * MIB,
    ]
    # llm/llama_server.go, extraEnvsForStart: there at 0.31.2, not at 0.31.1.
    assert engine_start.fit_margins(model, gpus(24100), {}, (0, 31, 1)) == [GIB]


def test_a_projector_goes_to_the_gpus_by_version():
    # llm/llama_server.go, shouldDisableMMProjOffload, at 0.30.0, 0.30.11 and 0.31.2.
    nine, shared = gpus(9 * 1024), [dict(gpu, integrated=True) for gpu in gpus(24 * 1024)]
    where = {
        version: (
            engine_start.projector_on_gpu(GIB, nine, version, None, 33),
            engine_start.projector_on_gpu(GIB, shared, version, None, 33),
        )
        for version in ((0, 30, 10), (0, 30, 11), (0, 31, 2))
    }
    assert where == {(0, 30, 10): (False, False), (0, 30, 11): (True, False), (0, 31, 2): (True, True)}
    assert not engine_start.projector_on_gpu(GIB, gpus(1500), (0, 31, 2), None, 33)
    assert engine_start.projector_on_gpu(GIB, nine, (0, 31, 2), 33, 33)
    assert not engine_start.projector_on_gpu(GIB, nine, (0, 31, 2), 32, 33)


@pytest.mark.parametrize(
    "capability, by_version",
    # ml/device.go, cudaFlashAttentionSupported: major 7 at 0.30.0, major 6 from 0.31.2; never on 7.2.
    [
        ([5, 2], ("off", "off")),
        ([6, 1], ("off", "auto")),
        ([7, 0], ("auto", "auto")),
        ([7, 2], ("off", "off")),
        (None, ("auto", "auto")),
    ],
)
def test_flash_attention_by_compute_capability(capability, by_version):
    host = [dict(gpu, compute_capability=capability) for gpu in gpus(24100)]
    assert tuple(engine_start.flash_attention(host, {}, version) for version in ((0, 31, 1), (0, 31, 2))) == by_version
    # LlamaServerFlashAttention: the user's word comes first.
    assert engine_start.flash_attention(host, {"OLLAMA_FLASH_ATTENTION": "1"}, (0, 32, 15)) == "on"
    assert engine_start.flash_attention(host, {"OLLAMA_FLASH_ATTENTION": "0"}, (0, 32, 15)) == "off"


def test_nothing_free_is_taken_for_not_known_and_lowers_no_batch():
    # server/sched.go, generationBatchFits.
    assert engine_start.batch_size(GIB, 65536, [{"free_bytes": 0}], "auto") == (2048, 2 * GIB)
    assert engine_start.batch_size(GIB, 65536, [{"free_bytes": MIB}], "auto") == (512, 0)


def test_a_surcharge_follows_the_batch():
    assert [engine_start.surcharge(batch) for batch in (512, 1024, 2047, 2048)] == [0, 768 * MIB, 768 * MIB, 2 * GIB]


def test_a_batch_of_an_embedding_model_is_no_longer_than_the_context():
    assert engine_start.embedding_batch(None, 512, 512) == 512
    assert engine_start.embedding_batch(None, 8192, 8192) == 2048
    assert engine_start.embedding_batch(4096, 8192, 8192) == 4096


def test_the_users_split_has_a_number_for_every_gpu():
    assert engine_start.tensor_split({"LLAMA_ARG_TENSOR_SPLIT": "3,1"}, 3) == [3.0, 1.0, 0.0]
    assert engine_start.tensor_split({"LLAMA_ARG_TENSOR_SPLIT": "3/1/2"}, 2) == [3.0, 1.0]
    assert (
        engine_start.tensor_split({}, 2) is None
        and engine_start.tensor_split({"LLAMA_ARG_TENSOR_SPLIT": "0"}, 2) is None
    )
