// A Failure -> what people are told: what happened, and what they can do about it.

const WORDS = {
  UNREACHABLE: ["The service cannot be reached", "Is it running, and are you online?"],
  UNREADABLE: ["This file cannot be read", "It has changed, moved, or is a folder; choose it again."],
  UNAUTHENTICATED: ["A token is needed", "Enter one above; whoever runs this service can make it."],
  PERMISSION_DENIED: ["This token may not do that", "The page needs the scopes classify and metadata."],
  MODEL_NOT_FOUND: ["This model is not served any more", "Reload the page to see which are."],
  TOO_LARGE: ["This image is too large", "A smaller copy will do: the model sees far fewer pixels anyway."],
  UNSUPPORTED_TYPE: ["This is no image that the service reads", "Try it as JPEG or PNG."],
  UNDECODABLE: ["This image is damaged", "It is cut off or garbled; another copy of the file may be whole."],
  OVERLOADED: ["The service is busy", "More images are waiting than it can take."],
  DEADLINE_UNREACHABLE: ["The service is busy", "It could not answer in time."],
  RATE_LIMITED: ["Too many images with this token", "Its limit is used up for now."],
  NOT_READY: ["The service is getting ready", "A model is being loaded."],
  DRAINING: ["The service is shutting down", "Another instance may take over."],
  WORKER_LOST: ["The service lost a worker", "It is being replaced."],
  DEADLINE_EXCEEDED: ["This took too long", "The service gave up at the deadline; try again."],
  INTERNAL: ["The service made a mistake", "The operator finds the cause under the request id."],
};
const BY_STATUS = { 413: "TOO_LARGE", 429: "OVERLOADED", 502: "NOT_READY", 503: "NOT_READY", 504: "DEADLINE_EXCEEDED" };

/** {title, advice, detail} */
export function told(failure) {
  const [title, advice] = WORDS[failure.reason] ?? WORDS[BY_STATUS[failure.status]] ?? ["That did not work", ""];
  const id = failure.requestId && `request id ${failure.requestId}`;
  return { title, advice, detail: [failure.message, id].filter(Boolean).join(" · ") };
}

/** Whether the same image may be answered later. */
export const passes = ({ status }) => status === 0 || [408, 429, 502, 503, 504].includes(status);

/** 75 -> "1 min 15 s" */
export function duration(seconds) {
  const parts = [[Math.floor(seconds / 3600), "h"], [Math.floor(seconds / 60) % 60, "min"], [Math.ceil(seconds % 60), "s"]];
  return parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ") || "0 s";
}
