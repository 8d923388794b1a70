/**
 * What people do, as the view calls it: each deed in the words of the chat, the list and the addresses.
 *
 * Knows the page (`main.js`) and asks its parts; shows nothing itself but a word about what failed.
 */

import { remember } from "./device.js";
import { filesOf } from "./files.js";
import { newChatId } from "./ids.js";
import { t } from "./language.js";
import { shelfOf } from "./shelf.js";
import { sentence } from "./trouble.js";
import { cleanTitle } from "./words.js";

/** The actions of `page`, by name. */
export function actionsOf(page) {
  const told = (promise) => promise.catch((problem) => page.view.toast(sentence(problem)));
  return {
    newChat: () => page.openNew(),
    open: (id) => (location.hash = `#/chat/${encodeURIComponent(id)}`),
    send: (text) => send(page, text),
    stop: () => void page.chat?.stop(),
    hurry: () => page.chat?.run?.hurry(),
    again: () => again(page.chat),
    replace: () => again(page.chat, { onBusy: "replace" }),
    giveUp: () => page.chat.giveUp(),
    takeBack: (runId) => told(page.chat.later.takeBack(page.chat.id, runId)),
    sendNow: (runId) => told(sendNow(page.chat, runId)),
    swap: (version) => told(page.api.swap(page.chat.id, version).then(() => page.read(page.chat))),
    edit: (turn, text) => replace(page, turn, text),
    regenerate: (turn) => regenerate(page, turn),
    goOn: () => (page.chat.goOn(), page.view.transcript.toEnd(), page.view.composer.focus()),
    branch: (turn) => told(branch(page, turn)),
    approve: (toolId, isAllowed, lasts) => approve(page, toolId, isAllowed, lasts),
    answered: (id) => page.api.answered(id).then(({ tools }) => tools),
    askAgain: (id, tool) => page.api.askAgain(id, tool),
    called: () => page.view.header.ring("?"),
    draft: () => page.keepDraft(),
    chooseAgent: (name) => told(chooseAgent(page, name)),
    instruct: (id, wishes) => told(instruct(page, id, wishes)),
    details: (id) => told(details(page, id)),
    ...shelfOf(page, told),
    ...filesOf(page, told),
    changeKey: () => page.key.change(),
    titleOf: (id) => cleanTitle(page.chats.find(id)?.title ?? ""),
    stopRun: (run) => page.status.stop(run),
    refreshStatus: () => page.watch.now(),
  };
}

function send(page, text) {
  if (page.chat.isGone) page.openNew();
  if (page.chat.isGone) return setTimeout(() => send(page, text)); // the address changes a moment later
  if (!page.chat.id) page.settleIn(page.chat.nextId ?? newChatId());
  const { chat, view } = page;
  const files = chat.attachments.take();
  if (chat.state === "idle") chat.send(text, { files });
  else chat.sendLater(text, files).catch((problem) => view.toast(sentence(problem)));
  view.showTrouble("");
  page.keepDraft();
  view.showChat(chat);
  view.transcript.toEnd();
}

/** What was refused once more, as it was but for `other` options. */
function again(chat, other = {}) {
  const { message, options, problem } = chat.refused;
  if (options.isGoingOn) return chat.goOn();
  const isGone = problem.code === "not_found"; // what it should replace is no longer kept
  chat.send(message, { ...options, ...(isGone && { replaces: null }), ...other });
}

/** One that waits goes now, and what is running stops. */
async function sendNow(chat, runId) {
  const taken = await chat.later.take(chat.id, runId);
  if (taken) chat.send(taken.message, { files: taken.files, onBusy: "replace" });
}

/** A new chat with everything up to this reply. */
async function branch(page, turn) {
  const { chat_id: id } = await page.api.fork(page.chat.id, turn.runId, newChatId());
  page.watch.tellTabs();
  location.hash = `#/chat/${id}`;
  page.view.toast(t("This is a branch: what you say here leaves the other chat as it is."));
}

function regenerate(page, turn) {
  const question = page.chat.turns.find(({ role, runId }) => role === "user" && runId === turn.runId);
  if (question) replace(page, question, question.text);
}

function replace(page, question, text) {
  const how = page.chat.live ? "replace" : "reject";
  page.chat.send(text, { replaces: question.runId, onBusy: how, files: question.files });
  page.view.transcript.toEnd();
  page.view.composer.focus(); // the button that was pressed is gone
}

/** Lets a tool be used, or not; true when the answer has been taken. */
async function approve(page, toolId, isAllowed, lasts) {
  try {
    await page.api.approve(page.chat.id, toolId, isAllowed, lasts);
    page.view.composer.focus(); // the button that was pressed goes
    return true;
  } catch (problem) {
    page.view.toast(sentence(problem));
    return problem.status === 404 || problem.status === 409; // it has been answered already
  }
}

/** Who answers from now on; a chat that is kept learns it at once. */
async function chooseAgent(page, name) {
  const { chat } = page;
  chat.agent = name;
  remember("agent", name);
  page.view.showChat(chat);
  if (!chat.isNew) await page.api.change(chat.id, { agent: name });
}

/** What every reply of this chat is told, and how warm it is; one that has not begun takes it along with its first message. */
async function instruct(page, id, wishes) {
  const own = id === page.chat?.id ? page.chat : null;
  if (own?.isNew || own?.refused) page.wish(wishes);
  else await page.api.change(id, wishes).then(() => own && page.read(own));
  page.view.toast(t("The next reply follows it."));
}

async function details(page, id) {
  const entry = page.chats.find(id);
  const own = id === page.chat?.id ? page.chat : null;
  const about = own?.about ?? (await page.api.chat(id));
  await page.view.details({
    ...about,
    id,
    title: cleanTitle(entry?.title ?? own?.title ?? ""),
    isKept: Boolean(entry) || Boolean(id && own && !own.isNew),
    isOpen: Boolean(own),
  });
}
