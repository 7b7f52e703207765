// Helpers for the document, and formats of numbers.

export const byId = (id) => document.getElementById(id);

/** Create an element; `data-*`, `aria-*`, `class`, `role` and `for` are set as attributes, others as properties. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(data-|aria-|class$|role$|for$|scope$)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Create an SVG element with these attributes. */
export function shape(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

/** Announce a text to screen readers. */
export function say(text) {
  byId("said").textContent = text;
}

export const fixed = (number, digits) => (number === 0 ? 0 : number).toFixed(digits).replace("-", "−");
export const milliseconds = (value) => `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  let power = 0;
  let value = count;
  while (value >= 1000 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

export function duration(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  let rest = Math.floor(seconds);
  const said = [];
  for (const [size, unit] of parts.slice(first, first + 2)) {
    said.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return said.join(" ");
}

/** Copy text to the clipboard, also on pages over plain HTTP, for which browsers have no clipboard API. */
export async function copy(text, button) {
  let isCopied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text, class: "unseen" });
    document.body.append(area);
    area.select();
    isCopied = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  button.textContent = isCopied ? "Copied" : "Not allowed";
  say(isCopied ? "Copied" : "The browser does not allow copying");
  clearTimeout(button.timer);
  button.timer = setTimeout(() => (button.textContent = before), 1500);
}
