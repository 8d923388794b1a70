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

/** What has not been sent in a chat: {text, files, chatId, wishes}; `chatId`: where the files of a new chat are. */
export function draftOf(chatId) {
  const text = recall(`draft.${chatId}`);
  try {
    return { text, files: [], wishes: {}, ...JSON.parse(recall(`draft-more.${chatId}`, "{}")) };
  } catch {
    return { text, files: [], wishes: {} };
  }
}

/** Keeps what has not been sent in a chat; the oldest drafts go when there are too many. */
export function keepDraft(chatId, { text = "", files = [], chatId: id, wishes = {} } = {}) {
  const ids = recall("drafts")
    .split(" ")
    .filter((id) => id && id !== chatId);
  const hasMore = files.length > 0 || Object.keys(wishes).length > 0;
  if (text || hasMore) ids.push(chatId);
  while (ids.length > DRAFTS_KEPT) forget(ids.shift());
  remember("drafts", ids.join(" "));
  remember(`draft.${chatId}`, text);
  remember(`draft-more.${chatId}`, hasMore ? JSON.stringify({ files, chatId: id, wishes }) : "");
}

function forget(chatId) {
  remember(`draft.${chatId}`, "");
  remember(`draft-more.${chatId}`, "");
}
