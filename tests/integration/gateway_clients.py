# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The clients of other projects at a gateway: packages ollama and openai. Run by a Python that has them.

    gateway_clients.py URL KEY CA

Prints JSON: what each call gave.
"""

from __future__ import annotations

import base64
import json
import ssl
import sys

import httpx
import ollama
import openai

TOOL = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}
IMAGE = b"\x89PNG" + bytes(range(256)) * 600


def with_ollama(url: str, key: str, context: ssl.SSLContext) -> dict:
    """Calls of the package ollama."""
    client = ollama.Client(host=url, headers={"Authorization": "Bearer " + key}, verify=context)
    message = {"role": "user", "content": "Hi"}
    found = {
        "chat": client.chat("tiny:8b", [message]).message.content,
        "tools": client.chat("tiny:8b", [message], tools=[TOOL], options={"temperature": 0}).message.content,
        "images": client.chat("llama3", [{**message, "images": [IMAGE]}]).done,
        "stream": [part.message.content for part in client.chat("tiny:8b", [message], stream=True)],
        "generate": client.generate("tiny:8b", "Hi").response,
        "generate stream": [part.response for part in client.generate("tiny:8b", "Hi", stream=True)],
        "embed": [list(one) for one in client.embed("tiny:8b", ["a", "b"]).embeddings],
        "list": [model.model for model in client.list().models],
        "ps": [model.model for model in client.ps().models],
        "show": client.show("tiny:8b").capabilities,
    }
    for name, call in (("pull", lambda: client.pull("x")), ("delete", lambda: client.delete("tiny:8b"))):
        try:
            call()
        except ollama.ResponseError as error:
            found[name] = error.status_code
    try:
        client.chat("nope", [message])
    except ollama.ResponseError as error:
        found["nope"] = [error.status_code, error.error]
    return found


def with_openai(url: str, key: str, context: ssl.SSLContext) -> dict:
    """Calls of the package openai."""
    client = openai.OpenAI(base_url=url + "/v1", api_key=key, http_client=httpx.Client(verify=context), max_retries=0)
    messages = [{"role": "user", "content": "Hi"}]
    url_of_image = {"url": "data:image/png;base64," + base64.b64encode(IMAGE).decode()}
    image = {"type": "image_url", "image_url": url_of_image}
    looking = [{"role": "user", "content": [{"type": "text", "text": "Hi"}, image]}]
    stream = client.chat.completions.create(model="tiny:8b", messages=messages, stream=True)
    found = {
        "chat": client.chat.completions.create(model="tiny:8b", messages=messages).choices[0].message.content,
        "tools": client.chat.completions.create(model="tiny:8b", messages=messages, tools=[TOOL])
        .choices[0]
        .message.content,
        "images": client.chat.completions.create(model="llama3", messages=looking).choices[0].message.content,
        "stream": [part.choices[0].delta.content for part in stream],
        "embed": [one.embedding for one in client.embeddings.create(model="tiny:8b", input=["a", "b"]).data],
        "list": [model.id for model in client.models.list().data],
        "retrieve": client.models.retrieve("tiny:8b").id,
    }
    try:
        client.chat.completions.create(model="nope", messages=messages)
    except openai.NotFoundError as error:
        found["nope"] = error.message
    try:
        openai.OpenAI(base_url=url + "/v1", api_key="x", http_client=httpx.Client(verify=context)).models.list()
    except openai.AuthenticationError as error:
        found["wrong key"] = error.status_code
    return found


if __name__ == "__main__":
    trusted = ssl.create_default_context(cafile=sys.argv[3])
    print(json.dumps({call.__name__: call(*sys.argv[1:3], trusted) for call in (with_ollama, with_openai)}))
