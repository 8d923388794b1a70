"""OpenAI's own package in a conversation that is busy: its error as one line of JSON."""

import json
import sys

import openai

url, conversation = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="any")
told = ["no error"]
try:
    client.responses.create(model="general", input="second", conversation=conversation)
except openai.ConflictError as error:
    told = [error.code, error.response.json()["run_id"]]
print(json.dumps(told))
