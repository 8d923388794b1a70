/**
 * Chats that are deleted, and brought back by what was read of them before: the service forgets them at once, so
 * "deleted" is true when it is said; what undoes it lives as long as this page.
 *
 * Knows the service alone.
 */

const PART = 8_000_000; // characters of a file that goes in at once
const FILE_BYTES = 9 * 1024 * 1024; // of all files of one chat in such a line
const STEP = 0x8000; // letters made at once

/** Deletes a chat; resolves with what brings it back, or null where nothing does. Rejects with `Problem`. */
export async function remove(api, id) {
  let kept = await api.chat(id);
  const { unsent = [] } = kept.run ? await api.stop(id, kept.run.run_id, 0) : {};
  if (kept.run) kept = await api.chat(id);
  const files = await filesOf(api, id, kept.messages);
  await api.remove(id).catch((problem) => {
    if (problem.status !== 404) throw problem; // one that is gone already is as good as deleted
  });
  const waits = [...(kept.queued ?? []), ...unsent].map(({ message }) => message).join("\n\n");
  return kept.messages.length > 0 ? { kept, files, waits } : null;
}

/** Brings a deleted chat back; its id now. What waited in it is for the box. Rejects with `Problem`. */
export async function restore(api, { kept, files }) {
  const { chats } = await bringIn(api, JSON.stringify({ ...kept, files: await Promise.all(files.map(packed)) }));
  if (chats.length === 0) throw new Error("the service did not take it back");
  return chats[0].chat_id;
}

/** The files of a chat, the newest that fit into a line: [{file_id, blob}]. */
async function filesOf(api, chatId, messages) {
  const named = messages.flatMap(({ files }) => files ?? []).reverse();
  const wanted = [...new Map(named.map((file) => [file.file_id, file])).values()];
  let left = FILE_BYTES;
  const fitting = wanted.filter(({ bytes }) => (left -= bytes) >= 0);
  return Promise.all(fitting.map(async ({ file_id: id }) => ({ file_id: id, blob: await api.file(chatId, id) })));
}

/** As a line of an export has it. */
async function packed({ file_id, blob }) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let letters = "";
  for (let at = 0; at < bytes.length; at += STEP) letters += String.fromCharCode(...bytes.subarray(at, at + STEP));
  return { file_id, media_type: blob.type.split(";")[0], data: btoa(letters) };
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
