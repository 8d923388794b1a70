/**
 * The service over HTTP: one method per endpoint, refusals as `Problem`, the API key, deadlines.
 *
 * Knows neither the document nor what a chat is doing; streams are handed back as plain responses.
 */

const DEADLINE_MS = 8000;
const UPLOAD_MS = 120_000; // a megabyte over a bad line
const BASE = new URL("..", import.meta.url).pathname.slice(0, -1); // what stands in front of every path (BASE_PATH)

/** A request refused or lost; `code` is the server's, else `unreachable`, `gateway` or `refused`. */
export class Problem extends Error {
  constructor({ code, detail = "", status = 0, requestId = "", runId = "", backend = "", retryAfter = 0, errors = [] }) {
    super(detail || code);
    Object.assign(this, { code, detail, status, requestId, runId, backend, retryAfter, errors });
  }

  /** No backend has taken it, or nobody knows: asking again with the same run id is the right thing. */
  get isLost() {
    const isGateway = (this.status === 502 || this.status === 504) && !this.code.startsWith("model_");
    return isGateway || this.code === "unreachable" || this.code === "draining";
  }
}

export class Api {
  #key;

  /** `key`: the API key of this device, see `key.js`. */
  constructor(key) {
    this.#key = key;
  }

  chat = (id) => this.#json("GET", chatPath(id));
  chats = (limit, offset = 0) => this.#json("GET", `/api/v1/chats?limit=${limit}&offset=${offset}`);
  agents = () => this.#json("GET", "/api/v1/agents");
  status = () => this.#json("GET", "/api/v1/status");
  health = () => this.#json("GET", "/health");
  find = (words, limit) => this.#json("GET", `/api/v1/chats?limit=${limit}&q=${encodeURIComponent(words)}`);
  /** Any of `title`, `agent`, `instructions`, `temperature`. */
  change = (id, what) => this.#json("PATCH", chatPath(id), { json: what });
  remove = (id) => this.#json("DELETE", chatPath(id));
  /** `seen`: the number of the last event on screen; what is kept of the reply ends with it. */
  stop = (id, runId, seen) =>
    this.#json("POST", `/api/v1/stop/${encodeURIComponent(id)}?wait=2000`, {
      json: { ...(runId && { run_id: runId }), ...(seen && { seen }) },
    });
  swap = (id, version) => this.#json("POST", `${chatPath(id)}/versions`, { json: { version } });
  /** `lasts`: "once" or "chat". */
  approve = (id, toolId, isAllowed, lasts) =>
    this.#json("POST", `${chatPath(id)}/approve`, { json: { tool_use_id: toolId, approve: isAllowed, for: lasts } });
  /** What is answered for a whole chat: `{tools: [{name, status}]}`; one of them is taken back. */
  answered = (id) => this.#json("GET", `${chatPath(id)}/approve`);
  askAgain = (id, tool) => this.#json("DELETE", `${chatPath(id)}/approve?tool=${encodeURIComponent(tool)}`);
  fork = (id, runId, newId) => this.#json("POST", `${chatPath(id)}/fork`, { json: { run_id: runId, chat_id: newId } });
  /** `blob` for a message to name: `{file_id, media_type, bytes, name, width?, height?}`. */
  sendFile = (id, blob, name) =>
    this.#json("POST", `${chatPath(id)}/files`, {
      body: blob,
      type: blob.type || "text/plain",
      headers: { "X-File-Name": encodeURIComponent(name) },
      deadline: UPLOAD_MS,
    });
  file = (id, fileId) => this.#fetch("GET", `${chatPath(id)}/files/${fileId}`, {}).then((response) => response.blob());
  removeFile = (id, fileId) => this.#json("DELETE", `${chatPath(id)}/files/${fileId}`);
  unqueue = (id, runId) => this.#json("DELETE", `${chatPath(id)}/queue/${encodeURIComponent(runId)}`);

  /** Starts a run and answers with its stream. The same `run_id` again attaches to the same run. */
  start(id, question, signal) {
    return this.#fetch("POST", `${chatPath(id)}?format=json`, { json: question, signal, deadline: 0 });
  }

  /** Sends a message when its turn has come; true when it waits, false when its reply has begun. */
  async queue(id, question) {
    const json = { ...question, on_busy: "queue" };
    const response = await this.#fetch("POST", `${chatPath(id)}?format=json`, { json });
    void response.body?.cancel();
    return response.status === 202;
  }

  /** The stream of the running or last run after `lastEventId`; status 204 when there is nothing to send. */
  attach(id, lastEventId, signal) {
    const headers = lastEventId ? { "Last-Event-ID": lastEventId } : {};
    return this.#fetch("GET", `${chatPath(id)}/events?format=json`, { headers, signal, deadline: 0 });
  }

  /** The address of an export; with a key it must be fetched, a plain link cannot carry it. */
  exportPath = (id, format) => BASE + exportOf(id, format);
  exported = (id, format) => this.#fetch("GET", exportOf(id, format), {}).then((response) => response.blob());

  /** Everything as one file, a line for each chat, and such lines in again. */
  everythingPath = BASE + EVERYTHING;
  everything = () => this.#fetch("GET", EVERYTHING, { deadline: 0 }).then((response) => response.blob());
  bringIn = (lines) => this.#json("POST", "/api/v1/import", { body: lines, type: "application/x-ndjson", deadline: 0 });

  async #json(method, path, options = {}) {
    const response = await this.#fetch(method, path, options);
    return response.json();
  }

  async #fetch(
    method,
    path,
    { json, body = json && JSON.stringify(json), type = "", headers = {}, signal, deadline = DEADLINE_MS },
  ) {
    const told = json ? "application/json" : type;
    for (;;) {
      const key = this.#key.value;
      const response = await send(path, deadline, signal, {
        method,
        cache: "no-store",
        headers: {
          ...headers,
          ...(told && { "Content-Type": told }),
          ...(key && { Authorization: `Bearer ${key}` }),
        },
        body,
      });
      if (response.ok) return response;
      const problem = await problemOf(response);
      if (problem.code !== "unauthorized") throw problem;
      await this.#key.renew(key);
    }
  }
}

const chatPath = (id) => `/api/v1/chat/${encodeURIComponent(id)}`;
const EVERYTHING = "/api/v1/export";
const exportOf = (id, format) => `${chatPath(id)}/export?format=${format}`;

/** fetch with a deadline for the headers; a failing network becomes a `Problem`, an abort by the caller stays. */
async function send(path, deadline, signal, options) {
  const cut = new AbortController();
  const timer = deadline ? setTimeout(() => cut.abort(), deadline) : 0;
  signal?.addEventListener("abort", () => cut.abort(), { once: true });
  try {
    return await fetch(BASE + path, { ...options, signal: cut.signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({ code: "unreachable" });
  } finally {
    clearTimeout(timer);
  }
}

async function problemOf(response) {
  const body = await response.json().catch(() => null);
  return new Problem({
    code: body?.code ?? (response.status >= 502 ? "gateway" : "refused"),
    detail: typeof body?.detail === "string" ? body.detail : "",
    status: response.status,
    requestId: body?.request_id ?? response.headers.get("X-Request-ID") ?? "",
    runId: body?.run_id ?? "",
    backend: body?.backend ?? "",
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
    errors: Array.isArray(body?.errors) ? body.errors : [],
  });
}
