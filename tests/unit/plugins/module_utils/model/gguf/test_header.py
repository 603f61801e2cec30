# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import io
import struct
import time
import tracemalloc

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError, read_header
from hypothesis import given, settings
from hypothesis import strategies as st


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def key(name, kind, data):
    return text(name) + struct.pack("<I", kind) + data


def array(name, kind, count, data):
    return key(name, 9, struct.pack("<IQ", kind, count) + data)


def tensor(name, shape, kind):
    return text(name) + struct.pack("<I%dQ" % len(shape), len(shape), *shape) + struct.pack("<IQ", kind, 0)


def gguf(keys=(), tensors=(), version=3, key_count=None, tensor_count=None):
    head = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    return head + b"".join(keys) + b"".join(tensors)


def read(data, chunk=1 << 20, **options):
    stream = io.BytesIO(data)
    return read_header(lambda size: stream.read(max(size, chunk)), **options)


KEYS = [
    key("general.architecture", 8, text("llama")),
    key("llama.block_count", 4, struct.pack("<I", 2)),
    key("llama.rope.freq_base", 6, struct.pack("<f", 0.5)),
    key("some.flag", 7, b"\x01"),
    array("llama.attention.head_count_kv", 5, 2, struct.pack("<2i", 8, 0)),
    array("tokenizer.ggml.tokens", 8, 3, text("a") + text("") + text("ccc")),
    array("llama.attention.sliding_window_pattern", 7, 2, b"\x01\x00"),
    array("nested", 9, 2, struct.pack("<IQ", 4, 1) + struct.pack("<I", 7) + struct.pack("<IQ", 8, 1) + text("x")),
    key("last", 10, struct.pack("<Q", 2**40)),
]
TENSORS = [
    tensor("token_embd.weight", (64, 269), 1),
    tensor("blk.0.attn_k.weight", (256, 3), 12),
    tensor("output_norm.weight", (64,), 0),
]


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_reads_keys_short_arrays_and_tensors_across_any_chunk(chunk):
    header = read(gguf(KEYS, TENSORS) + b"rest of the file", chunk)
    assert header.keys == {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.rope.freq_base": 0.5,
        "some.flag": True,
        "llama.attention.head_count_kv": [8, 0],
        "llama.attention.sliding_window_pattern": [True, False],
        "last": 2**40,
    }
    assert header.lengths["tokenizer.ggml.tokens"] == 3
    assert [(item.name, item.shape, item.type, item.bytes) for item in header.tensors] == [
        ("token_embd.weight", [64, 269], "F16", 64 * 269 * 2),
        ("blk.0.attn_k.weight", [256, 3], "Q4_K", 144 * 3),
        ("output_norm.weight", [64], "F32", 256),
    ]
    assert header.size_bytes == len(gguf(KEYS, TENSORS))


@pytest.mark.parametrize("cut", range(0, len(gguf(KEYS, TENSORS)), 13))
def test_a_header_that_is_cut_anywhere_is_one_sentence(cut):
    with pytest.raises(HeaderError, match="cut off after %d bytes" % cut):
        read(gguf(KEYS, TENSORS)[:cut])


@pytest.mark.parametrize(
    "data, words",
    [
        (b"<html>not found</html>", "does not begin with GGUF"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), "big-endian"),
        (gguf(version=1), "version 1"),
        (gguf(version=4), "version 4"),
        (gguf(key_count=2**63), "9223372036854775808 keys"),
        (gguf(tensor_count=2**40), "1099511627776 tensors"),
        (gguf([text(b"k" * 70000)]), "a key of 70000 bytes"),
        (gguf([struct.pack("<Q", 2**60)], key_count=1), "a key of 1152921504606846976 bytes"),
        (gguf([key("k", 8, struct.pack("<Q", 2**50))]), "the value of .k. of 1125899906842624 bytes"),
        (gguf([key("k", 99, b"")]), "unknown type 99"),
        (gguf([array("k", 77, 1, b"")]), "unknown type 77"),
        (gguf([array("k", 8, 2, struct.pack("<Q", 2**50))]), "a string of more than"),
        (gguf([array("k", 9, 1, struct.pack("<IQ", 9, 1) * 5)]), "nests arrays"),
        (gguf(tensors=[tensor("t", (1, 1, 1, 1, 1), 0)]), "has 5 dimensions"),
        (gguf(tensors=[tensor("t", (), 0)]), "has 0 dimensions"),
        (gguf(tensors=[tensor("t", (0, 4), 0)]), "impossible shape"),
        (gguf(tensors=[tensor("t", (2**32, 2**32), 0)]), "impossible shape"),
    ],
)
def test_a_header_that_lies_is_refused(data, words):
    with pytest.raises(HeaderError, match=words):
        read(data)


@pytest.mark.parametrize("kind", [4, 8, 9])
def test_a_huge_array_count_ends_with_the_file(kind):
    with pytest.raises(HeaderError, match="cut off"):
        read(gguf([array("k", kind, 2**62, bytes(4096))]))


def test_no_more_is_read_than_the_limit():
    asked = []

    def endless(size):
        asked.append(size)
        return struct.pack("<Q", 0) * 8192

    first = gguf([array("tokens", 8, 2**40, b"")])
    parts = [first]
    with pytest.raises(HeaderError, match="goes on after 1 MiB"):
        read_header(lambda size: parts.pop() if parts else endless(size), 1 << 20)
    assert len(asked) == 16


def test_an_unknown_tensor_type_is_kept_without_bytes():
    assert read(gguf(tensors=[tensor("t", (32,), 250)])).tensors[0][2:4] == ("type 250", None)


def vocabulary(count):
    tokens = b"".join(text("token%d" % number) for number in range(count))
    merges = b"".join(text("to ken%d" % number) for number in range(count))
    return [
        array("tokenizer.ggml.tokens", 8, count, tokens),
        array("tokenizer.ggml.merges", 8, count, merges),
        array("tokenizer.ggml.scores", 6, count, bytes(4 * count)),
    ]


def test_a_vocabulary_costs_little_time_and_memory():
    data = gguf(vocabulary(152000) + [item for item in KEYS if b"tokenizer.ggml.tokens" not in item], TENSORS)
    assert 5e6 < len(data) < 8e6
    begin = time.process_time()
    assert read(data, 1 << 22).keys["last"] == 2**40
    assert time.process_time() - begin < 0.3
    stream = io.BytesIO(data)
    tracemalloc.start()
    read_header(lambda size: stream.read(max(size, 1 << 20)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


@settings(max_examples=300)
@given(st.integers(0, len(gguf(KEYS, TENSORS)) - 1), st.binary(min_size=1, max_size=9))
def test_damaged_bytes_give_a_header_or_a_sentence(at, damage):
    data = gguf(KEYS, TENSORS)
    try:
        read(data[:at] + damage + data[at + len(damage) :])
    except HeaderError as error:
        assert "\n" not in str(error)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_noise_behind_the_magic_gives_a_header_or_a_sentence(noise):
    try:
        read(b"GGUF" + struct.pack("<I", 3) + noise)
    except HeaderError:
        pass
