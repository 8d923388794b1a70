/**
 * A run followed to its end: its events let the reply that is shown (`run.reply`) grow. Knows the run and the turns.
 */

import { apply, conclude, turnsOf } from "./turns.js";

/**
 * Resolves when the run has ended or was let go. `on(what, turns)` hears "connected", "cut", "text" (the reply grew) and
 * "kept" (what `read()`, the stored chat, has). Rejects with the `Problem` of a refusal.
 */
export async function follow(run, read, on) {
  for await (const { type, data } of run.read()) {
    if (run.isLeft) return;
    if (type === "connected" || type === "cut") on(type);
    else if (type === "gone" ? await settled(run, read, on) : apply(run.reply, type, data, Date.now())) return;
    else if (type !== "gone") on("text");
  }
}

/** The stream has no more to say: what the service kept of the run is the truth; what only we saw stays shown. */
async function settled(run, read, on) {
  const kept = await read().catch(() => null);
  if (!kept || run.isLeft || kept.run?.run_id === run.id) return false;
  const turns = turnsOf(kept);
  const ended = turns.find(({ role, runId }) => role === "assistant" && runId === run.reply.runId);
  conclude(run.reply, ended);
  if (ended) on("kept", turns);
  return true;
}
