/**
 * Pictures made small enough for the service: drawn anew, in steps, until they fit. Part of the view.
 */

const LONGEST_SIDE = 2048; // pixels; models see no more
const QUALITIES = [0.85, 0.7, 0.5];
const SMALLER = 0.7;
const TRIES = 8;
const KEPT = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/** `blob` itself when it fits (`most` bytes), else a JPEG or, where it may be see-through, a WebP or PNG of it. */
export async function shrink(blob, most) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  let scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  if (KEPT.includes(blob.type) && blob.size <= most && (scale === 1 || blob.type === "image/gif")) return blob;
  const kind = blob.type === "image/png" || blob.type === "image/webp" ? "image/webp" : "image/jpeg";
  for (let tries = 0; tries < TRIES; tries += 1, scale *= SMALLER) {
    const canvas = drawn(bitmap, Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    for (const quality of QUALITIES) {
      const made = await new Promise((resolve) => canvas.toBlob(resolve, kind, quality));
      if (made && made.size <= most) return made;
    }
  }
  throw new Error("it does not become small enough");
}

function drawn(bitmap, width, height) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}
