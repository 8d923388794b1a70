/**
 * What people do with files, as the view calls it: put them to the next message, take them out, look at one.
 *
 * Knows the page (`main.js`) and asks its parts.
 */

import { t } from "./language.js";
import { sentence } from "./trouble.js";

/** These actions of `page`, by name; `told(promise)` says what goes wrong. */
export const filesOf = (page, told) => ({
  attach: (blob, name) => attach(page, blob, name),
  fold: (text) => attach(page, new Blob([text], { type: "text/plain" }), `${t("pasted text")}.txt`, true),
  unfold: (item) => void unfold(page, item),
  detach: (item) => page.chat.attachments.remove(item),
  fileBlob: (file) => page.api.file(page.chat.id || page.chat.nextId, file.file_id),
  lookAt: (file) => void told(page.view.lookAt(file)),
  save: (blob, name) => page.view.save(blob, name),
});

async function attach(page, blob, name, isFolded = false) {
  try {
    await page.chat.attachments.add(blob, name, page.pictureBytes, isFolded);
  } catch (problem) {
    page.view.toast(problem.code ? sentence(problem) : problem.message);
  }
}

/** A text that was folded into a file is text again. */
async function unfold(page, item) {
  page.view.composer.giveBack(await item.blob.text());
  page.chat.attachments.remove(item);
}
