# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Headers made to harm: whatever the bytes, a header or a sentence, in bounded memory and time."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.gpufleet.ollama.plugins.module_utils.gguf.facts import merge, model_facts
from ansible_collections.gpufleet.ollama.plugins.module_utils.gguf.header import HeaderError, read_header

MIB = 1024 * 1024


def text(value):
    return struct.pack("<Q", len(value)) + value


def key(name, kind, data):
    return text(name) + struct.pack("<I", kind) + data


def array(name, kind, count, data=b""):
    return key(name, 9, struct.pack("<IQ", kind, count) + data)


def tensor(name, kind=1, shape=(32,)):
    return text(name) + struct.pack("<I%dQ" % len(shape), len(shape), *shape) + struct.pack("<IQ", kind, 0)


def gguf(*keys, tensors=(), counts=(None, None)):
    tensor_count, key_count = (len(given_) if count is None else count for count, given_ in zip(counts, (tensors, keys)))
    return b"GGUF" + struct.pack("<IQQ", 3, tensor_count, key_count) + b"".join(keys) + b"".join(tensors)


def endless(start, pattern):
    """Makes read() of a file that begins with `start` and repeats `pattern` for ever."""
    block = pattern * (MIB // len(pattern) + 1)

    def make():
        parts = [start]
        return lambda size: parts.pop() if parts else block

    return make


def numbered(count, make):
    return b"".join(make(b"%07d" % number) for number in range(count))


MANY = {
    "empty strings": endless(gguf(array(b"t", 8, 2 ** 62)), bytes(8)),
    "nested arrays": endless(gguf(array(b"t", 9, 2 ** 62)), struct.pack("<IQ", 0, 0)),
    "deep arrays": endless(gguf(array(b"t", 9, 2 ** 62)), struct.pack("<IQ", 9, 2 ** 62)),
    "numbers": endless(gguf(array(b"t", 12, 2 ** 62)), bytes(8)),
    "short arrays of bytes": endless(gguf(counts=(0, 65536)) + numbered(9000, lambda name: array(name, 0, 4096, bytes(4096))), bytes(8)),
    "texts that widen": endless(gguf(counts=(0, 65536)) + numbered(600, lambda name: key(name, 8, text("\U0001f600".encode() + b"a" * 65000))), bytes(8)),
    "one long text": endless(gguf(key(b"k", 8, struct.pack("<Q", 16 * MIB))), b"a"),
    "long keys": endless(gguf(counts=(0, 65536)) + b"".join(key(b"%08d" % number + b"k" * 65000, 0, b"x") for number in range(700)), bytes(8)),
    "tensors": endless(gguf(counts=(32768, 0)) + numbered(32768, tensor), bytes(8)),
    "more tensors": endless(gguf(counts=(10 ** 6, 0)), tensor(b"x")),
    "no end of keys": endless(gguf(counts=(0, 65536)) + numbered(60000, lambda name: key(name, 7, b"x")), bytes(1)),
}


@pytest.mark.parametrize("what", sorted(MANY))
def test_memory_and_time_are_bounded(what):
    begin = time.process_time()
    outcome = attempt(what, 64 * MIB)
    assert time.process_time() - begin < 4
    assert isinstance(outcome, HeaderError) or what in ("tensors", "one long text")
    tracemalloc.start()
    attempt(what, (2 if what == "empty strings" else 64) * MIB)  # tracing makes this one slow
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * MIB, "%.0f MiB" % (peak / MIB)


def attempt(what, limit):
    try:
        return read_header(MANY[what](), limit)
    except HeaderError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        return error


@pytest.mark.parametrize("data, words", [
    (gguf(key(b"k", 0, b"x"), key(b"k", 0, b"x")), "has the key 'k' twice"),
    (gguf(key(b"k", 0, b"x"), array(b"k", 8, 0)), "has the key 'k' twice"),
    (gguf(tensors=[tensor(b"t"), tensor(b"t")]), "has the tensor 't' twice"),
    (gguf(array(b"t", 9, 70000, struct.pack("<IQ", 0, 0) * 70000)), "more than 65536 arrays in arrays"),
    (gguf(tensors=[tensor(b"n" * 300)]), "a tensor name of 300 bytes"),
    (b"FUGG" + bytes(100), "does not begin with GGUF"),
    (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "big-endian"),
])
def test_a_lie_is_a_sentence(data, words):
    stream = io.BytesIO(data)
    with pytest.raises(HeaderError, match=words):
        read_header(stream.read)


def test_a_long_text_is_kept_in_part_and_what_follows_is_read():
    stream = io.BytesIO(gguf(key(b"long", 8, text(b"a" * 200000)), key(b"after", 4, struct.pack("<I", 7))))
    header = read_header(lambda size: stream.read(max(size, 1000)))
    assert header.keys == {"long": "a" * 65536, "after": 7}


NUMBERS = st.one_of(st.integers(0, 20), st.sampled_from([2 ** 16, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]))
NAMES = st.sampled_from([b"block_count", b"embedding_length", b"attention.head_count", b"attention.head_count_kv", b"attention.key_length", b"context_length",
                         b"attention.sliding_window", b"attention.sliding_window_pattern", b"ssm.inner_size", b"expert_count", b"vocab_size", b"pooling_type"])
VALUES = st.one_of(
    NUMBERS.map(lambda number: (4, struct.pack("<I", number))),
    st.floats(width=32).map(lambda number: (6, struct.pack("<f", number))),
    st.binary(max_size=20).map(lambda data: (8, text(data))),
    st.lists(st.integers(-2 ** 31, 2 ** 31 - 1), max_size=6).map(lambda items: (9, struct.pack("<IQ%di" % len(items), 5, len(items), *items))),
    st.lists(st.binary(max_size=3), max_size=3).map(lambda items: (9, struct.pack("<IQ", 8, len(items)) + b"".join(map(text, items)))),
    st.booleans().map(lambda flag: (7, b"\x01" if flag else b"\x00")),
)
TENSORS = st.lists(
    st.tuples(st.sampled_from([b"token_embd.weight", b"output.weight", b"blk.0.attn_k.weight", b"blk.1.ffn_up_exps.weight", b"blk.99999999.x", b"v.x", b""]),
              st.integers(0, 45), st.lists(st.integers(1, 2 ** 20), min_size=1, max_size=4)), max_size=5, unique_by=lambda item: item[0])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=8), TENSORS)
def test_keys_and_tensors_of_any_kind_give_facts_or_a_sentence(keys, tensors):
    listed = [key(b"general.architecture", 8, text(b"a"))] + [key(b"a." + name, kind, data) for name, (kind, data) in keys.items()]
    stream = io.BytesIO(gguf(*listed, tensors=[tensor(name, kind, shape) for name, kind, shape in tensors]))
    try:
        facts = model_facts(merge([read_header(stream.read)]))
    except HeaderError as error:
        assert "\n" not in str(error)
        return
    assert all(facts[name] is None or facts[name] >= 0 for name in ("output_bytes", "embedding_bytes", "projector_bytes"))
    assert len(facts["layers"]) == facts["block_count"] <= 4096


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3), st.integers(0, 2 ** 64 - 1), st.integers(0, 2 ** 64 - 1))
def test_any_counts_before_any_noise(noise, version, tensors, keys):
    stream = io.BytesIO(b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + noise)
    try:
        read_header(lambda size: stream.read(max(1, min(size, 7))))
    except HeaderError as error:
        assert "\n" not in str(error)
