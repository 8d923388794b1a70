/**
 * What people do to their chats as a whole, as the view calls it: look for them, rename, delete, bring back, out and in.
 *
 * Knows the page (`main.js`) and asks its parts; shows nothing itself but a word about what became of it.
 */

import { keepDraft } from "./device.js";
import { t } from "./language.js";
import { bringIn as bringLinesIn } from "./trash.js";
import { sentence } from "./trouble.js";
import { cleanTitle } from "./words.js";

const UNDO_MS = 20_000; // so long what undoes a deletion is offered

/** These actions of `page`, by name; `told(promise)` says what goes wrong. */
export const shelfOf = (page, told) => ({
  more: () => void page.chats.more().catch(ignore),
  look: (words) => page.search.look(words),
  rename: (id, title) => told(page.chats.rename(id, title)),
  remove: (id) => told(remove(page, id)),
  removeAll: () => told(removeAll(page)),
  bringIn: (file) => told(bringIn(page, file)),
  exportPath: page.api.exportPath,
  everythingPath: page.api.everythingPath,
  download: (event, id, format) =>
    download(page, event, () => page.api.exported(id, format), `${id}.${format === "json" ? "json" : "md"}`),
  downloadAll: (event) => download(page, event, () => page.api.everything(), "chats.jsonl"),
});

async function remove(page, id) {
  const title = cleanTitle(page.chats.find(id)?.title ?? "") || t("The chat");
  if (id === page.chat?.id) page.openNew();
  const trace = await page.chats.remove(id);
  page.watch.tellTabs();
  page.view.toast(
    t("Deleted “{title}”", { title }),
    trace ? { action: t("Undo"), onclick: () => void restore(page, trace), ms: UNDO_MS } : {},
  );
}

async function restore(page, trace) {
  try {
    const id = await page.chats.restore(trace);
    if (trace.waits) keepDraft(id, { text: trace.waits });
    location.hash = `#/chat/${id}`;
  } catch (problem) {
    const again = { action: t("Try again"), onclick: () => void restore(page, trace), ms: UNDO_MS };
    page.view.toast(sentence(problem), again);
  }
}

async function removeAll(page) {
  const everything = await page.api.everything();
  const count = await page.chats.removeAll();
  page.openNew();
  const undo = { action: t("Undo"), onclick: () => void bringIn(page, everything), ms: UNDO_MS };
  page.view.toast(t("{n} chat deleted|{n} chats deleted", { n: count }), undo);
}

/** The chats of a file that "Export all" made. */
async function bringIn(page, file) {
  const { chats, errors } = await bringLinesIn(page.api, await file.text());
  await page.chats.refresh();
  const failed = errors.length > 0 ? t("{n} line was no chat|{n} lines were no chats", { n: errors.length }) : "";
  page.view.toast([t("{n} chat is here|{n} chats are here", { n: chats.length }), failed].filter(Boolean).join(", "));
}

/** A link does for most; with a key the file has to be fetched first. */
async function download(page, event, fetch, name) {
  if (!page.key.value) return;
  event.preventDefault();
  const blob = await fetch().catch((problem) => void page.view.toast(sentence(problem)));
  if (blob) page.view.save(blob, name);
}

function ignore() {}
