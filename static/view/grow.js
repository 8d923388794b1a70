/**
 * Makes shown nodes like fresh ones by touching only what differs, so that a selection, a focused link or a pressed
 * button in what still changes stays alive. Part of the view.
 *
 * Elements with a `data-key` are the same where that is the same: none becomes another under somebody's finger.
 */

/** Brings the children of `shown`, or those from `node` on, in step with those of `fresh`, which is used up. */
export function become(shown, fresh, node = shown.firstChild) {
  if (keyOf(node)) {
    dropOthers(shown, fresh);
    node = shown.firstChild;
  }
  for (const wanted of [...fresh.childNodes]) {
    if (node && isAlike(node, wanted)) {
      refresh(node, wanted);
      node = node.nextSibling;
    } else {
      shown.insertBefore(wanted, node);
    }
  }
  while (node) {
    const next = node.nextSibling;
    node.remove();
    node = next;
  }
}

/** The same kind of node at the same place: it may become the other. */
const isAlike = (node, wanted) =>
  node.nodeName === wanted.nodeName && node.nodeType === wanted.nodeType && keyOf(node) === keyOf(wanted);

const keyOf = (node) => node?.dataset?.key;

/** Those that are not wanted any more go first, so that the others stay as they are. */
function dropOthers(shown, fresh) {
  const wanted = new Set([...fresh.childNodes].map(keyOf));
  for (const node of [...shown.childNodes]) if (!wanted.has(keyOf(node))) node.remove();
}

function refresh(node, wanted) {
  if (node.nodeType === Node.TEXT_NODE) return retext(node, wanted.data);
  for (const { name, value } of wanted.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  for (const { name } of [...node.attributes])
    if (!wanted.hasAttribute(name) && name !== "open") node.removeAttribute(name);
  become(node, wanted);
}

/** Text grows at its end without disturbing a selection inside it. */
export function retext(node, text) {
  if (node.data === text) return;
  let same = 0;
  while (same < node.data.length && node.data[same] === text[same]) same += 1;
  if (same < node.data.length) node.deleteData(same, node.data.length - same);
  if (same < text.length) node.appendData(text.slice(same));
}
