/**
 * Parts of the page that come when they are needed.
 *
 * Firefox never asks again for a module that has once failed to come: so a part, and what it needs, is fetched before it is
 * imported.
 */

const NEEDED = / from "(\.[^"]+)";$/gm;

// what has come with all that it needs: at first what the page began with
const here = new Set(performance.getEntriesByType("resource").map(({ name }) => name));

/** The module at `path` below this folder. Rejects when it does not come; asked again, it may. */
export async function part(path) {
  const address = new URL(path, import.meta.url).href;
  await arrive(address, new Set());
  return import(address);
}

async function arrive(address, looked) {
  if (looked.has(address) || here.has(address)) return;
  looked.add(address);
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  const needed = [...(await answer.text()).matchAll(NEEDED)].map(([, other]) => new URL(other, address).href);
  await Promise.all(needed.map((other) => arrive(other, looked)));
  here.add(address);
}
