// The server's API. All addresses are relative to the page, so that it works below any path.

const address = (path) => new URL(path, document.baseURI).href;
export const DETECT = address("v1/detect");
export const SAMPLE = address("assets/astronaut.jpg");
const RETRY_MS = 300;
const TOKEN_KEY = "posecluster-token";

/** A refusal of the server (RFC 9457), or that there was no answer at all. */
export class Problem extends Error {
  constructor({ status = 0, reason = "", title, detail = "", retryAfter = null }) {
    super(detail || title);
    Object.assign(this, { status, reason, title, detail, retryAfter });
  }

  /** Whether asking again later, unchanged, may help. */
  get passes() {
    return this.retryAfter !== null;
  }
}

// a browser may forbid a page to store anything
let token = "";
try {
  token = sessionStorage.getItem(TOKEN_KEY) ?? "";
} catch { /* kept in memory then */ }

export const hasToken = () => token !== "";

export function setToken(value) {
  token = value.trim();
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch { /* kept in memory then */ }
}

/** Once more where the network failed: it may just have changed, and asking twice changes nothing on the server. */
async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  for (let isLast = false; ; isLast = true) {
    try {
      return await fetch(address(path), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (isLast) {
        throw new Problem({
          title: "The server cannot be reached",
          detail: "There was no answer. It may be restarting, or the network is down.",
        });
      }
      await new Promise((done) => setTimeout(done, RETRY_MS));
      options.signal?.throwIfAborted();
    }
  }
}

async function problemOf(response) {
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  const retryAfter = Number.isFinite(seconds) ? seconds : null;
  try {
    const { title, detail, reason } = await response.json();
    if (title) return new Problem({ status: response.status, reason, title, detail, retryAfter });
  } catch { /* not ours: a proxy between may answer too */ }
  const title = `Something on the way answered ${response.status}`;
  return new Problem({ status: response.status, title, detail: response.statusText, retryAfter });
}

/** GET /v1/model. */
export async function model() {
  const response = await ask("v1/model");
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

/** The built-in picture. */
export async function sample() {
  const response = await ask("assets/astronaut.jpg");
  if (!response.ok) throw await problemOf(response);
  return response.blob();
}

/** GET /healthz: the state, whether it is served with 200 or 503. */
export async function health() {
  const response = await ask("healthz");
  const body = await response.json().catch(() => null);
  if (!body?.workers) throw new Problem({ status: response.status, title: "No state to be had" });
  return body;
}

/** POST /v1/detect: the answer, and all that is known of how it came about. */
export async function detect(picture, { fresh = false, signal } = {}) {
  const headers = { "Content-Type": picture.type || "application/octet-stream", Accept: "application/json" };
  if (fresh) headers["Cache-Control"] = "no-cache";
  const started = performance.now();
  const response = await ask("v1/detect", { method: "POST", body: picture, headers, signal });
  if (!response.ok) throw await problemOf(response);
  const text = await response.text();
  return {
    answer: JSON.parse(text),
    text,
    totalMs: performance.now() - started,
    stages: stagesOf(response.headers.get("Server-Timing") ?? ""),
    status: response.status,
    sentBytes: picture.size,
    receivedBytes: text.length,
    requestId: response.headers.get("X-Request-Id") ?? "",
    cacheStatus: response.headers.get("Cache-Status") ?? "",
    left: response.headers.get("RateLimit") ?? "",
  };
}

/** Parse Server-Timing into [name, milliseconds] pairs. */
export function stagesOf(field) {
  return [...field.matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, time]) => [name, Number(time)]);
}
