// node client.cjs MODE URL PICTURE: sends the picture as a Node program would and prints the status.
const { readFileSync, createReadStream } = require("node:fs");

const [mode, url, path] = process.argv.slice(2);
const bytes = readFileSync(path);
const post = async (body, headers = {}) => (await fetch(url, { method: "POST", body, headers })).status;

function form() {
  const data = new FormData();
  data.append("file", new File([bytes], "photo.png", { type: "image/png" }));
  return data;
}

function formWithJson() {
  const data = new FormData();
  data.append("options", new Blob([JSON.stringify({ tag: "a" })], { type: "application/json" }));
  data.append("comment", "text");
  data.append("picture", new Blob([bytes]));
  return data;
}

const modes = {
  "fetch-form": () => post(form()),
  "fetch-form-json": () => post(formWithJson()),
  "fetch-body": () => post(bytes),
  "fetch-json": () => post(JSON.stringify({ image: bytes.toString("base64") }), { "Content-Type": "application/json" }),
  "fetch-data-url": () => post(`data:image/png;base64,${bytes.toString("base64")}`),
  "axios-form": async () => (await require("axios").post(url, form())).status,
  "axios-json": async () => (await require("axios").post(url, { image: bytes.toString("base64") })).status,
  "form-data": async () => {
    const data = new (require("form-data"))();
    data.append("file", createReadStream(path));
    return (await require("axios").post(url, data, { headers: data.getHeaders() })).status;
  },
  superagent: async () => (await require("superagent").post(url).attach("file", path)).status,
};

modes[mode]().then(console.log, (error) => {
  console.error(error);
  process.exit(1);
});
