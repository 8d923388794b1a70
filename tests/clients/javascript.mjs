// OpenAI's package, the AI SDK and AG-UI's client: prints what they saw as one line of JSON.
import OpenAI from "openai";
import { streamText } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HttpAgent } from "@ag-ui/client";

const [url, other] = process.argv.slice(2);
const seen = {};
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any" });
const elsewhere = new OpenAI({ baseURL: `${other}/v1`, apiKey: "any" });
const messages = [{ role: "user", content: "hi" }];

let text = "", thought = "", usage;
for await (const chunk of await client.chat.completions.create({ model: "analyst", messages, stream: true, stream_options: { include_usage: true } })) {
  usage = chunk.usage ?? usage;
  for (const choice of chunk.choices) {
    text += choice.delta.content ?? "";
    thought += choice.delta.reasoning_content ?? "";
  }
}
seen.stream = [text, thought.trim(), usage.total_tokens];
try { await client.chat.completions.create({ model: "nope", messages }); } catch (error) { seen.unknown = [error.status, error.code]; }
try {
  for await (const _ of await client.chat.completions.create({ model: "general", messages: [{ role: "user", content: "fail" }], stream: true }));
} catch (error) { seen.failed = error.message; }

const events = [];
for await (const event of await client.responses.create({ model: "analyst", input: "hi", stream: true })) events.push(event);
const done = events.at(-1).response;
const resumed = [];
for await (const event of await elsewhere.responses.retrieve(done.id, { stream: true, starting_after: events[4].sequence_number })) resumed.push(event);
seen.response = [done.status, JSON.stringify(resumed) === JSON.stringify(events.slice(5))];
const begun = await client.responses.create({ model: "general", input: "held", background: true });
seen.cancelled = (await elsewhere.responses.cancel(begun.id)).status;

const provider = createOpenAICompatible({ name: "chat", baseURL: `${url}/v1`, includeUsage: true });
const parts = [];
const result = streamText({ model: provider("analyst"), prompt: "hi", onError() {} });
for await (const part of result.fullStream) parts.push(part.type);
seen.ai = [await result.text, await result.finishReason, (await result.usage).totalTokens, parts.includes("tool-call"), parts.includes("error"), (await result.reasoningText).trim()];
const failing = streamText({ model: provider("general"), prompt: "fail", maxRetries: 0, onError() {} });
const ends = [];
for await (const part of failing.fullStream) ends.push(part.type);
seen.aiFailed = ends.includes("error");

async function agent(words, then) {
  const one = new HttpAgent({ url: `${url}/api/v1/ag-ui/analyst`, threadId: crypto.randomUUID(), initialMessages: [{ id: "1", role: "user", content: words }] });
  const kinds = [];
  let wrong = null;
  try {
    await one.runAgent({ runId: crypto.randomUUID() }, { onEvent({ event }) { kinds.push(event.type); then?.(one, event); } });
  } catch (error) { wrong = String(error); }
  const said = one.messages.filter((message) => message.role === "assistant").map((message) => message.content ?? "").join("");
  return { said, last: kinds.at(-1), wrong };
}
seen.agent = await agent("hi");
seen.agentFailed = await agent("fail");
seen.agentLeft = await agent("held", (one, event) => { if ((event.delta ?? "").includes("word2")) one.abortRun(); });
console.log(JSON.stringify(seen));
process.exit(0);
