/**
 * Ids born in the browser. `crypto.randomUUID` is missing on plain HTTP, `getRandomValues` is not.
 */

const LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"; // 32 of them, none that reads like another

/** A random id of `length` letters, 5 bits each. */
export function newId(length) {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => LETTERS[byte & 31]).join("");
}

export const newChatId = () => newId(10);
export const newRunId = () => newId(20);

/** The chat id in an address like `#/chat/<id>`, or "" when there is none that may be one. */
export function chatIdIn(hash) {
  const [, place, name = ""] = hash.split("/");
  try {
    const id = decodeURIComponent(name);
    return place === "chat" && isChatId(id) ? id : "";
  } catch {
    return ""; // a broken escape
  }
}

/** The pattern of the contract; `bulk` is a route. */
export const isChatId = (text) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(text) && text !== "bulk";
