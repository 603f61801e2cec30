# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""/api/generate, /api/chat and /api/embed: loading, unloading, and answers of the engine."""

from __future__ import annotations

import math
import time

from . import gotext, settings
from .errors import ApiError
from .version import FAULT

_INTEGERS = (
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "num_keep",
    "seed",
    "num_predict",
    "draft_num_predict",
    "top_k",
    "repeat_last_n",
)
_FLOATS = ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
_BOOLEANS = ("use_mmap", "numa")


def merged_options(model, given):
    """The parameters of the model, overridden by the options of the request, with checked types
    (api/types.go:1007-1026).
    """
    found = {}
    for name, value in list(model.parameters.items()) + list((given or {}).items()):
        if value is None:
            continue
        if name in _INTEGERS:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ApiError(500, 'option "%s" must be of type integer' % name)
            found[name] = int(value)
        elif name in _FLOATS:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ApiError(500, 'option "%s" must be of type float32' % name)
            found[name] = value
        elif name in _BOOLEANS:
            if not isinstance(value, bool):
                raise ApiError(500, 'option "%s" must be of type boolean' % name)
            found[name] = value
        elif name == "stop":
            found[name] = value if isinstance(value, list) else [value]
        else:
            gotext.log("WARN", "types.go:1007", "invalid option provided", option=name)
    return found


def keep_alive(value):
    """keep_alive of a request in seconds (a number of seconds or a Go duration); None if that of the server applies."""
    if value is None:
        return None
    try:
        seconds = gotext.duration(value) if isinstance(value, str) else float(value)
    except (ValueError, TypeError):
        raise ApiError(400, 'time: invalid duration "%s"' % value) from None
    return settings.FOREVER if seconds < 0 else seconds


def _now():
    return gotext.timestamp(time.time())


def answer(scheduler, model, request, chat):
    """Yield the objects of one answer; loading or unloading gives a single one. `request` is the decoded body."""
    keep = keep_alive(request.get("keep_alive"))
    empty = not request.get("messages") if chat else not request.get("prompt")
    part = (
        (lambda text: {"message": {"role": "assistant", "content": text}})
        if chat
        else (lambda text: {"response": text})
    )
    if empty and keep == 0:
        scheduler.unload(model)
        yield dict({"model": request["model"], "created_at": _now()}, **part(""), done=True, done_reason="unload")
        return
    if "completion" not in model.capabilities():  # routes.go scheduleRunner, for a load as well
        raise ApiError(400, '"%s" does not support %s' % (request["model"], "chat" if chat else "generate"))
    options = merged_options(model, request.get("options"))
    begun = time.monotonic()
    runner = scheduler.acquire(model, options, keep)
    try:
        loaded = time.monotonic()
        if empty:
            yield dict({"model": request["model"], "created_at": _now()}, **part(""), done=True, done_reason="load")
            return
        wanted = max(request.get("top_logprobs") or 0, 1) if request.get("logprobs") else 0
        predict = options.get("num_predict", -1)
        for piece in runner.engine.complete(_prompt(request, chat), predict, options, wanted):
            text = piece.get("content", "")
            if not piece.get("stop"):
                told = _logprobs(piece, bool(request.get("top_logprobs"))) if wanted else {}
                yield dict({"model": request["model"], "created_at": _now()}, **part(text), **told, done=False)
                continue
            yield dict(
                {"model": request["model"], "created_at": _now()}, **part(text), **_last(piece, chat, begun, loaded)
            )
    finally:
        scheduler.release(runner)


def _logprobs(piece, with_others):
    """llm/llama_server.go, convertLogprobs: what is no number in llama-server's JSON (null) is 0 in Go."""

    def one(found):
        return {"token": found["token"], "logprob": found.get("logprob") or 0}

    found = [
        dict(one(token), **({"top_logprobs": list(map(one, token["top_logprobs"]))} if with_others else {}))
        for token in piece.get("completion_probabilities") or []
    ]
    return {"logprobs": found} if found else {}


def embed(scheduler, model, request):
    """The answer of /api/embed (routes.go EmbedHandler); a request without a text loads the model."""
    texts = request.get("input")
    texts = [texts] if isinstance(texts, str) and texts else texts or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ApiError(400, "invalid input type")
    begun = time.monotonic()
    options = merged_options(model, request.get("options"))
    runner = scheduler.acquire(model, options, keep_alive(request.get("keep_alive")))
    try:
        loaded = time.monotonic()
        if not texts:
            return {"model": request["model"], "embeddings": []}
        found = [runner.engine.embed(text) for text in texts]
    finally:
        scheduler.release(runner)
    return {
        "model": request["model"],
        "embeddings": [_normalised(one["embedding"]) for one in found],
        "total_duration": int((time.monotonic() - begun) * 1e9),
        "load_duration": int((loaded - begun) * 1e9),
        "prompt_eval_count": sum(one["tokens_evaluated"] for one in found),
    }


def _normalised(vector):
    """routes.go normalize; what is no number in llama-server's JSON (null) is 0 in Go."""
    numbers = [number or 0.0 for number in vector]
    length = max(math.sqrt(sum(number * number for number in numbers)), 1e-12)
    return [number / length for number in numbers]


def _prompt(request, chat):
    if not chat:
        return request["prompt"]
    return "\n".join(
        "%s: %s" % (message.get("role", ""), message.get("content", "")) for message in request["messages"]
    )


def _last(piece, chat, begun, loaded):
    times = piece.get("timings") or {}
    prompt, count = (
        int(times.get("prompt_n", piece.get("tokens_evaluated", 0))),
        int(times.get("predicted_n", piece.get("tokens_predicted", 0))),
    )
    limit = piece.get("stop_type") == "limit" or piece.get("stopped_limit")
    found = {"done": True, "done_reason": "length" if limit else "stop"}
    if not chat:
        found["context"] = list(range(1, prompt + count + 1))
    found.update(
        {
            "total_duration": int((time.monotonic() - begun) * 1e9),
            "load_duration": int((loaded - begun) * 1e9),
            "prompt_eval_count": prompt,
            "prompt_eval_duration": int(times.get("prompt_ms", 0) * 1e6),
            "eval_count": count,
            "eval_duration": int(times.get("predicted_ms", 0) * 1e6) * (2 if FAULT == "half-speed" else 1),
        }
    )
    return found


def joined(objects, chat):
    """One object for `stream: false`: the texts of all objects with the figures of the last one."""
    texts, last, logprobs = [], None, []
    for last in objects:
        logprobs += last.get("logprobs") or []
        texts.append(last["message"]["content"] if chat else last["response"])
    text = "".join(texts)
    last = dict(last, logprobs=logprobs) if logprobs else last
    return dict(last, message={"role": "assistant", "content": text}) if chat else dict(last, response=text)
