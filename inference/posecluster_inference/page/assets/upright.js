// Applies the EXIF orientation of WebP files, as the server does; most browsers ignore it.

const ORIENTATION = 0x0112;
// Canvas transforms that turn a stored picture of w x h upright, by orientation
const TURNS = {
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

/** Return the picture to show: the original, or an upright copy. */
export async function upright(blob) {
  const turn = TURNS[await orientation(blob)];
  if (!turn) return blob;
  const bitmap = await createImageBitmap(blob, { imageOrientation: "none" });
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  const lies = turn(width, height)[0] === 0;
  Object.assign(canvas, lies ? { width: height, height: width } : { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(...turn(width, height));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((done) => canvas.toBlob((copy) => done(copy ?? blob), "image/png"));
}

/** Return the EXIF orientation of a WebP file; 1 for other formats and unreadable data. */
async function orientation(blob) {
  const head = new DataView(await blob.slice(0, 12).arrayBuffer());
  if (head.byteLength < 12 || word(head, 0) !== "RIFF" || word(head, 8) !== "WEBP") return 1;
  const file = new DataView(await blob.arrayBuffer());
  for (let at = 12; at + 8 <= file.byteLength; ) {
    const size = file.getUint32(at + 4, true);
    if (word(file, at) === "EXIF") return inExif(file, at + 8, Math.min(at + 8 + size, file.byteLength));
    at += 8 + size + (size % 2);
  }
  return 1;
}

const word = (view, at) => String.fromCharCode(...[0, 1, 2, 3].map((index) => view.getUint8(at + index)));

function inExif(file, start, end) {
  const tiff = word(file, start) === "Exif" ? start + 6 : start;
  try {
    const isLittle = file.getUint16(tiff) === 0x4949;
    const first = tiff + file.getUint32(tiff + 4, isLittle);
    const count = file.getUint16(first, isLittle);
    for (let at = first + 2; at < Math.min(first + 2 + count * 12, end - 11); at += 12) {
      if (file.getUint16(at, isLittle) === ORIENTATION) return file.getUint16(at + 8, isLittle);
    }
  } catch { /* an offset is outside of the file */ }
  return 1;
}
