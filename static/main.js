/**
 * The page put together: addresses, the visible chat, the list, and how often each is read. The only file that knows
 * everyone.
 */

import { Api } from "./api.js";
import { Chat } from "./chat.js";
import { Chats } from "./chats.js";
import { draftOf, keepDraft, recall, remember } from "./device.js";
import { chatIdIn, newChatId } from "./ids.js";
import { Key } from "./key.js";
import { Status } from "./status.js";
import { View } from "./view.js";
import { Warm } from "./warm.js";
import { sentence } from "./words.js";

const LIST_MS = 15_000;
const BUSY_LIST_MS = 4_000;
const STATUS_MS = 2_000;

class Page {
  #chat = null;
  #seen = ""; // the last activity of the visible chat we have read
  #tick = 0;
  #tabs = new BroadcastChannel("chat");

  constructor() {
    this.key = new Key((wasWrong) => this.view.askForKey(wasWrong));
    this.api = new Api(this.key);
    this.warm = new Warm(this.api);
    this.view = new View(this.#actions());
    this.status = new Status(this.api, this.view);
    this.chats = new Chats(this.api, () => this.#showList());
    addEventListener("hashchange", () => this.#route());
    addEventListener("pagehide", () => this.chats.flush());
    addEventListener("online", () => this.#lookNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.#lookNow());
    this.#tabs.onmessage = () => this.#look();
    this.#route();
    void this.#readAgents();
    void this.#readHealth();
    this.#lookNow();
  }

  // where we are

  #route() {
    if (location.hash === "#/status") return this.#openStatus();
    const id = chatIdIn(location.hash) || newChatId();
    history.replaceState(null, "", `#/chat/${id}`);
    if (id !== this.#chat?.id) this.#open(id);
  }

  #open(id) {
    this.#leave();
    this.warm.forget(id);
    const chat = new Chat(id, this.api, (what) => this.#changed(chat, what));
    chat.agent = recall("agent", "general");
    chat.title = this.chats.find(id)?.title ?? "";
    this.#chat = chat;
    this.#seen = "";
    this.view.open(chat, draftOf(id));
    this.#showList();
    void this.#read(chat);
    this.#schedule();
  }

  #openStatus() {
    this.#leave();
    this.view.openStatus();
    this.#showList();
    this.#lookNow();
  }

  #leave() {
    if (this.#chat) this.warm.leave(this.#chat.id, this.#chat.run);
    this.#chat?.leave();
    this.#chat = null;
  }

  async #read(chat) {
    this.view.showTrouble("");
    try {
      await chat.load();
    } catch (problem) {
      if (chat === this.#chat && chat.state === "idle")
        this.view.showTrouble(sentence(problem), () => this.#read(chat));
    }
  }

  // what changed

  #changed(chat, what) {
    if (chat !== this.#chat) return;
    if (what === "text") return this.view.transcript.grow();
    if (what === "turns") return this.view.showChat(chat);
    this.#keepDraft();
    if (what === "news") return this.#tell();
    this.view.showState(chat);
  }

  /** What is written and what the service has not taken yet: after a refresh it is in the box again. */
  #keepDraft() {
    keepDraft(this.#chat.id, [this.#chat.unsent, this.view.composer.text].filter(Boolean).join("\n\n"));
  }

  /** The list and the other tabs of this browser hear that something began or ended. */
  #tell() {
    this.#tabs.postMessage("changed");
    void this.#look();
  }

  #showList() {
    this.view.list.show(this.chats.shown, this.#chat?.id ?? "", this.chats.isComplete);
    const entry = this.#chat && this.chats.find(this.#chat.id);
    if (!entry || entry.title === this.#chat.title) return;
    this.#chat.title = entry.title;
    this.view.showChat(this.#chat);
  }

  // reading, while the page is seen

  #lookNow() {
    this.#chat?.hurry();
    void this.#look();
  }

  async #look() {
    this.#schedule();
    if (document.hidden) return;
    if (!this.#chat) await this.status.read();
    try {
      await this.chats.refresh();
    } catch {
      return; // the visible chat says what is wrong; the list is read again soon
    }
    this.warm.touch(this.chats.entries);
    this.#catchUp();
  }

  /** The visible chat may have gone on elsewhere: another tab, another device. */
  #catchUp() {
    const entry = this.#chat && this.chats.find(this.#chat.id);
    if (!entry || this.#chat.state !== "idle" || this.#chat.refused || entry.updated_at === this.#seen) return;
    this.#seen = entry.updated_at;
    void this.#read(this.#chat);
  }

  #schedule() {
    clearTimeout(this.#tick);
    const isBusy = this.chats.entries.some(({ status }) => status === "running");
    this.#tick = setTimeout(() => this.#look(), this.#chat ? (isBusy ? BUSY_LIST_MS : LIST_MS) : STATUS_MS);
  }

  async #readAgents() {
    const { agents } = await this.api.agents().catch(() => ({ agents: [] }));
    if (agents.length > 0) this.view.showAgents(agents, this.#chat?.agent ?? "general");
  }

  async #readHealth() {
    const health = await this.api.health().catch(() => null);
    if (health) this.view.showProvider(health.provider);
  }

  // what people do

  #actions() {
    const chat = () => this.#chat;
    return {
      newChat: () => (location.hash = `#/chat/${newChatId()}`),
      open: (id) => (location.hash = `#/chat/${id}`),
      send: (text, how) => this.#send(text, how),
      stop: () => void chat()?.stop(),
      hurry: () => chat()?.hurry(),
      again: () => chat().again(),
      replace: () => chat().again({ onBusy: "replace" }),
      takeBack: () => this.view.composer.fill(chat().takeBack()),
      unqueue: () => this.#unqueue(),
      edit: (turn, text) => this.#replace(turn, text),
      regenerate: (turn) => this.#regenerate(turn),
      goOn: () => this.#send("Continue exactly where you stopped."),
      draft: () => this.#keepDraft(),
      chooseAgent: (name) => ((chat().agent = name), remember("agent", name)),
      details: (id) => this.#details(id),
      more: () => void this.chats.more().catch(ignore),
      all: () => void this.chats.all().catch(ignore),
      rename: (id, title) => this.chats.rename(id, title).catch((problem) => this.view.toast(sentence(problem))),
      remove: (id) => this.#remove(id),
      exportPath: this.api.exportPath,
      download: (event, id, format) => this.#download(event, id, format),
      stopRun: (run) => this.status.stop(run),
      refreshStatus: () => this.#lookNow(),
    };
  }

  #send(text, how = "") {
    const chat = this.#chat;
    if (how === "wait" && chat.live) chat.queued = text;
    else chat.send(text, { onBusy: how === "replace" ? "replace" : "reject" });
    this.view.showTrouble("");
    this.#keepDraft();
    this.view.showChat(chat);
    this.view.transcript.toEnd();
  }

  #unqueue() {
    const chat = this.#chat;
    this.view.composer.fill([chat.queued, this.view.composer.text].filter(Boolean).join("\n"));
    chat.queued = null;
    this.#keepDraft();
    this.view.showChat(chat);
  }

  #regenerate(turn) {
    const question = this.#chat.turns.find(({ role, runId }) => role === "user" && runId === turn.runId);
    if (question) this.#replace(question, question.text);
  }

  #replace(question, text) {
    const how = this.#chat.live ? "replace" : "reject";
    this.#chat.send(text, { replaces: question.runId, onBusy: how });
    this.view.transcript.toEnd();
  }

  #details(id) {
    const title = this.chats.find(id)?.title ?? (id === this.#chat?.id ? this.#chat.title : "");
    const isKept = Boolean(this.chats.find(id)) || (id === this.#chat?.id && !this.#chat.isNew);
    this.view.dialog.open({ id, title, isKept });
  }

  #remove(id) {
    const title = this.chats.find(id)?.title || "The chat";
    const ms = this.chats.remove(id, (problem) => this.view.toast(sentence(problem)));
    if (id === this.#chat?.id) location.hash = `#/chat/${newChatId()}`;
    const undo = () => (this.chats.restore(id), (location.hash = `#/chat/${id}`));
    this.view.toast(`Deleted “${title}”`, { action: "Undo", onclick: undo, ms });
  }

  /** A link does for most; with a key the file has to be fetched first. */
  async #download(event, id, format) {
    if (!this.key.value) return;
    event.preventDefault();
    const blob = await this.api.exported(id, format).catch((problem) => void this.view.toast(sentence(problem)));
    if (blob) this.view.save(blob, `${id}.${format === "json" ? "json" : "md"}`);
  }
}

function ignore() {}

new Page();
