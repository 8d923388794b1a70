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

export const draftOf = (chatId) => recall(`draft.${chatId}`);

/** Keeps the unsent text of a chat; the oldest drafts go when there are too many. */
export function keepDraft(chatId, text) {
  const ids = recall("drafts")
    .split(" ")
    .filter((id) => id && id !== chatId);
  if (text) ids.push(chatId);
  while (ids.length > DRAFTS_KEPT) remember(`draft.${ids.shift()}`, "");
  remember("drafts", ids.join(" "));
  remember(`draft.${chatId}`, text);
}
