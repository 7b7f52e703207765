// The camera: takes a still picture, or sends successive frames with one request at a time.

const LARGEST_SIDE = 640;
const QUALITY = 0.85;
const WINDOW_MS = 2000;

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Camera {
  /** `onLost()` is called when the camera is unplugged or the browser revokes access. */
  constructor(video, onLost) {
    this.video = video;
    this.onLost = onLost;
    this.stream = null;
    this.turn = 0; // incremented when the camera is turned on or off
    this.facing = "user";
    this.run = 0; // incremented when the live mode starts or stops
  }

  get isOn() {
    return this.stream !== null;
  }

  /**
   * Turn the camera on; returns false if it was turned off or on again while the browser asked for permission. Throws
   * an Error with a message for the user.
   */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers allow the camera only on pages that are loaded over https or from localhost.");
    }
    this.stop();
    const { turn } = this;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: this.facing, width: { ideal: 1280 }, height: { ideal: 720 } },
      });
    } catch (error) {
      if (turn !== this.turn) return false;
      throw new Error(error.name === "NotAllowedError" ? "Access to the camera was denied in the browser." : "No camera was found, or another program is using it.");
    }
    if (turn !== this.turn) {
      for (const track of stream.getTracks()) track.stop();
      return false;
    }
    this.stream = stream;
    for (const track of stream.getTracks()) track.addEventListener("ended", () => this.stream === stream && this.onLost());
    this.video.srcObject = stream;
    await this.video.play().catch(() => {}); // the camera was turned off meanwhile
    return turn === this.turn;
  }

  stop() {
    this.turn += 1;
    this.halt();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }

  async other() {
    this.facing = this.facing === "user" ? "environment" : "user";
    return this.start();
  }

  /** Whether there is more than one camera. */
  async hasOthers() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter(({ kind }) => kind === "videoinput").length > 1;
  }

  /** Draw the current frame on `canvas` and return it as a JPEG. */
  async frame(canvas, largestSide = Infinity) {
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, largestSide / Math.max(width, height));
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  }

  /** Stop the live mode. */
  halt() {
    this.run += 1;
    this.abort?.abort();
  }

  /**
   * Send successive frames until `halt`. The next frame is taken after the response to the previous one, so the server
   * determines the rate. `ask(blob, signal)` sends a frame and returns an exchange, `show(exchange, canvas, rate)` shows
   * it, and `rest(problem)` returns the seconds to wait after a problem, or null to stop.
   */
  async live({ ask, show, rest }) {
    const run = (this.run += 1);
    const canvas = document.createElement("canvas");
    const done = [];
    while (run === this.run && this.isOn) {
      if (document.hidden || !this.video.videoWidth) {
        await wait(200);
        continue;
      }
      this.abort = new AbortController();
      try {
        const blob = await this.frame(canvas, LARGEST_SIDE);
        const exchange = await ask(blob, this.abort.signal);
        if (run !== this.run) return;
        const now = performance.now();
        done.push(now);
        while (done[0] < now - WINDOW_MS) done.shift();
        const rate = done.length > 1 ? ((done.length - 1) * 1000) / (now - done[0]) : 0;
        show(exchange, canvas, rate);
      } catch (problem) {
        if (run !== this.run) return;
        const seconds = rest(problem);
        if (seconds === null) return;
        await wait(seconds * 1000);
      }
    }
  }
}
