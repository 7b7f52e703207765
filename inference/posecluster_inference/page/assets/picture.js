// Sources of pictures, and copies that meet the limits of the server.

import { bytes } from "./dom.js";
import { upright } from "./upright.js";

const COPY_QUALITY = 0.92;

/** Call `take(blob, name)` for every picture that is chosen, dropped or pasted. */
export function listen({ input, onDrag }, take) {
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (file) take(file, file.name);
    input.value = ""; // allows choosing the same file again
  });
  if (input.files.length) input.dispatchEvent(new Event("change")); // a file was chosen before this script was loaded
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

/** Return an upright JPEG copy within the limits; null if the browser cannot read the picture. */
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

/** Load a picture. Browsers create a bitmap only from a complete file, but an image also from a truncated one. */
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

/** Return the name and size of a picture as text. */
export function describe(blob, name) {
  return `${name} · ${bytes(blob.size)}`;
}
