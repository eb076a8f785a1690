// What the page asks -> the same call for a terminal or a program.

import { classifyPath, options } from "./service.js";

/** {curl, python, grpcurl}. call: {model, fileName, withToken, grpcPort} */
export function snippets(call) {
  return { curl: curl(call), python: python(call), grpcurl: grpcurl(call) };
}

function curl({ model, fileName, withToken }) {
  const url = new URL(classifyPath(model), document.baseURI);
  const lines = [
    `curl --data-binary ${shell(`@${fileName}`)}`,
    ...(withToken ? ['-H "Authorization: Bearer $TOKEN"'] : []),
    shell(url.href),
  ];
  return lines.join(" \\\n  ");
}

function python({ model, fileName, withToken }) {
  const url = new URL(".", document.baseURI).href.replace(/\/$/, "");
  const asked = [text(fileName), `model=${text(model.name)}`];
  if (model.version !== model.versions[0]) asked.push(`version=${text(model.version)}`);
  for (const [name, value] of Object.entries(options(model))) {
    asked.push(`${name}=${typeof value === "number" ? value : "True"}`);
  }
  const client = withToken ? `Client(${text(url)}, token=os.environ["TOKEN"])` : `Client(${text(url)})`;
  const shown = model.labels.length > 0
    ? ["    for prediction in result.predictions:", '        print(f"{prediction.label:<20} {prediction.score:6.1%}")']
    : ["    print(result.embedding.shape)"];
  return [
    ...(withToken ? ["import os", ""] : []),
    "from swinserve import Client",
    "",
    `with ${client} as client:`,
    `    answer = client.classify(${asked.join(", ")})`,
    "    (result,) = answer.results",
    ...shown,
  ].join("\n");
}

function grpcurl({ model, fileName, withToken, grpcPort }) {
  const { top_k, ...flags } = options(model);
  const asked = { ...(top_k && { top_k }), ...Object.fromEntries(Object.keys(flags).map((name) => [name, true])) };
  const version = model.version === model.versions[0] ? {} : { version: model.version };
  const request = JSON.stringify({ model: model.name, ...version, options: asked, images: [{ content: "%s" }] });
  const { hostname, protocol } = new URL(document.baseURI);
  return [
    `printf ${shell(request)} "$(base64 < ${shell(fileName)} | tr -d '\\n')" |`,
    `  grpcurl ${protocol === "http:" ? "-plaintext " : ""}${withToken ? '-H "authorization: Bearer $TOKEN" ' : ""}-d @ \\`,
    `  ${hostname}:${grpcPort} swinserve.v1.Classifier/Classify`,
  ].join("\n");
}

/** One word of a POSIX shell. */
function shell(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A string of Python; JSON's is one. */
function text(value) {
  return JSON.stringify(value);
}
