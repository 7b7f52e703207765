// The playground: connects its parts. One request runs at a time; a new picture replaces the previous one.

import { Problem, detect, hasToken, model, sample, setToken } from "./api.js";
import { lines } from "./code.js";
import { byId, bytes, copy, say } from "./dom.js";
import { Joints, csv } from "./joints.js";
import { CameraBar } from "./live.js";
import { Notice } from "./notice.js";
import { copyWithin, describe, listen } from "./picture.js";
import { Stage } from "./stage.js";
import { watchHealth } from "./status.js";
import { drawTiming } from "./timing.js";
import { upright } from "./upright.js";
import { World } from "./world.js";

const COPY_HELPS = new Set(["body_too_large", "picture_too_large", "unsupported_format", "undecodable"]);
const ANSWERED = ["copy-json", "copy-csv", "download"]; // buttons that are enabled after an answer
const BUSY_AFTER_MS = 150;

let facts = null; // the response of /v1/model
let picture = null; // {blob, name, isSample, isCopy}
let exchange = null; // the last result of `detect`
let person = 0;
let code = "curl";
let abort = null;
let photoUrl = "";

const notice = new Notice(byId("notice"));
const world = new World(byId("world"), byId("spin"));
const stage = new Stage(
  {
    stage: byId("stage"), frame: byId("frame"), svg: byId("skeleton"), tip: byId("tip"),
    photo: byId("photo"), still: byId("still"), video: byId("video"), empty: byId("empty"),
  },
  (who, joint) => {
    if (who !== null && who !== person) choosePerson(who);
    joints.mark(joint);
    world.mark(joint);
  },
);
const joints = new Joints(byId("joints"), byId("no-joints"), (joint) => stage.select(joint === null ? null : [person, joint]));
const cameraBar = new CameraBar({
  stage, notice, knowModel, askToken, onStill: take, onFrame: showLive,
  onStart: () => {
    abort?.abort();
    picture = null;
    byId("again").disabled = true;
    clearAnswer();
    showCode();
  },
});

// --- requests ---

async function knowModel() {
  if (facts) return;
  facts = await model();
  const { task, variant, engine, limits } = facts;
  const people = limits.max_people === 1 ? "1 person" : `up to ${limits.max_people} people`;
  byId("model").textContent = `${task}, ${variant} model, ${engine} · ${people} a picture`;
}

/** Send the picture and show the answer. */
async function send() {
  const { blob } = picture;
  abort?.abort();
  const { signal } = (abort = new AbortController());
  notice.clear();
  byId("summary").textContent = "";
  const stopClock = showBusy();
  try {
    await knowModel();
    if (signal.aborted || tooMany(blob)) return;
    const got = await detect(blob, { fresh: byId("fresh").checked, signal });
    await picture.isShown;
    if (signal.aborted) return;
    notice.clear({ settled: true });
    byId("token-form").hidden = true;
    show(got);
  } catch (problem) {
    if (signal.aborted || problem.name === "AbortError") return;
    refused(problem);
  } finally {
    stopClock();
  }
}

function showBusy() {
  const started = performance.now();
  const tick = () => {
    const passed = performance.now() - started;
    byId("busy").hidden = passed < BUSY_AFTER_MS;
    byId("busy-text").textContent = passed < 1500 ? "Waiting for the answer…" : `Waiting for the answer… ${Math.floor(passed / 1000)} s`;
  };
  const { signal } = abort;
  const timer = setInterval(tick, 100);
  const stop = () => {
    clearInterval(timer);
    if (abort.signal === signal || abort.signal.aborted) byId("busy").hidden = true;
  };
  signal.addEventListener("abort", stop);
  return stop;
}

function refused(problem) {
  if (!(problem instanceof Problem)) throw problem;
  if (askToken(problem)) return;
  const actions = [];
  if (COPY_HELPS.has(problem.reason) && !picture.isCopy) actions.push(["Send a JPEG copy that fits", sendCopy]);
  const isFinal = [400, 413, 415, 422].includes(problem.status);
  notice.problem(problem, isFinal ? null : send, actions);
}

/** If the problem is a missing or wrong token, ask the user for it; returns whether it is. */
function askToken(problem) {
  if (problem.status !== 401) return false;
  const detail = hasToken() ? "The token was not accepted. " : "";
  notice.show(problem.title, detail + problem.detail, { code: `${problem.status} ${problem.reason}` });
  byId("token-form").hidden = false;
  byId("token").focus();
  return true;
}

async function sendCopy() {
  notice.show("Making a copy…", "", { mild: true });
  const original = picture;
  const blob = await copyWithin(original.blob, facts.limits);
  if (picture !== original) return;
  if (!blob) {
    notice.show("This browser cannot read the picture", "Convert it to JPEG, PNG or WebP with another program.");
    return;
  }
  take(blob, `${original.name.replace(/\.[^.]*$/, "")}-copy.jpg`, { isCopy: true });
}

// --- pictures ---

function take(blob, name, { isSample = false, isCopy = false } = {}) {
  cameraBar.off();
  notice.clear({ settled: true });
  clearAnswer();
  picture = { blob, name, isSample, isCopy };
  picture.isShown = showPhoto(picture);
  showCode();
  byId("again").disabled = false;
  say(`Sending ${name}`);
  send();
}

/** Whether the picture exceeds the limit of the server. It is not sent, because the upload would break off. */
function tooMany(blob) {
  const most = facts.limits.max_body_bytes;
  if (blob.size <= most) return false;
  const detail = `The picture has ${bytes(blob.size)}; this server accepts up to ${bytes(most)}.`;
  notice.show("The picture is too large", detail, { code: "413 body_too_large", actions: [["Send a JPEG copy that fits", sendCopy]] });
  return true;
}

async function showPhoto({ blob, name }) {
  const photo = byId("photo");
  const shown = await upright(blob).catch(() => blob);
  if (picture?.blob !== blob) return;
  URL.revokeObjectURL(photoUrl);
  photo.src = photoUrl = URL.createObjectURL(shown);
  photo.alt = `The picture ${name}`;
  await photo.decode().then(
    () => stage.show("photo", { width: photo.naturalWidth, height: photo.naturalHeight }),
    () => picture?.blob === blob && stage.show(null), // the browser may not support the format
  );
}

async function useSample() {
  try {
    take(await sample(), "astronaut.jpg", { isSample: true });
  } catch (problem) {
    notice.show(problem.title, problem.detail, { actions: [["Try again", useSample]] });
  }
}

// --- answers ---

function show(got) {
  exchange = got;
  const { people, image } = got.answer;
  if (byId("frame").hidden) stage.show("none"); // if the browser cannot show the picture, show only the joints
  stage.resize(image.width, image.height);
  choosePerson(0);
  stage.draw(people, facts.bones);
  drawTiming(byId("timing"), got);
  const found = people.length === 0 ? "No person was found in this picture" : people.length === 1 ? "1 person" : `${people.length} people`;
  const cached = got.answer.cached ? ", kept from before" : "";
  byId("summary").textContent = `${found} · ${image.width} × ${image.height}${picture ? ` · ${describe(picture.blob, picture.name)}` : ""} · ${Math.round(got.totalMs)} ms${cached}`;
  if (people.length === 0) {
    notice.show("No person was found in this picture", "Use a picture in which the person is larger, or more of the person is visible.", { mild: true });
  }
  for (const id of ANSWERED) byId(id).disabled = false;
  if (byId("answer-box").open) showAnswer();
}

/** Show a frame of the live mode; omits the parts of `show` that would flicker. */
function showLive(got) {
  exchange = got;
  const { people, image } = got.answer;
  if (stage.size.width !== image.width || stage.size.height !== image.height) stage.resize(image.width, image.height);
  choosePerson(Math.min(person, Math.max(0, people.length - 1)));
  stage.draw(people, facts.bones);
  drawTiming(byId("timing"), got);
  const summary = people.length ? "" : "No person is visible"; // announced once and not with every frame
  if (byId("summary").textContent !== summary) byId("summary").textContent = summary;
  for (const id of ANSWERED) byId(id).disabled = false;
  if (byId("answer-box").open) showAnswer();
}

function clearAnswer() {
  exchange = null;
  stage.draw([], []);
  joints.draw(null);
  world.draw([], []);
  byId("answer").textContent = "";
  byId("summary").textContent = "";
  byId("person-label").hidden = true;
  for (const id of ANSWERED) byId(id).disabled = true;
}

function choosePerson(number) {
  const { people } = exchange.answer;
  person = number;
  const select = byId("person");
  if (select.options.length !== people.length) select.replaceChildren(...people.map((_, index) => new Option(String(index + 1), index)));
  select.value = String(number);
  byId("person-label").hidden = people.length < 2;
  joints.draw(people[number]);
  world.draw(people[number]?.world_landmarks ?? [], facts.bones);
}

function showAnswer() {
  byId("answer").textContent = exchange ? JSON.stringify(exchange.answer, null, 2) : "";
}

function showCode() {
  const { blob, name, isSample } = picture ?? { name: "picture.jpg", blob: { type: "image/jpeg" } };
  byId("code").textContent = lines(code, { name, type: blob.type, isSample, fresh: byId("fresh").checked, hasToken: hasToken() });
}

async function download() {
  const blob = await stage.png({
    picture: byId("show-picture").checked, skeleton: byId("show-skeleton").checked, labels: byId("show-labels").checked,
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${(picture?.name ?? "camera").replace(/\.[^.]*$/, "")}-skeleton.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// --- events ---

listen({ input: byId("file"), onDrag: (on) => (byId("dropping").hidden = !on) }, take);
const onClick = (id, action) => byId(id).addEventListener("click", () => action());
onClick("sample", useSample);
onClick("again", () => picture && send());
onClick("download", download);
onClick("cancel", () => {
  abort?.abort();
  notice.show("Cancelled", "The request was cancelled and removed from the queue.", { mild: true, actions: [["Send again", send]] });
});
onClick("copy-json", () => copy(JSON.stringify(exchange.answer, null, 2), byId("copy-json")));
onClick("copy-csv", () => copy(csv(exchange.answer), byId("copy-csv")));
onClick("copy-code", () => copy(byId("code").textContent, byId("copy-code")));
byId("answer-box").addEventListener("toggle", showAnswer);
byId("fresh").addEventListener("change", showCode);
byId("person").addEventListener("change", () => choosePerson(Number(byId("person").value)));
for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => world.look(button.dataset.view));
for (const button of document.querySelectorAll("[data-code]")) {
  button.addEventListener("click", () => {
    code = button.dataset.code;
    for (const other of document.querySelectorAll("[data-code]")) other.setAttribute("aria-pressed", String(other === button));
    showCode();
  });
}
byId("show-picture").addEventListener("change", ({ target }) => byId("frame").classList.toggle("plain", !target.checked));
byId("show-skeleton").addEventListener("change", ({ target }) => byId("skeleton").classList.toggle("off", !target.checked));
byId("show-labels").addEventListener("change", ({ target }) => {
  stage.showsLabels = target.checked;
  if (exchange) stage.draw(exchange.answer.people, facts.bones);
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value);
  byId("token-form").hidden = true;
  notice.clear();
  showCode();
  if (picture) send();
  else knowModel().catch(askToken);
});

showCode();
watchHealth();
// A missing token is reported immediately, other problems when a picture is sent.
knowModel().catch((problem) => askToken(problem));
