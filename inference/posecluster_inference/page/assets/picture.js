// Where pictures come from, and copies of them that the server takes.

import { bytes } from "./dom.js";
import { upright } from "./upright.js";

const COPY_QUALITY = 0.92;

/** Hand every picture that is chosen, dropped or pasted to `take(blob, name)`. */
export function listen({ input, onDrag }, take) {
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (file) take(file, file.name);
    input.value = ""; // the same file may be chosen again
  });
  if (input.files.length) input.dispatchEvent(new Event("change")); // chosen before this script was here
  let depth = 0;
  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const end = () => {
    depth = 0;
    onDrag(false);
  };
  addEventListener("dragenter", (event) => {
    if (!isFile(event)) return;
    depth += 1;
    onDrag(true);
  });
  addEventListener("dragleave", (event) => {
    if (isFile(event) && (depth -= 1) <= 0) end();
  });
  addEventListener("dragover", (event) => {
    if (isFile(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    end();
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    take(file, file.name || "pasted.png");
  });
}

/** A JPEG copy that keeps within the limits, upright; null when this browser cannot read the picture. */
export async function copyWithin(blob, { max_pixels: pixels, max_side_pixels: side, max_body_bytes: size }) {
  const drawable = await read(blob).catch(() => null);
  if (!drawable) return null;
  const { width, height } = drawable;
  let scale = Math.min(1, side / Math.max(width, height), Math.sqrt(pixels / (width * height)));
  const canvas = document.createElement("canvas");
  let copy = null;
  for (let attempt = 0; attempt < 6; attempt += 1) {
    canvas.width = Math.max(1, Math.floor(width * scale));
    canvas.height = Math.max(1, Math.floor(height * scale));
    canvas.getContext("2d").drawImage(drawable, 0, 0, canvas.width, canvas.height);
    copy = await new Promise((done) => canvas.toBlob(done, "image/jpeg", COPY_QUALITY));
    if (!copy || copy.size <= size) break;
    scale *= 0.7;
  }
  drawable.close?.();
  return copy && copy.size <= size ? copy : null;
}

/** A picture to draw. Browsers make a bitmap only of a whole file, but an image also of one without its end. */
async function read(blob) {
  try {
    return await createImageBitmap(await upright(blob), { imageOrientation: "from-image" });
  } catch {
    const image = new Image();
    image.src = URL.createObjectURL(blob);
    try {
      await new Promise((done, fail) => Object.assign(image, { onload: done, onerror: fail }));
    } finally {
      URL.revokeObjectURL(image.src);
    }
    return image;
  }
}

/** In words. */
export function describe(blob, name) {
  return `${name} · ${bytes(blob.size)}`;
}
