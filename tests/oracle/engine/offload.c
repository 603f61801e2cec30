/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SPDX-FileCopyrightText: The gpufleet.ollama contributors */
/* Preloaded into the engine: its devices answer as CUDA's do when the scheduler asks whether they want an operation whose weights lie on the host.
 * The rule is that of ggml-cuda.cu (`get_op_batch_size`, `ggml_backend_cuda_device_offload_op`); RPC devices have none of their own. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MIN_BATCH 32 /* ggml-cuda.cu: GGML_OP_OFFLOAD_MIN_BATCH where the environment does not set it */

/* The head of ggml.h's `struct ggml_tensor`, which is the same in every build of the library's major version. */
struct tensor {
    int32_t type;
    void *buffer;
    int64_t ne[4];
    size_t nb[4];
    int32_t op;
};

extern const char *ggml_op_name(int32_t op);

bool ggml_backend_offload_op(void *backend, const struct tensor *tensor)
{
    const char *name = ggml_op_name(tensor->op);
    int64_t rows;

    (void) backend;
    if (!strcmp(name, "GET_ROWS"))
        rows = 0;
    else if (!strcmp(name, "MUL_MAT"))
        rows = tensor->ne[1];
    else if (!strcmp(name, "MUL_MAT_ID") || !strcmp(name, "ROPE") || !strcmp(name, "ROPE_BACK"))
        rows = tensor->ne[2];
    else
        rows = tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
    return rows >= MIN_BATCH;
}
