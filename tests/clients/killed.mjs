// The clients in JavaScript where the backend dies under them: what they tell, and a second ask, as one line of JSON.
import OpenAI from "openai";
import { streamText } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HttpAgent } from "@ag-ui/client";

const [url] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any" });
const provider = createOpenAICompatible({ name: "chat", baseURL: `${url}/v1` });
const threads = {};
process.on("unhandledRejection", () => {}); // AG-UI tells a cut twice: as an error, and so

const asks = {
  async js(words) {
    let text = "";
    const messages = [{ role: "user", content: words }];
    for await (const chunk of await client.chat.completions.create({ model: "general", messages, stream: true })) text += chunk.choices[0].delta.content ?? "";
    return text;
  },
  async ai(words) {
    let wrong;
    const result = streamText({ model: provider("general"), prompt: words, onError({ error }) { wrong = error; } });
    let text = "";
    for await (const part of result.fullStream) {
      if (part.type === "text-delta") text += part.text;
      if (part.type === "error") wrong = part.error;
    }
    if (wrong) throw wrong;
    return text;
  },
  async agent(words) {
    const thread = (threads.id ??= crypto.randomUUID());
    const agent = new HttpAgent({ url: `${url}/api/v1/ag-ui/general`, threadId: thread, initialMessages: [{ id: "1", role: "user", content: words }] });
    let last;
    await agent.runAgent({ runId: crypto.randomUUID() }, { onEvent({ event }) { last = event.type; } });
    if (last !== "RUN_FINISHED") throw new Error(last);
    return agent.messages.filter((one) => one.role === "assistant").map((one) => one.content ?? "").join("");
  },
};

async function healthy() {
  while (!(await fetch(`${url}/health`).then((answer) => answer.ok, () => false))) await new Promise((then) => setTimeout(then, 200));
}

const seen = {};
await Promise.all(Object.entries(asks).map(async ([name, ask]) => {
  let told;
  try { told = ["no error", await ask(`killed ${name}.`)]; } catch (error) { told = ["error", String(error.message)]; }
  await healthy();
  seen[name] = [...told, await ask(`again ${name}.`)];
}));
seen.thread = threads.id;
console.log(JSON.stringify(seen));
process.exit(0);
