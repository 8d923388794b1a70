"""OpenAI's own package at a model that is silent for long: it gives up sooner than the model speaks, but for
heartbeats. Prints what it got as one line of JSON.
"""

import json
import sys
import threading

import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="any", timeout=float(sys.argv[2]), max_retries=0)
seen: dict = {}


def chunks() -> None:
    asked = [{"role": "user", "content": "silent chunks."}]
    stream = client.chat.completions.create(model="general", messages=asked, stream=True)
    seen["chunks"] = "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def response() -> None:
    stream = client.responses.create(model="general", input="silent response.", stream=True)
    seen["response"] = "".join(getattr(event, "delta", "") for event in stream)


threads = [threading.Thread(target=one) for one in (chunks, response)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(seen))
