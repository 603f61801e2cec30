# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Made-up benchmarks as their files have them."""

from __future__ import annotations


def figure(median):
    return {"median": median, "q1": median * 0.9, "q3": median * 1.1, "repeats": 3}


def one(instances, prompt, streams, speed, model="tiny"):
    return {
        "model": model,
        "instances": instances,
        "prompt": prompt,
        "prompt_tokens": prompt - 1,
        "streams": streams,
        "first_token_seconds": figure(0.05 * streams),
        "tokens_per_second": figure(speed / streams),
        "total_tokens_per_second": figure(speed),
        "requests_per_minute": figure(speed * 60 / 64),
        "disturbed": 0,
    }


def made(time="2026-11-29T13:00:00Z", speed=100.0, untouched=True, model="tiny", **more):
    """A benchmark of two replicas with two slots, and of an untouched Ollama."""
    rows = [one(["gpu0"], prompt, streams, speed * streams, model) for prompt in (32, 512) for streams in (1, 2)]
    both = ["gpu0", "gpu1"]
    rows += [one(both, prompt, streams, speed * streams * 1.25, model) for prompt in (32, 512) for streams in (2, 4)]
    loads = [{"model": model, "instances": ["gpu0"], "seconds": figure(2.0)}]
    found = {"time": time, "label": "stand-in", "release": "0.32.15", "loads": loads, "measurements": rows, "notes": []}
    if untouched:
        other = [one(["untouched Ollama"], 32, streams, speed * 0.8, model) for streams in (1, 2, 4)]
        found["untouched"] = {"loads": loads, "measurements": other, "notes": [], "loaded": []}
    return {**found, **more}
