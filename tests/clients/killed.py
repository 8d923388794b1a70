"""OpenAI's own package where the backend dies under it: what it tells, and a second ask, as JSON."""

import json
import sys
import threading
import time
import urllib.request

import openai

url = sys.argv[1]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="any")
seen: dict = {}


def chunks(words: str, **_: str) -> str:
    asked = [{"role": "user", "content": words}]
    stream = client.chat.completions.create(model="general", messages=asked, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def whole(words: str) -> str:
    asked = [{"role": "user", "content": words}]
    answer = client.chat.completions.create(model="general", messages=asked)
    return answer.choices[0].message.content or ""


def response(words: str) -> str:
    stream = client.responses.create(model="general", input=words, stream=True)
    text = ""
    for event in stream:
        numbers[words] = (getattr(event, "response", None) or numbers[words][0], event.sequence_number)
        text += getattr(event, "delta", "")
    return text


numbers: dict = {"killed response.": (None, 0)}


def healthy() -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def try_at(name: str, ask) -> None:
    words = f"killed {name}."
    try:
        told = ["no error", ask(words)]
    except Exception as error:  # noqa: BLE001  # what these clients raise is what is looked for
        told = [type(error).__name__, getattr(error, "status_code", None)]
    while not healthy():
        time.sleep(0.2)
    seen[name] = [*told, ask(f"again {name}.")]


numbers["again response."] = (None, 0)
asks = {"chunks": chunks, "whole": whole, "response": response}
threads = [threading.Thread(target=try_at, args=one) for one in asks.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
begun, number = numbers["killed response."]
rest = list(client.responses.retrieve(begun.id, stream=True, starting_after=number))
seen["resumed"] = [rest[-1].type, rest[-1].response.error.code]
print(json.dumps(seen))
