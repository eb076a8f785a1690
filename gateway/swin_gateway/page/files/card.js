// A model of the API -> what its card says: [name, value] each, without what is not known.

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export function card(model) {
  const size = `${model.input_height} × ${model.input_width}`;
  const map = `${model.activation_map_height} × ${model.activation_map_width}`;
  return [
    ["Architecture", model.architecture],
    ["Parameters", `${SHORT.format(model.parameters)} (${WHOLE.format(model.parameters)})`],
    ["Multiply-adds", `${count(model.multiply_adds)} an image (${WHOLE.format(model.multiply_adds)})`],
    ["Top-1", model.accuracy || (model.labels.length > 0 ? "not known for these weights" : "")],
    ["Input", `${size} pixels`],
    ["Preprocessing", model.preprocessing],
    ["Classes", model.labels.length > 0 ? `${WHOLE.format(model.labels.length)}: ${first(model.labels)}` : "none, embeddings alone"],
    ["Embedding", model.embedding_size > 0 ? `${WHOLE.format(model.embedding_size)} numbers` : ""],
    ["Activation map", model.activation_map_height > 0 ? `${map} for each class` : "none for this model"],
    ["Weights from", model.weights],
    ["Licence", model.licence],
    ["Computes", model.backend && `${model.backend} in ${model.dtype}: ${model.backend_reason}`],
    ["Batches of", model.batch_buckets.join(", ")],
  ].filter(([, value]) => value);
}

/** Multiply-adds in G, as papers have them, where the compact form would say B. */
function count(number) {
  return SHORT.format(number).replace("B", "G");
}

function first(labels) {
  return labels.slice(0, 3).join(", ") + (labels.length > 3 ? ", …" : "");
}
