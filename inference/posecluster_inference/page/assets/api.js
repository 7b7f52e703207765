// Calls the server's API. All addresses are relative to the page, so that it works below any path.

/** Resolve a path, without the user name and password of the page's address, which fetch rejects. */
const address = (path) => {
  const url = new URL(path, document.baseURI);
  url.username = url.password = "";
  return url.href;
};
export const DETECT = address("v1/detect");
export const SAMPLE = address("assets/astronaut.jpg");
const RETRY_MS = 300;
const HEALTH_LIMIT_MS = 5_000; // otherwise a network that drops packets would leave an old state on the page
const TOKEN_KEY = "posecluster-token";

/** A refusal by the server (RFC 9457), or a missing or unreadable response. */
export class Problem extends Error {
  constructor({ status = 0, reason = "", title, detail = "", retryAfter = null }) {
    super(detail || title);
    Object.assign(this, { status, reason, title, detail, retryAfter });
  }

  /** Whether a later retry of the same request may succeed. */
  get passes() {
    return this.retryAfter !== null;
  }
}

// The browser may forbid storage; the token then stays in memory.
let token = "";
try {
  token = sessionStorage.getItem(TOKEN_KEY) ?? "";
} catch { /* the token stays in memory */ }

export const hasToken = () => token !== "";

export function setToken(value) {
  token = value.trim();
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch { /* the token stays in memory */ }
}

/** Send a request, and retry it once after a network failure, which is safe because no request changes the server. */
async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  try {
    if (token) headers.set("Authorization", `Bearer ${token}`);
  } catch { /* a header cannot contain these characters, so the server will refuse the request */ }
  for (let isLast = false; ; isLast = true) {
    try {
      return await fetch(address(path), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (isLast || error.name === "TimeoutError") {
        throw new Problem({
          title: "The server cannot be reached",
          detail: "There was no answer. The server may be restarting, or the network may be down.",
        });
      }
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

async function problemOf(response) {
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  const retryAfter = Number.isFinite(seconds) ? seconds : null;
  try {
    const { title, detail, reason } = await response.json();
    if (title) return new Problem({ status: response.status, reason, title, detail, retryAfter });
  } catch { /* the response is from a proxy and not from our server */ }
  const title = `A proxy answered ${response.status}`;
  return new Problem({ status: response.status, title, detail: response.statusText, retryAfter });
}

/** Return the result of `read`; throws a Problem if the response is a refusal, incomplete or in another format. */
async function readOf(response, read) {
  if (!response.ok) throw await problemOf(response);
  try {
    return await read(response);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      title: "The answer cannot be read",
      detail: "The answer was cut off, or a proxy, such as a login page, answered instead of the server.",
    });
  }
}

/** Return the response of GET /v1/model. */
export async function model() {
  return readOf(await ask("v1/model"), (response) => response.json());
}

/** Return the built-in picture. */
export async function sample() {
  return readOf(await ask("assets/astronaut.jpg"), (response) => response.blob());
}

/** Return the state from GET /healthz, whose status is 200 or 503. */
export async function health() {
  const response = await ask("healthz", { signal: AbortSignal.timeout(HEALTH_LIMIT_MS) });
  const body = await response.json().catch(() => null);
  if (typeof body?.status !== "string") throw new Problem({ status: response.status, title: "The server's state is not available" });
  return body;
}

/** Send a picture to POST /v1/detect; returns the answer with its timing and cache status. */
export async function detect(picture, { fresh = false, signal } = {}) {
  const headers = { "Content-Type": picture.type || "application/octet-stream", Accept: "application/json" };
  if (fresh) headers["Cache-Control"] = "no-cache";
  const started = performance.now();
  const response = await ask("v1/detect", { method: "POST", body: picture, headers, signal });
  const [text, answer] = await readOf(response, async () => {
    const body = await response.text();
    return [body, JSON.parse(body)];
  });
  return {
    answer,
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
