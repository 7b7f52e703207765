// The buttons of the camera: take a still picture, or start the live mode.

import { Problem, detect } from "./api.js";
import { Camera } from "./camera.js";
import { byId } from "./dom.js";

const REST_SECONDS = 2; // after a problem without Retry-After

export class CameraBar {
  /** `parts` are stage, notice, knowModel, askToken, onStart(), onStill(blob, name) and onFrame(exchange). */
  constructor(parts) {
    Object.assign(this, parts);
    this.camera = new Camera(byId("video"), () => {
      this.#close();
      this.notice.show("The camera is no longer available", "It was unplugged, or the browser revoked access.");
    });
    const onClick = (id, action) => byId(id).addEventListener("click", action);
    onClick("camera", () => (this.camera.isOn ? this.#close() : this.#open(() => this.camera.start())));
    onClick("camera-off", () => this.#close());
    onClick("turn-camera", () => this.#open(() => this.camera.other()));
    onClick("snap", () => this.#snap());
    onClick("live", () => (this.isLive ? this.#rest() : this.#goLive()));
    addEventListener("pagehide", () => this.camera.stop());
  }

  get isLive() {
    return byId("live").getAttribute("aria-pressed") === "true";
  }

  /** Turn the camera off; the picture that is shown stays. */
  off() {
    this.#halt();
    this.camera.stop();
    byId("camera-bar").hidden = true;
    byId("camera").setAttribute("aria-pressed", "false");
  }

  #close() {
    const wasShowing = !byId("video").hidden;
    this.off();
    if (wasShowing) this.stage.show(null);
  }

  async #open(start) {
    this.#halt();
    this.notice.clear({ settled: true });
    this.onStart();
    try {
      if (!(await start())) return;
    } catch (error) {
      this.off();
      this.stage.show(null);
      this.notice.show("No camera", error.message);
      return;
    }
    byId("camera").setAttribute("aria-pressed", "true");
    byId("camera-bar").hidden = false;
    this.#preview();
    byId("turn-camera").hidden = !(await this.camera.hasOthers());
  }

  #preview() {
    const { videoWidth: width, videoHeight: height } = byId("video");
    this.stage.show("video", { width, height });
  }

  async #snap() {
    const blob = await this.camera.frame(document.createElement("canvas"));
    this.onStill(blob, "camera.jpg");
  }

  #halt() {
    this.camera.halt();
    byId("live").setAttribute("aria-pressed", "false");
    byId("live").textContent = "Go live";
    byId("rate").textContent = "";
  }

  /** Stop the live mode; the last frame and its skeletons stay visible. */
  #rest() {
    this.#halt();
    this.notice.clear({ settled: true });
  }

  async #goLive() {
    byId("live").setAttribute("aria-pressed", "true");
    byId("live").textContent = "Stop";
    await this.camera.live({
      ask: async (blob, signal) => {
        await this.knowModel();
        return detect(blob, { signal });
      },
      show: (exchange, canvas, rate) => this.#frame(exchange, canvas, rate),
      rest: (problem) => this.#refused(problem),
    });
  }

  #frame(exchange, canvas, rate) {
    const still = byId("still");
    Object.assign(still, { width: canvas.width, height: canvas.height });
    still.getContext("2d").drawImage(canvas, 0, 0);
    this.stage.show("still");
    this.notice.clear({ settled: true });
    this.onFrame(exchange);
    byId("rate").textContent = `${rate.toFixed(1)} frames a second, ${Math.round(exchange.totalMs)} ms each`;
  }

  #refused(problem) {
    if (!(problem instanceof Problem)) throw problem;
    byId("rate").textContent = "";
    if (this.askToken(problem)) {
      this.#halt();
      return null;
    }
    const seconds = problem.retryAfter ?? REST_SECONDS;
    const code = `${problem.status} ${problem.reason}`;
    this.notice.show(problem.title, problem.detail, { code, countdown: { seconds } });
    return seconds;
  }
}
