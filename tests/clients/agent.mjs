// AG-UI's client at an agent: what it was told, as one line of JSON.
import { HttpAgent } from "@ag-ui/client";

const [url, name, words] = process.argv.slice(2);
const agent = new HttpAgent({ url: `${url}/api/v1/ag-ui/${name}`, threadId: crypto.randomUUID(), initialMessages: [{ id: "1", role: "user", content: words }] });
const kinds = [];
let wrong = null;
try {
  await agent.runAgent({ runId: crypto.randomUUID() }, { onEvent({ event }) { kinds.push(event.type); } });
} catch (error) { wrong = String(error); }
const said = agent.messages.filter((one) => one.role === "assistant").map((one) => one.content ?? "").join("");
console.log(JSON.stringify({ kinds, wrong, said }));
process.exit(0);
