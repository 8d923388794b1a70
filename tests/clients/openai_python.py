"""OpenAI's own package against the server named: prints what it saw as one line of JSON."""

import json
import sys

import openai

url, *others = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="any")
elsewhere = openai.OpenAI(base_url=f"{others[0]}/v1", api_key="any")
ask = [{"role": "user", "content": "hi"}]
seen: dict = {}

text = thought = finish = ""
usage = None
for chunk in client.chat.completions.create(
    model="analyst", messages=ask, stream=True, stream_options={"include_usage": True}
):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        text += choice.delta.content or ""
        thought += getattr(choice.delta, "reasoning_content", "") or ""
        finish = choice.finish_reason or finish
        assert not choice.delta.tool_calls
seen["stream"] = [text, thought.strip(), finish, usage.total_tokens]

whole = client.chat.completions.create(model="analyst", messages=ask)
message = whole.choices[0].message
seen["whole"] = [
    message.content,
    message.reasoning_content,
    whole.choices[0].finish_reason,
    whole.usage.total_tokens,
]

try:
    client.chat.completions.create(model="nope", messages=ask)
except openai.NotFoundError as error:
    seen["unknown"] = [error.code, error.message]
try:
    for _ in client.chat.completions.create(
        model="general", messages=[{"role": "user", "content": "fail"}], stream=True
    ):
        pass
except openai.APIError as error:
    seen["failed in the stream"] = error.message
try:
    client.chat.completions.create(model="general", messages=[{"role": "user", "content": "fail"}])
except openai.APIStatusError as error:
    seen["failed whole"] = [error.status_code, error.message]

with client.chat.completions.create(
    model="general", messages=[{"role": "user", "content": "held"}], stream=True
) as stream:
    for chunk in stream:
        if "word2" in (chunk.choices[0].delta.content or ""):
            break

events = list(client.responses.create(model="analyst", input="hi", stream=True))
done = events[-1].response
seen["response"] = [done.status, done.output_text, events[0].type, events[-1].type]
resumed = list(elsewhere.responses.retrieve(done.id, stream=True, starting_after=events[4].sequence_number))
assert [one.to_dict() for one in resumed] == [one.to_dict() for one in events[5:]]

begun = client.responses.create(model="general", input="held", background=True)
seen["background"] = [begun.status, elsewhere.responses.retrieve(begun.id).id == begun.id]
seen["cancelled"] = [elsewhere.responses.cancel(begun.id).status, client.responses.cancel(begun.id).status]
again = client.responses.create(model="general", input="more", previous_response_id=done.id)
seen["again"] = again.status
client.responses.delete(again.id)
print(json.dumps(seen))
