/**
 * The turns of a chat as plain data, and how the events of a run make a reply grow.
 *
 * Pure: no network, no document; the clock is handed in.
 * question: {role: "user", runId, text, at, versions, files}
 *   files     that went along, as the service names them
 *   versions  what stood here before, [{version, created_at, messages}]
 * reply:    {role: "assistant", runId, parts, held, waits, outcome, facts, stop, error, at}
 *   parts   [{kind: "text", text} | {kind: "reasoning", text, seconds} |
 *            {kind: "tool", id, name, status, input, output, seconds, parent?}], as they came; a tool that is "asked" waits
 *           for a person, and one with a parent is called by an agent that works for this one
 *   waits   what is waited for: {kind: "queue", ahead} or {kind: "model", phase, share}, or null
 *   held    parts that arrived after the click on Stop and are not shown, or null
 *   outcome null while the reply is being made, then done, stopped or failed
 */

export const question = (runId, text, { at = new Date().toISOString(), versions = [], files = [] } = {}) => ({
  role: "user",
  runId,
  text,
  at,
  versions,
  files,
});

export const reply = (runId, parts = [], outcome = null, facts = {}, at = new Date().toISOString()) => ({
  role: "assistant",
  runId,
  parts,
  held: null,
  waits: null,
  outcome,
  facts: facts ?? {},
  stop: facts?.stop_ms == null ? null : { ms: facts.stop_ms, backend: facts.backend, answeredBy: facts.answered_by },
  error: facts?.error ?? null,
  at,
});

const UNDERWAY = new Set(["asked", "running"]);

/** The turns of `GET /api/v1/chat/{id}`; a run that is going gets an empty reply to fill. */
export function turnsOf({ messages, run }) {
  const turns = messages.map((message) =>
    message.role === "user"
      ? question(message.run_id, message.content, { at: message.created_at, versions: message.versions, files: message.files })
      : reply(message.run_id, partsOf(message), message.outcome ?? "done", message.facts, message.created_at),
  );
  if (run?.continues) reopen(turns.at(-1));
  else if (run) turns.push(reply(run.run_id, [], null, { agent: run.agent, backend: run.backend }, run.started_at));
  return turns;
}

/** The parts the service kept of a reply; of an older one the text alone. */
function partsOf({ parts, content }) {
  if (!parts?.length) return content ? [{ kind: "text", text: content }] : [];
  return parts.map(({ type: kind, tool_use_id: id, ...rest }) => ({ kind, ...(id && { id }), ...rest }));
}

/**
 * `fresh` turns, with those of `shown` in their place that have ended the same way: what was seen stays as it is, and
 * learns the facts that the service has added.
 */
export const merged = (shown, fresh) =>
  fresh.map((turn) => {
    const same = shown.find((known) => isSame(known, turn));
    if (same) Object.assign(same.facts ?? {}, turn.facts);
    return same ?? turn;
  });

const isSame = (one, other) =>
  one.runId === other.runId &&
  one.role === other.role &&
  one.outcome === other.outcome &&
  one.text === other.text &&
  one.versions?.length === other.versions?.length &&
  one.facts?.continued === other.facts?.continued;

/** Lets a reply that was cut go on where it ends; the function that is given back undoes it. */
export function reopen(target) {
  const before = { ...target };
  const continued = (target.facts.continued ?? 0) + 1;
  Object.assign(target, { facts: { ...target.facts, continued }, outcome: null, held: null, stop: null, error: null });
  return () => Object.assign(target, before);
}

/** The text of a reply, without reasoning and tools; what they part is parted by a blank line. */
export const textOf = ({ parts }) =>
  parts
    .filter(({ kind, text }) => kind === "text" && text)
    .reduce((whole, { text }) => (whole ? `${whole.replace(/\n+$/, "")}\n\n${text.replace(/^\n+/, "")}` : text), "");

/** The index of the question of a run, or -1. */
export const questionIndex = (turns, runId) => turns.findIndex((turn) => turn.role === "user" && turn.runId === runId);

/** Lets one event of the stream act on `target`, `now` in ms; true when it was the last one. */
export function apply(target, type, data, now = 0) {
  const parts = target.held ?? target.parts;
  target.waits = waitOf(type, data);
  if (type === "start") Object.assign(target.facts, data);
  else if (type === "text" || type === "reasoning") grow(parts, type, data.text, now);
  else if (type === "tool") noteTool(target, parts, data, now);
  else if (type === "end") end(target, data, now);
  return type === "end";
}

function waitOf(type, { ahead, position, phase, processed, total }) {
  if (type === "queue") return { kind: "queue", ahead: ahead ?? Math.max(0, (position ?? 1) - 1) };
  if (type === "model") return { kind: "model", phase, share: total > 0 ? Math.min(1, processed / total) : null };
  return null;
}

/** Ends `target` as the service kept it (`ended`, or nothing); what was seen and is not kept stays shown. */
export function conclude(target, ended) {
  const { outcome, error, facts, parts } = ended ?? {
    outcome: "failed",
    error: { code: "run_lost" },
    facts: {},
    parts: [],
  };
  if (textOf({ parts }).length > textOf(target).length) target.parts = parts;
  Object.assign(target.facts, facts);
  Object.assign(target, { outcome, error, held: null });
}

/** Nothing that arrives from now on is shown, until it is known how the reply ended. */
export function freeze(target) {
  target.held ??= [];
}

/** Shows what was held back: the stop came too late or did not get through. */
export function thaw(target) {
  for (const part of target.held ?? []) {
    if (part.kind === "tool") target.parts.push(part);
    else grow(target.parts, part.kind, part.text, part.began);
  }
  target.held = null;
}

function grow(parts, kind, text, now) {
  const last = parts.at(-1);
  if (last?.kind === kind) return void (last.text += text);
  rest(parts, now);
  parts.push({ kind, text, ...(kind === "reasoning" && { began: now }) });
}

function noteTool(target, parts, { tool_use_id: id, name, status, input, output, seconds, parent }, now) {
  let part = [...target.parts, ...parts].find((known) => known.kind === "tool" && known.id === id);
  if (!part) {
    rest(parts, now);
    parts.push((part = { kind: "tool", id, name, began: now, ...(parent && { parent }) }));
  }
  if (part.status === "asked") part.began = now; // what a person thought about took the tool no time
  part.status = status;
  if (input !== undefined) part.input = input;
  if (output !== undefined) part.output = output;
  if (status !== "running" && status !== "asked") part.seconds = seconds ?? (now - part.began) / 1000;
}

/** The reasoning before a new part has taken as long as it took. */
function rest(parts, now) {
  const last = parts.at(-1);
  if (last?.kind === "reasoning") last.seconds ??= (now - last.began) / 1000;
}

function end(target, { outcome, error, ...facts }, now) {
  if (outcome === "stopped") target.held = null;
  else thaw(target);
  rest(target.parts, now);
  for (const part of target.parts) if (part.kind === "tool" && UNDERWAY.has(part.status)) part.status = "stopped";
  Object.assign(target.facts, facts);
  target.outcome = outcome;
  target.error = error ?? null;
}
