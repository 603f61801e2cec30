# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Headers made to harm: whatever the bytes, a header or a sentence, in bounded memory and time."""

from __future__ import annotations

import io
import random
import struct
import time
import tracemalloc

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.facts import model_facts
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError, read_header
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.parts import merge
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.show import show_header
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.source import SourceError, from_file
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rig.models import catalog

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
    tensor_count, key_count = (
        len(given_) if count is None else count for count, given_ in zip(counts, (tensors, keys))
    )
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
    "empty strings": endless(gguf(array(b"t", 8, 2**62)), bytes(8)),
    "nested arrays": endless(gguf(array(b"t", 9, 2**62)), struct.pack("<IQ", 0, 0)),
    "deep arrays": endless(gguf(array(b"t", 9, 2**62)), struct.pack("<IQ", 9, 2**62)),
    "numbers": endless(gguf(array(b"t", 12, 2**62)), bytes(8)),
    "short arrays of bytes": endless(
        gguf(counts=(0, 65536)) + numbered(9000, lambda name: array(name, 0, 4096, bytes(4096))), bytes(8)
    ),
    "texts that widen": endless(
        gguf(counts=(0, 65536)) + numbered(600, lambda name: key(name, 8, text("\U0001f600".encode() + b"a" * 65000))),
        bytes(8),
    ),
    "one long text": endless(gguf(key(b"k", 8, struct.pack("<Q", 16 * MIB))), b"a"),
    "long keys": endless(
        gguf(counts=(0, 65536)) + b"".join(key(b"%08d" % number + b"k" * 65000, 0, b"x") for number in range(700)),
        bytes(8),
    ),
    "tensors": endless(gguf(counts=(32768, 0)) + numbered(32768, tensor), bytes(8)),
    "more tensors": endless(gguf(counts=(10**6, 0)), tensor(b"x")),
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


@pytest.mark.parametrize(
    "data, words",
    [
        (gguf(key(b"k", 0, b"x"), key(b"k", 0, b"x")), "has the key 'k' twice"),
        (gguf(key(b"k", 0, b"x"), array(b"k", 8, 0)), "has the key 'k' twice"),
        (gguf(tensors=[tensor(b"t"), tensor(b"t")]), "has the tensor 't' twice"),
        (gguf(array(b"t", 9, 70000, struct.pack("<IQ", 0, 0) * 70000)), "more than 65536 arrays in arrays"),
        (gguf(tensors=[tensor(b"n" * 300)]), "a tensor name of 300 bytes"),
        (gguf(key(b"general.alignment", 4, struct.pack("<I", 0))), "alignment .* of 0, which is no power of two"),
        (gguf(key(b"general.alignment", 4, struct.pack("<I", 48))), "alignment .* of 48"),
        (b"FUGG" + bytes(100), "does not begin with GGUF"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "big-endian"),
    ],
)
def test_a_lie_is_a_sentence(data, words):
    stream = io.BytesIO(data)
    with pytest.raises(HeaderError, match=words):
        read_header(stream.read)


def test_a_long_text_is_kept_in_part_and_what_follows_is_read():
    stream = io.BytesIO(gguf(key(b"long", 8, text(b"a" * 200000)), key(b"after", 4, struct.pack("<I", 7))))
    header = read_header(lambda size: stream.read(max(size, 1000)))
    assert header.keys == {"long": "a" * 65536, "after": 7}


NUMBERS = st.one_of(st.integers(0, 20), st.sampled_from([2**16, 2**31 - 1, 2**31, 2**32 - 1]))
NAMES = st.sampled_from(
    [
        b"block_count",
        b"embedding_length",
        b"attention.head_count",
        b"attention.head_count_kv",
        b"attention.key_length",
        b"context_length",
        b"attention.sliding_window",
        b"attention.sliding_window_pattern",
        b"ssm.inner_size",
        b"expert_count",
        b"vocab_size",
        b"pooling_type",
    ]
)
VALUES = st.one_of(
    NUMBERS.map(lambda number: (4, struct.pack("<I", number))),
    st.floats(width=32).map(lambda number: (6, struct.pack("<f", number))),
    st.binary(max_size=20).map(lambda data: (8, text(data))),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6).map(
        lambda items: (9, struct.pack("<IQ%di" % len(items), 5, len(items), *items))
    ),
    st.lists(st.binary(max_size=3), max_size=3).map(
        lambda items: (9, struct.pack("<IQ", 8, len(items)) + b"".join(map(text, items)))
    ),
    st.booleans().map(lambda flag: (7, b"\x01" if flag else b"\x00")),
)
TENSORS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"token_embd.weight",
                b"output.weight",
                b"blk.0.attn_k.weight",
                b"blk.1.ffn_up_exps.weight",
                b"blk.99999999.x",
                b"v.x",
                b"",
            ]
        ),
        st.integers(0, 45),
        st.lists(st.integers(1, 2**20), min_size=1, max_size=4),
    ),
    max_size=5,
    unique_by=lambda item: item[0],
)


@settings(max_examples=300)
@given(st.dictionaries(NAMES, VALUES, max_size=8), TENSORS)
def test_keys_and_tensors_of_any_kind_give_facts_or_a_sentence(keys, tensors):
    listed = [key(b"general.architecture", 8, text(b"a"))] + [
        key(b"a." + name, kind, data) for name, (kind, data) in keys.items()
    ]
    stream = io.BytesIO(gguf(*listed, tensors=[tensor(name, kind, shape) for name, kind, shape in tensors]))
    try:
        facts = model_facts(merge([read_header(stream.read)]))
    except HeaderError as error:
        assert "\n" not in str(error)
        return
    assert all(
        facts[name] is None or facts[name] >= 0 for name in ("output_bytes", "embedding_bytes", "projector_bytes")
    )
    assert len(facts["layers"]) == facts["block_count"] <= 4096


@settings(max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 3), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_any_counts_before_any_noise(noise, version, tensors, keys):
    stream = io.BytesIO(b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + noise)
    try:
        read_header(lambda size: stream.read(max(1, min(size, 7))))
    except HeaderError as error:
        assert "\n" not in str(error)


def test_an_alignment_that_is_a_power_of_two_is_no_lie():
    for value in (1, 32, 2**31):
        data = gguf(key(b"general.alignment", 4, struct.pack("<I", value)))
        assert read_header(io.BytesIO(data).read).keys == {"general.alignment": value}


def facts_of(*keys):
    listed = [key(b"general.architecture", 8, text(b"a")), key(b"a.block_count", 4, struct.pack("<I", 2))]
    return model_facts(read_header(io.BytesIO(gguf(*listed, *keys, tensors=[tensor(b"t", 0, [1])])).read))


@pytest.mark.parametrize(
    "hostile",
    [
        key(b"a.embedding_length", 5, struct.pack("<i", -64)),
        array(b"a.attention.head_count_kv", 5, 2, struct.pack("<2i", 8, -8)),
    ],
)
def test_a_negative_length_is_a_sentence(hostile):
    with pytest.raises(HeaderError, match="of the GGUF header is negative"):
        facts_of(hostile)


def test_a_number_that_json_does_not_know_is_left_out():
    numbers = [
        key(b"a.x%d" % place, 12, struct.pack("<d", value))
        for place, value in enumerate((float("inf"), float("nan"), 0.5))
    ]
    assert facts_of(*numbers)["hyperparameters"] == {"block_count": 2, "x2": 0.5}


@pytest.mark.parametrize(
    "shape", [[0, 4], [-32, 2], [-32, -2], [2**40, 2**40], [float("inf")], [float("nan")], None, 7, ["x"], [[]]]
)
def test_a_server_whose_tensors_lie(shape):
    with pytest.raises(HeaderError, match="impossible shape|without name, type or shape"):
        show_header({"model_info": {}, "tensors": [{"name": "t", "type": "F16", "shape": shape}]})


def test_a_server_with_tensors_without_end():
    with pytest.raises(HeaderError, match="has 40000 tensors"):
        show_header({"model_info": {}, "tensors": [{"name": "t", "type": "F16", "shape": [32]}] * 40000})


def test_no_path_of_a_file():
    with pytest.raises(SourceError, match="is no path of a file"):
        from_file("a\0b")


def test_the_parts_of_a_split_model_have_one_limit_for_all(tmp_path):
    wide = "\U0001f600".encode() + b"a" * 65000  # four bytes a character in memory
    full = gguf(*(key(b"k%d" % number, 8, text(wide)) for number in range(30)))
    for number in range(40):
        (tmp_path / ("m-%05d-of-00040.gguf" % (number + 1))).write_bytes(full)
    tracemalloc.start()
    with pytest.raises(HeaderError, match="goes on after"):
        from_file(str(tmp_path / "m-00001-of-00040.gguf"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * MIB, "%.0f MiB" % (peak / MIB)


WORDS = [
    struct.pack("<Q", number)
    for number in (0, 1, 8, 9, 2**15, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
]


def damaged(data, dice):
    """A header with some of its bytes changed, taken out, doubled or cut off."""
    data = bytearray(data)
    for unused in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(data))
        change = dice.randrange(6)
        if change == 0:
            data[at] ^= 1 << dice.randrange(8)
        elif change == 1:
            data[at : at + 8] = dice.choice(WORDS)
        elif change == 2:
            data[at : at + 4] = dice.choice(WORDS)[:4]
        elif change == 3:
            del data[at : at + dice.randrange(1, 40)]
        elif change == 4:
            begin = dice.randrange(len(data))
            data[at:at] = data[begin : begin + dice.randrange(1, 200)]
        elif len(data) > 100:
            del data[max(at, 50) :]
    return bytes(data)


def test_a_real_header_with_any_damage_gives_facts_or_a_sentence():
    dice, whole, outcomes = random.Random("damage"), catalog.header_of("tiny")[0], {True: 0, False: 0}
    for unused in range(3000):
        stream = io.BytesIO(damaged(whole, dice))
        try:
            model_facts(merge([read_header(lambda size, stream=stream: stream.read(max(size, 65536)))]))
            outcomes[True] += 1
        except HeaderError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
            outcomes[False] += 1
    assert min(outcomes.values()) > 100
