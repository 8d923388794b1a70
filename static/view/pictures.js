/**
 * Addresses of pictures that were fetched with the key of this device: the newest are kept, older ones fetched again.
 *
 * Part of the view.
 */

const KEPT = 60;

const known = new Map(); // file id -> promise of an address

/** Resolves with an address for `<img>`. `actions`: fileBlob(file). */
export function pictureOf(file, actions) {
  const { file_id: id } = file;
  if (!id) return Promise.resolve(URL.createObjectURL(file.blob));
  const found = known.get(id) ?? fetched(file, actions);
  known.delete(id);
  known.set(id, found);
  if (known.size > KEPT) void forget(known.keys().next().value);
  return found;
}

async function fetched(file, actions) {
  try {
    return URL.createObjectURL(file.blob ?? (await actions.fileBlob(file)));
  } catch (problem) {
    known.delete(file.file_id);
    throw problem;
  }
}

/** An address that nobody has asked for in a while. */
async function forget(id) {
  const old = known.get(id);
  known.delete(id);
  URL.revokeObjectURL(await old.catch(() => ""));
}
