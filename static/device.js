/**
 * What this device remembers: key, theme, drafts, small choices. Works (forgetfully) where storage is forbidden.
 */

const PREFIX = "chat.";
const DRAFTS_KEPT = 50;

export function recall(name, otherwise = "") {
  try {
    return localStorage.getItem(PREFIX + name) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Keeps `value` under `name`; an empty one is forgotten. */
export function remember(name, value) {
  try {
    if (value) localStorage.setItem(PREFIX + name, value);
    else localStorage.removeItem(PREFIX + name);
  } catch {
    // full or forbidden: the page works without
  }
}

/** What has not been sent in a chat: {text, files, chatId}; `chatId`: where the files of a new chat are. */
export function draftOf(chatId) {
  const kept = recall(`draft.${chatId}`);
  try {
    const { files = [], chatId: id } = JSON.parse(recall(`draft-files.${chatId}`, "{}"));
    return { text: kept, files, chatId: id };
  } catch {
    return { text: kept, files: [] };
  }
}

/** Keeps what has not been sent in a chat; the oldest drafts go when there are too many. */
export function keepDraft(chatId, { text = "", files = [], chatId: id } = {}) {
  const ids = recall("drafts")
    .split(" ")
    .filter((id) => id && id !== chatId);
  if (text || files.length > 0) ids.push(chatId);
  while (ids.length > DRAFTS_KEPT) forget(ids.shift());
  remember("drafts", ids.join(" "));
  remember(`draft.${chatId}`, text);
  remember(`draft-files.${chatId}`, files.length > 0 ? JSON.stringify({ files, chatId: id }) : "");
}

function forget(chatId) {
  remember(`draft.${chatId}`, "");
  remember(`draft-files.${chatId}`, "");
}
