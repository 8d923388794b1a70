/**
 * What people do, as the view calls it: each deed in the words of the chat, the list and the addresses.
 *
 * Knows the page (`main.js`) and asks its parts; shows nothing itself but a word about what failed.
 */

import { remember } from "./device.js";
import { newChatId } from "./ids.js";
import { t } from "./language.js";
import { sentence } from "./trouble.js";
import { cleanTitle } from "./words.js";

/** The actions of `page`, by name. */
export function actionsOf(page) {
  const told = (promise) => promise.catch((problem) => page.view.toast(sentence(problem)));
  return {
    newChat: () => page.openNew(),
    open: (id) => (location.hash = `#/chat/${encodeURIComponent(id)}`),
    send: (text, how) => send(page, text, how),
    stop: () => void page.chat?.stop(),
    hurry: () => page.chat?.hurry(),
    again: () => page.chat.again(),
    replace: () => page.chat.again({ onBusy: "replace" }),
    takeBack: () => page.view.composer.giveBack(page.chat.takeBack()),
    unqueue: (id) => told(page.api.unqueue(page.chat.id, id).then(() => page.read(page.chat))),
    swap: (version) => told(page.api.swap(page.chat.id, version).then(() => page.read(page.chat))),
    edit: (turn, text) => replace(page, turn, text),
    regenerate: (turn) => regenerate(page, turn),
    goOn: () => send(page, t("Continue exactly where you stopped.")),
    draft: () => page.keepDraft(),
    chooseAgent: (name) => ((page.chat.agent = name), remember("agent", name), page.view.showChat(page.chat)),
    details: (id) => details(page, id),
    more: () => void page.chats.more().catch(ignore),
    all: () => void page.chats.all().catch(ignore),
    rename: (id, title) => told(page.chats.rename(id, title)),
    remove: (id) => remove(page, id),
    removeAll: () => told(removeAll(page)),
    exportPath: page.api.exportPath,
    download: (event, id, format) => download(page, event, id, format),
    changeKey: () => page.key.change(),
    titleOf: (id) => cleanTitle(page.chats.find(id)?.title ?? ""),
    stopRun: (run) => page.status.stop(run),
    refreshStatus: () => page.watch.now(),
  };
}

function send(page, text, how = "") {
  if (page.chat.isGone) page.openNew();
  if (page.chat.isGone) return setTimeout(() => send(page, text, how)); // the address changes a moment later
  if (!page.chat.id) page.settleIn(newChatId());
  const { chat, view } = page;
  if (how === "wait" && chat.live) chat.queued = text;
  else chat.send(text, { onBusy: how === "replace" ? "replace" : "reject" });
  view.showTrouble("");
  page.keepDraft();
  view.showChat(chat);
  view.transcript.toEnd();
}

function regenerate(page, turn) {
  const question = page.chat.turns.find(({ role, runId }) => role === "user" && runId === turn.runId);
  if (question) replace(page, question, question.text);
}

function replace(page, question, text) {
  const how = page.chat.live ? "replace" : "reject";
  page.chat.send(text, { replaces: question.runId, onBusy: how });
  page.view.transcript.toEnd();
  page.view.composer.focus(); // the button that was pressed is gone
}

function details(page, id) {
  const entry = page.chats.find(id);
  const own = id === page.chat?.id ? page.chat : null;
  void page.view.details({
    id,
    title: cleanTitle(entry?.title ?? own?.title ?? ""),
    isKept: Boolean(entry) || Boolean(id && own && !own.isNew),
    expiresAt: own?.expiresAt || entry?.expires_at || "",
  });
}

function remove(page, id) {
  const title = cleanTitle(page.chats.find(id)?.title ?? "") || t("The chat");
  const ms = page.chats.remove(id, (problem) => page.view.toast(sentence(problem)));
  const undo = () => (page.chats.restore(id), (location.hash = `#/chat/${id}`));
  if (id === page.chat?.id) page.openNew();
  page.view.toast(t("Deleted “{title}”", { title }), { action: t("Undo"), onclick: undo, ms });
}

async function removeAll(page) {
  const count = await page.chats.removeAll();
  page.openNew();
  page.view.toast(t("{n} chat deleted|{n} chats deleted", { n: count }));
}

/** A link does for most; with a key the file has to be fetched first. */
async function download(page, event, id, format) {
  if (!page.key.value) return;
  event.preventDefault();
  const blob = await page.api.exported(id, format).catch((problem) => void page.view.toast(sentence(problem)));
  if (blob) page.view.save(blob, `${id}.${format === "json" ? "json" : "md"}`);
}

function ignore() {}
