/**
 * The turns of a chat as plain data, and how the events of a run make a reply grow.
 *
 * Pure: no network, no document, no clock.
 * question: {role: "user", runId, text, at}
 * reply:    {role: "assistant", runId, parts, held, outcome, facts, stop, error, at}
 *   parts   [{kind: "text" | "reasoning", text} | {kind: "tool", id, name, status, input, output}], as they came
 *   held    parts that arrived after the click on Stop and are not shown, or null
 *   outcome null while the reply is being made, then done, stopped or failed
 */

export const question = (runId, text, at = new Date().toISOString()) => ({ role: "user", runId, text, at });

export const reply = (runId, text = "", outcome = null, facts = {}, at = new Date().toISOString()) => ({
  role: "assistant",
  runId,
  parts: text ? [{ kind: "text", text }] : [],
  held: null,
  outcome,
  facts: facts ?? {},
  stop: null,
  error: facts?.error ?? null,
  at,
});

/** The turns of `GET /api/v1/chat/{id}`; a run that is going gets an empty reply to fill. */
export function turnsOf({ messages, run }) {
  const turns = messages.map((message) =>
    message.role === "user"
      ? question(message.run_id, message.content, message.created_at)
      : reply(message.run_id, message.content, message.outcome ?? "done", message.facts, message.created_at),
  );
  if (run) turns.push(reply(run.run_id, "", null, { agent: run.agent, backend: run.backend }, run.started_at));
  return turns;
}

/** `fresh` turns, with those of `shown` in their place that have ended the same way: what was seen stays as it is. */
export const merged = (shown, fresh) =>
  fresh.map(
    (turn) =>
      shown.find(
        ({ role, runId, outcome, text }) =>
          runId === turn.runId && role === turn.role && outcome === turn.outcome && text === turn.text,
      ) ?? turn,
  );

/** The text of a reply, without reasoning and tools. */
export const textOf = ({ parts }) =>
  parts
    .filter(({ kind }) => kind === "text")
    .map(({ text }) => text)
    .join("");

/** The index of the question of a run, or -1. */
export const questionIndex = (turns, runId) => turns.findIndex((turn) => turn.role === "user" && turn.runId === runId);

/** Lets one event of the stream act on `target`; true when it was the last one. */
export function apply(target, type, data) {
  const parts = target.held ?? target.parts;
  if (type === "start") Object.assign(target.facts, data);
  else if (type === "text" || type === "reasoning") grow(parts, type, data.text);
  else if (type === "tool") noteTool(target, parts, data);
  else if (type === "end") end(target, data);
  return type === "end";
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
    else grow(target.parts, part.kind, part.text);
  }
  target.held = null;
}

function grow(parts, kind, text) {
  const last = parts.at(-1);
  if (last?.kind === kind) last.text += text;
  else parts.push({ kind, text });
}

function noteTool(target, parts, { tool_use_id: id, name, status, input, output }) {
  let part = [...target.parts, ...parts].find((known) => known.kind === "tool" && known.id === id);
  if (!part) parts.push((part = { kind: "tool", id, name }));
  part.status = status;
  if (input !== undefined) part.input = input;
  if (output !== undefined) part.output = output;
}

function end(target, { outcome, error, ...facts }) {
  if (outcome === "stopped") target.held = null;
  else thaw(target);
  for (const part of target.parts) if (part.kind === "tool" && part.status === "running") part.status = "stopped";
  Object.assign(target.facts, facts);
  target.outcome = outcome;
  target.error = error ?? null;
}
