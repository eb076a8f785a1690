// The REST API as the page uses it: models, and one image in -> the answer out, or a Failure.

export class Failure extends Error {
  /** status: 0 when nobody answered, null when nobody was asked. reason: the API's stable word. retryAfter: seconds, null where waiting is no help. */
  constructor({ status = 0, reason = "UNREACHABLE", message = "", requestId = "", retryAfter = null }) {
    super(message);
    Object.assign(this, { status, reason, requestId, retryAfter });
  }
}

export async function listModels(token) {
  return (await json(await ask("v1/models", { token }))).models;
}

/** Where an image for `model` goes: relative, so that it also works behind a proxy that adds a prefix. */
export function classifyPath(model) {
  const name = `v1/models/${encodeURIComponent(model.name)}`;
  const isDefault = model.version === model.versions[0];
  const version = isDefault ? "" : `/versions/${encodeURIComponent(model.version)}`;
  const query = Object.entries(options(model)).map(([name, value]) => `${name}=${value}`);
  return `${name}${version}:classify?${query.join("&")}`;
}

/** What the page asks of `model`. */
export function options(model) {
  if (model.labels.length === 0) return { embedding: true };
  return { top_k: 5, ...(model.activation_map_height > 0 && { class_activation_map: "base64" }) };
}

/** An image that was chosen may be a folder, or changed since; to send it would fail as if nobody answered. */
async function check(image) {
  try {
    await image.slice(0, 1).arrayBuffer();
  } catch ({ message }) {
    throw new Failure({ status: null, reason: "UNREADABLE", message });
  }
}

/** {body, seconds}: the API's JSON, and how long it took as seen from here. */
export async function classify(model, image, { token, signal }) {
  await check(image);
  const started = performance.now();
  // Of an unnamed type, so that a dropped JSON or form file is refused as no image instead of being read as a request.
  const headers = { "content-type": "application/octet-stream" };
  const answer = await ask(classifyPath(model), { token, signal, method: "POST", body: image, headers });
  const body = await json(answer);
  return { body, seconds: (performance.now() - started) / 1000 };
}

/** One of the page's own files as a Blob. */
export async function fetchFile(path) {
  return (await ask(path, {})).blob();
}

async function json(answer) {
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure({ status: answer.status, reason: "UNKNOWN", message: error.message });
  }
}

async function ask(path, { token, headers = {}, ...how }) {
  const authorization = token ? { authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...how, headers: { ...headers, ...authorization }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure({ message: error.message });
  }
  if (!answer.ok) throw await failure(answer);
  return answer;
}

async function failure(answer) {
  const retryAfter = answer.headers.has("retry-after") ? Number(answer.headers.get("retry-after")) || 0 : null; // a proxy may send a date
  const known = { status: answer.status, requestId: answer.headers.get("x-request-id") ?? "", retryAfter };
  try {
    const { error } = await answer.json();
    return new Failure({ ...known, reason: error.reason, message: error.message });
  } catch {
    // Something between us and the service answered in its own words.
    return new Failure({ ...known, reason: "UNKNOWN", message: `HTTP ${answer.status}` });
  }
}
