/**
 * The files that go with the next message of a chat: made ready, sent to the service at once, taken out again.
 *
 * Knows the service; how a file is made ready (`ready(file, most)`, for a picture that is too large) is given, and
 * whoever shows them gives `onchange()`.
 */

import { insist } from "./insist.js";
import { language, t } from "./language.js";

export const MOST = 4; // with one message
const TEXT_BYTES = 100 * 1024;
const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];

export class Attachments {
  items = []; // [{name, blob, file, isFolded}]; file: as the service names it, null while it is on its way
  #api;
  #where;
  #ready;
  #onchange;

  /** `where()`: the id of the chat they belong to. */
  constructor(api, where, ready, onchange) {
    this.#api = api;
    this.#where = where;
    this.#ready = ready;
    this.#onchange = onchange;
  }

  get isBusy() {
    return this.items.some(({ file }) => file === null);
  }

  /** As the service names those that it has. */
  get files() {
    return this.items.map(({ file }) => file).filter(Boolean);
  }

  /** Sends a file; `most` is the largest picture in bytes. Rejects with `Problem` or an `Error` in words. */
  async add(blob, name, most, isFolded = false) {
    if (this.items.length >= MOST) throw new Error(t("At most {n} files go with one message.", { n: MOST }));
    const item = { name, blob, file: null, isFolded };
    this.#set([...this.items, item]);
    try {
      const made = await madeReady(blob, name, most, this.#ready);
      Object.assign(item, made);
      item.file = await insist(() => this.#api.sendFile(this.#where(), made.blob, made.name));
      this.#set(this.items);
      if (!this.items.includes(item)) this.#forget(item); // taken out while it was on its way
    } catch (problem) {
      this.#set(this.items.filter((one) => one !== item));
      throw problem;
    }
  }

  /** Takes one out again, here and at the service. */
  remove(item) {
    this.#set(this.items.filter((one) => one !== item));
    if (item.file) this.#forget(item);
  }

  /** Those that the service has, to go with a message now. */
  take() {
    const { files } = this;
    this.#set([]);
    return files;
  }

  /** Files that come back, before those that are here. */
  put(files) {
    const known = new Set(this.files.map(({ file_id: id }) => id));
    const back = files.filter(({ file_id: id }) => !known.has(id)).map((file) => ({ name: file.name, blob: null, file }));
    if (back.length > 0) this.#set([...back, ...this.items].slice(0, MOST));
  }

  /** One that a message names stays: the service refuses. */
  #forget({ file: { file_id: id } }) {
    if (this.files.some((file) => file.file_id === id)) return; // the same twice
    void insist(() => this.#api.removeFile(this.#where(), id)).catch(() => {});
  }

  #set(items) {
    this.items = items;
    this.#onchange();
  }
}

/** A picture that the service takes, or a text. */
async function madeReady(blob, name, most, ready) {
  if (blob.type.startsWith("image/") || /\.hei[cf]$/i.test(name)) return picture(blob, name, most, ready);
  if (blob.size > TEXT_BYTES)
    throw new Error(t("A text may have {n} KB; this one has {size}.", { n: TEXT_BYTES / 1024, size: kb(blob) }));
  const bytes = await blob.arrayBuffer();
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(t("Only pictures and plain texts can go along."));
  }
  return { name, blob: new Blob([bytes], { type: /^text\/(markdown|csv)/.test(blob.type) ? blob.type : "text/plain" }) };
}

async function picture(blob, name, most, ready) {
  const made = await ready(blob, most).catch(() => null);
  if (made) return { blob: made, name: renamed(name, made.type) };
  if (PICTURES.includes(blob.type) && blob.size <= most) return { blob, name };
  throw new Error(t("This picture cannot be read here: PNG, JPEG, GIF or WebP can."));
}

/** "photo.heic" made a JPEG is called "photo.jpg". */
const renamed = (name, type) => {
  const ending = type.split("/")[1].replace("jpeg", "jpg");
  return name.toLowerCase().replace("jpeg", "jpg").endsWith(`.${ending}`) ? name : `${name.replace(/\.\w{1,5}$/, "")}.${ending}`;
};

const kb = ({ size }) => `${Math.ceil(size / 1024).toLocaleString(language())} KB`;
