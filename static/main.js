/**
 * The page put together: addresses, the visible chat, the list, and who hears of what. The only file that knows everyone.
 */

import { actionsOf } from "./actions.js";
import { Api } from "./api.js";
import { wishesOf } from "./ask.js";
import { Attachments } from "./attachments.js";
import { Chat } from "./chat.js";
import { Chats } from "./chats.js";
import { draftOf, keepDraft, recall } from "./device.js";
import { chatIdIn, newChatId } from "./ids.js";
import { Key } from "./key.js";
import { learn } from "./language.js";
import { together } from "./later.js";
import { part } from "./part.js";
import { Search } from "./search.js";
import { sentence } from "./trouble.js";
import { View } from "./view.js";
import { Warm } from "./warm.js";
import { Watch } from "./watch.js";

const PICTURE_KB = 1024;
const NEW = "#/";
const NEW_DRAFT = "~new"; // no chat id

class Page {
  chat = null; // the visible one
  status = null; // fetched when it is looked at
  #seen = ""; // the last activity of the visible chat we have read
  pictureBytes = PICTURE_KB * 1024; // the largest picture that the service takes
  #hasBegun = false; // a chat has been opened
  #wasListed = false; // the visible chat stood in the list as read last

  constructor() {
    this.key = new Key((...how) => this.view.askForKey(...how));
    this.api = new Api(this.key);
    this.warm = new Warm(this.api);
    this.view = new View(actionsOf(this));
    this.chats = new Chats(this.api, () => this.showList());
    this.search = new Search(this.api, () => this.showList());
    this.watch = new Watch({
      look: () => this.#look(),
      wake: () => this.chat?.run?.doubt(),
      pace: () => (this.chat ? (this.chats.isBusy ? "busy" : "calm") : "status"),
    });
    addEventListener("hashchange", () => this.#route());
    this.#route();
    void this.#readAgents();
    void this.#readHealth();
    this.watch.now();
  }

  // where we are

  #route() {
    if (location.hash === "#/status") return void this.#openStatus();
    const id = chatIdIn(location.hash);
    if (!id && location.hash !== NEW) history.replaceState(null, "", NEW);
    if (!this.chat || id !== this.chat.id) this.#open(id);
  }

  /** A new chat: it has no id and no place in the history before its first message. */
  openNew() {
    if (this.chat && !this.chat.id) return this.view.composer.focus();
    location.hash = NEW;
  }

  /** The visible chat gets its address. */
  settleIn(id) {
    keepDraft(NEW_DRAFT);
    this.chat.id = id;
    history.replaceState(null, "", `#/chat/${id}`);
  }

  #open(id) {
    this.#leave();
    this.warm.forget(id);
    const chat = new Chat(id, this.api, (what) => this.#changed(chat, what));
    chat.attachments = this.#attachmentsOf(chat);
    chat.agent = recall("agent", "general");
    chat.title = this.chats.find(id)?.title ?? "";
    this.chat = chat;
    this.#seen = "";
    this.#wasListed = false;
    const kept = draftOf(id || NEW_DRAFT);
    const draft = this.#withEarly(kept);
    if (!id) chat.nextId = draft.chatId;
    chat.about = draft.wishes;
    this.view.open(chat, draft.text);
    chat.attachments.put(draft.files);
    if (draft.text !== kept.text) this.keepDraft();
    this.showList();
    if (id) void this.read(chat);
    else this.view.showTrouble("");
    this.watch.plan();
  }

  /** What was typed before the page had begun stands behind the draft. */
  #withEarly(draft) {
    const early = this.#hasBegun ? "" : this.view.composer.text;
    this.#hasBegun = true;
    return { ...draft, text: early.startsWith(draft.text) ? early : together([draft, { text: early }]).text };
  }

  /** A new chat has an id for its files before it has one for the address. */
  #attachmentsOf(chat) {
    const where = () => chat.id || (chat.nextId ??= newChatId());
    const ready = (blob, most) => this.view.shrink(blob, most);
    return new Attachments(this.api, where, ready, () => chat === this.chat && this.#attached());
  }

  /** What a new chat wishes waits with its draft. */
  wish(wishes) {
    Object.assign(this.chat.about, wishes);
    this.keepDraft();
    this.view.showChat(this.chat);
  }

  #attached() {
    this.view.composer.showFiles(this.chat.attachments);
    this.keepDraft();
  }

  async #openStatus() {
    this.#leave();
    this.view.openStatus();
    this.showList();
    const shown = this.status ? null : await this.view.statusView();
    const came = shown && (await part("status.js").catch(() => null)); // it is tried again with the next look
    if (came) this.status = new came.Status(this.api, this.view, shown);
    this.watch.now();
  }

  #leave() {
    if (this.chat) this.warm.leave(this.chat.id, this.chat.run);
    this.chat?.leave();
    this.chat = null;
  }

  async read(chat) {
    this.view.showTrouble("");
    try {
      await chat.load();
    } catch (problem) {
      if (chat === this.chat && chat.state === "idle") this.view.showTrouble(sentence(problem), () => this.read(chat));
    }
  }

  // what changed

  #changed(chat, what) {
    if (what === "unsent") return this.giveBack(chat);
    if (chat !== this.chat) return;
    if (what === "text") return this.view.transcript.grow();
    if (what === "turns") return this.view.showChat(chat);
    this.keepDraft();
    if (what === "news") return this.#tell();
    this.view.showState(chat);
  }

  /** What was not sent is in the box again, before what has been written since; of a chat that was left, in its draft. */
  giveBack(chat) {
    const back = chat.later.collect();
    if (chat.id !== this.chat?.id) return keepDraft(chat.id, together([back, draftOf(chat.id)]));
    this.view.composer.giveBack(back.text);
    this.chat.attachments.put(back.files); // it may have been opened anew
  }

  /** What is written and what the service has not taken yet: after a refresh it is in the box again. */
  keepDraft() {
    const { chat, view } = this;
    const draft = together([chat.unsent, { text: view.composer.text, files: chat.attachments.files }]);
    keepDraft(chat.id || NEW_DRAFT, { ...draft, chatId: chat.nextId, wishes: wishesOf(chat.about) });
  }

  /** The list and the other tabs of this browser hear that something began or ended. */
  #tell() {
    this.watch.tellTabs();
    void this.#look();
  }

  showList() {
    this.view.list.show(this.chats.shown, this.chat ? this.chat.id : null, this.chats.isComplete, this.search);
    const entry = this.chat && this.chats.find(this.chat.id);
    if (!entry || entry.title === this.chat.title) return;
    this.chat.title = entry.title;
    this.view.showChat(this.chat);
  }

  async #look() {
    if (!this.chat) await this.status?.read();
    try {
      await this.chats.refresh();
    } catch {
      return; // the visible chat says what is wrong; the list is read again soon
    }
    this.warm.touch(this.chats.entries);
    this.#catchUp();
  }

  /** The visible chat may have gone on elsewhere, in another tab or on another device, or be gone. */
  #catchUp() {
    const { chat } = this;
    if (!chat?.id || chat.state !== "idle" || chat.refused) return;
    const entry = this.chats.find(chat.id);
    const isMissing = !entry && !chat.isNew && !chat.isGone && (this.chats.isComplete || this.#wasListed);
    this.#wasListed = Boolean(entry);
    if (!isMissing && (!entry || entry.updated_at === this.#seen)) return;
    this.#seen = entry?.updated_at ?? "";
    void this.read(chat);
  }

  async #readAgents() {
    const { agents } = await this.api.agents().catch(() => ({ agents: [] }));
    this.view.showAgents(agents);
  }

  async #readHealth() {
    const health = await this.api.health().catch(() => null);
    if (!health) return;
    this.pictureBytes = (health.file_max_kb ?? PICTURE_KB) * 1024;
    this.view.showServer(health);
  }
}

await learn();
new Page();
