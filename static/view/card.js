/**
 * A file as a small card: a picture in little, a text by its name; pressed, it is shown whole. Part of the view.
 */

import { t } from "../language.js";
import { part } from "../part.js";
import { h, icon } from "./dom.js";

/**
 * `file`: {file_id, media_type, bytes, name, width, height}, or {name, blob} of one that is on its way.
 * `actions`: fileBlob(file), lookAt(file).
 */
export function fileCard(file, actions) {
  const type = file.media_type ?? file.blob?.type ?? "";
  const isPicture = type.startsWith("image/");
  const look = () => actions.lookAt(file);
  const card = h("button", {
    type: "button",
    class: isPicture ? "file picture" : "file",
    title: file.name,
    "aria-label": isPicture ? t("Show {name}", { name: file.name }) : null,
    onclick: look,
  });
  if (isPicture) card.append(thumb(file, actions));
  else
    card.append(
      icon("text"),
      h("span", { class: "offscreen" }, t("Show")),
      h("span", { class: "file-name", dir: "auto" }, file.name),
      h("span", { class: "hint" }, size(file)),
    );
  return card;
}

function thumb(file, actions) {
  const { width, height, name } = file;
  const image = h("img", { alt: name, decoding: "async", ...(width && { width, height }) });
  const load = () =>
    part("view/pictures.js")
      .then(({ pictureOf }) => pictureOf(file, actions))
      .then(
        (address) => (image.src = address),
        () => image.replaceWith(icon("alert")),
      );
  if (file.blob) void load();
  else whenNear(image, load);
  return image;
}

const waiting = new WeakMap(); // image -> what loads it
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      void waiting.get(target)();
    }
  },
  { rootMargin: "800px" },
);

/** A long chat fetches the pictures that come into sight. */
function whenNear(image, load) {
  waiting.set(image, load);
  near.observe(image);
}

const size = ({ bytes, blob }) => `${Math.max(1, Math.round((bytes ?? blob?.size ?? 0) / 1024))} KB`;

/** The files of a message, or null when it has none. */
export const filesRow = (files, actions) =>
  files?.length > 0
    ? h("ul", { class: "files", "aria-label": t("Files") }, ...files.map((file) => h("li", {}, fileCard(file, actions))))
    : null;
