/**
 * Chats that are deleted, and brought back by what was read of them before: the service forgets them at once, so
 * "deleted" is true when it is said; what undoes it lives as long as this page.
 *
 * Knows the service alone.
 */

const PART = 8_000_000; // characters of a file that goes in at once

/** Deletes a chat; resolves with what brings it back, or null where nothing does. Rejects with `Problem`. */
export async function remove(api, id) {
  let kept = await api.chat(id);
  const { unsent = [] } = kept.run ? await api.stop(id, kept.run.run_id, 0) : {};
  if (kept.run) kept = await api.chat(id);
  const lines = kept.messages.length > 0 && (await api.exported(id, "jsonl"));
  await api.remove(id).catch((problem) => {
    if (problem.status !== 404) throw problem; // one that is gone already is as good as deleted
  });
  const waits = [...(kept.queued ?? []), ...unsent].map(({ message }) => message).join("\n\n");
  return lines ? { lines, waits } : null;
}

/** Brings a deleted chat back; its id now. What waited in it is for the box. Rejects with `Problem`. */
export async function restore(api, { lines }) {
  const { chats } = await bringIn(api, await lines.text());
  if (chats.length === 0) throw new Error("the service did not take it back");
  return chats[0].chat_id;
}

/** Puts in the lines of an export, in parts that the service takes; `{chats, errors}` of all. */
export async function bringIn(api, text) {
  const whole = { chats: [], errors: [] };
  for (const part of partsOf(text)) {
    const { chats, errors } = await api.bringIn(part);
    whole.chats.push(...chats);
    whole.errors.push(...errors);
  }
  return whole;
}

/** Whole lines, as many as fit. */
function* partsOf(text) {
  for (let from = 0; from < text.length;) {
    const end = text.length - from > PART ? text.lastIndexOf("\n", from + PART) + 1 : text.length;
    const to = end > from ? end : text.indexOf("\n", from) + 1 || text.length; // a line that is longer than a part
    yield text.slice(from, to);
    from = to;
  }
}
