// Code for the request that the page sends: as a command and as a program.

import { DETECT, SAMPLE } from "./api.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Return the code for `kind`: "curl", "drawn" (curl for a drawn picture) or "python". */
export function lines(kind, { name, type, isSample, fresh, hasToken }) {
  const options = { name: name.replace(/[/\\\0]/g, "_") || "picture.jpg", type, isSample, fresh, hasToken };
  return kind === "python" ? python(options) : curl(options, kind === "drawn");
}

function curl({ name, isSample, fresh, hasToken }, drawn) {
  const parts = [`curl --data-binary ${quoted(`@${name}`)}`];
  if (drawn) parts.push("-o skeleton.png");
  if (fresh) parts.push("-H 'Cache-Control: no-cache'");
  if (hasToken) parts.push('-H "Authorization: Bearer $TOKEN"');
  parts.push(quoted(drawn ? `${DETECT}?draw=png` : DETECT));
  const first = isSample ? `curl -o ${quoted(name)} ${quoted(SAMPLE)}\n` : "";
  return first + parts.join(" \\\n  ");
}

function python({ name, type, isSample, fresh, hasToken }) {
  const text = JSON.stringify;
  const headers = [
    `"Content-Type": ${text(type || "application/octet-stream")}`,
    ...(fresh ? ['"Cache-Control": "no-cache"'] : []),
    ...(hasToken ? ['"Authorization": "Bearer " + os.environ["TOKEN"]'] : []),
  ];
  return `import json
${hasToken ? "import os\n" : ""}import urllib.request
from pathlib import Path
${isSample ? `\nurllib.request.urlretrieve(${text(SAMPLE)}, ${text(name)})` : ""}
request = urllib.request.Request(
    ${text(DETECT)},
    data=Path(${text(name)}).read_bytes(),
    headers={${headers.join(", ")}},
)
with urllib.request.urlopen(request) as response:
    answer = json.load(response)
for person in answer["people"]:
    for joint in person["landmarks"]:
        print(joint["name"], joint["x"], joint["y"], joint["visibility"])
`;
}
