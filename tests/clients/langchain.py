"""LangChain's ChatOpenAI: prints what it saw as one line of JSON."""

import json
import sys

from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="any", model="analyst", stream_usage=True)
pieces = list(model.stream("hi"))
whole = model.invoke([("system", "Be brief."), ("user", "hi")])
used = [piece.usage_metadata["total_tokens"] for piece in pieces if piece.usage_metadata]
print(
    json.dumps(
        {"stream": "".join(str(piece.content) for piece in pieces), "whole": whole.content, "used": used}
    )
)
