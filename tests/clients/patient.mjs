// The clients in JavaScript at a model that is silent for long, over a line that is cut after less silence than that:
// what they got, as one line of JSON.
globalThis.window = { setTimeout, clearTimeout };
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const [url, patience] = process.argv.slice(2);
const plain = globalThis.fetch;
globalThis.fetch = window.fetch = async (address, asked = {}) => {
  const cut = new AbortController();
  asked.signal?.addEventListener("abort", () => cut.abort());
  let watch = setTimeout(() => cut.abort(), patience * 1000);
  const heard = () => { clearTimeout(watch); watch = setTimeout(() => cut.abort(), patience * 1000); };
  const answer = await plain(address, { ...asked, signal: cut.signal });
  heard();
  const pieces = new TransformStream({ transform(piece, out) { heard(); out.enqueue(piece); }, flush() { clearTimeout(watch); } });
  return new Response(answer.body?.pipeThrough(pieces), answer);
};

const { default: OpenAI } = await import("openai");
const { streamText } = await import("ai");
const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
const { HttpAgent } = await import("@ag-ui/client");
const { createParser } = await import("eventsource-parser");
const { createRequire } = await import("node:module");
const { fetchEventSource } = createRequire(import.meta.url)("@microsoft/fetch-event-source");

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const provider = createOpenAICompatible({ name: "chat", baseURL: `${url}/v1` });
const chat = () => `${url}/api/v1/chat/${crypto.randomUUID()}?format=json`;
const posted = (words) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ message: words }) });
const clients = {
  async chunks(words) {
    let text = "";
    for await (const chunk of await client.chat.completions.create({ model: "general", messages: [{ role: "user", content: words }], stream: true })) text += chunk.choices[0].delta.content ?? "";
    return text;
  },
  async response(words) {
    let text = "";
    for await (const event of await client.responses.create({ model: "general", input: words, stream: true })) text += event.delta ?? "";
    return text;
  },
  async ai(words) {
    return await streamText({ model: provider("general"), prompt: words, maxRetries: 0 }).text;
  },
  async agent(words) {
    const agent = new HttpAgent({ url: `${url}/api/v1/ag-ui/general`, threadId: crypto.randomUUID(), initialMessages: [{ id: "1", role: "user", content: words }] });
    await agent.runAgent({ runId: crypto.randomUUID() });
    return agent.messages.filter((one) => one.role === "assistant").map((one) => one.content ?? "").join("");
  },
  async parser(words) {
    let text = "";
    const parser = createParser({ onEvent(event) { if (event.event === "text") text += JSON.parse(event.data).text; } });
    const answer = await fetch(chat(), posted(words));
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) parser.feed(piece);
    return text;
  },
  async eventSource(words) {
    let text = "";
    await fetchEventSource(chat(), {
      ...posted(words), openWhenHidden: true,
      onmessage(event) { if (event.event === "text") text += JSON.parse(event.data).text; },
      onerror(error) { throw error; },
    });
    return text;
  },
};
const seen = {};
await Promise.all(Object.entries(clients).map(async ([name, ask]) => {
  try { seen[name] = await ask(`silent ${name} in js.`); } catch (error) { seen[name] = `error: ${error.message}`; }
}));
console.log(JSON.stringify(seen));
process.exit(0);
