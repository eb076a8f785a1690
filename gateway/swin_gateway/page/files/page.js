// The page: which model, which image, one call at a time, and its answer. The other modules each know one part.

import { element, entry, percent, rows, times } from "./answer.js";
import { card } from "./card.js";
import { told } from "./failures.js";
import { listen } from "./intake.js";
import { Picture } from "./picture.js";
import { samplesFor, sampleUrl } from "./samples.js";
import { classify, Failure, listModels } from "./service.js";
import { snippets } from "./snippets.js";
import { Tabs } from "./tabs.js";
import { Trouble } from "./trouble.js";

const TOKEN = "swinserve-token"; // in sessionStorage: of this tab, until it is closed
const LOOK_AGAIN_MS = 2000;

const part = (id) => document.getElementById(id);
const grpcPort = document.querySelector("meta[name=grpc-port]").content;

let models = [];
let file = null;
let running = new AbortController();

const picture = new Picture();
const tabs = new Tabs();
const trouble = new Trouble(() => (models.length > 0 ? run() : load()));
const token = () => sessionStorage.getItem(TOKEN) ?? "";
const chosen = () => models[part("model").selectedIndex];

/** Asks which models there are; until all are ready, again and again. */
async function load() {
  trouble.clear();
  try {
    const known = chosen();
    models = await listModels(token());
    part("token-form").hidden = token() === "";
    showModels(models.findIndex((model) => model.name === known?.name && model.version === known.version));
    if (!models.every((model) => model.ready)) setTimeout(load, LOOK_AGAIN_MS);
  } catch (error) {
    fail(error);
  }
}

function showModels(index) {
  const names = models.map((model) => element("option", {}, `${model.name} ${model.version}`));
  part("model").replaceChildren(...names);
  part("model").disabled = false;
  part("model").selectedIndex = Math.max(index, 0);
  showModel();
}

function showModel() {
  const model = chosen();
  part("ready").textContent = model.ready ? "ready" : "getting ready …";
  part("ready").classList.toggle("yes", model.ready);
  part("card").replaceChildren(...card(model).map(([name, value]) => entry(name, value)));
  part("card-section").hidden = false;
  showSamples(samplesFor(model));
  showCall();
}

function showSamples({ note, files }) {
  const buttons = Object.entries(files).map(([name, alt]) => {
    const button = element("button", { type: "button" }, element("img", { src: sampleUrl(name), alt: `Try ${alt}` }));
    button.addEventListener("click", async () => take(await sample(name)));
    return button;
  });
  part("sample-list").replaceChildren(...buttons);
  part("sample-note").textContent = note;
  part("samples").hidden = false;
}

async function sample(name) {
  const content = await (await fetch(sampleUrl(name))).blob();
  return new File([content], name, { type: content.type });
}

function showCall() {
  const fileName = file?.name ?? "photo.jpg";
  tabs.show(snippets({ model: chosen(), fileName, withToken: token() !== "", grpcPort }));
}

async function take(image) {
  file = image;
  if (models.length === 0) return;
  await picture.show(file, chosen());
  showCall();
  await run();
}

async function run() {
  if (file === null) return;
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const model = chosen();
  trouble.clear();
  part("answer").ariaBusy = "true";
  part("status").textContent = "Classifying …";
  try {
    const answer = await classify(model, file, { token: token(), signal });
    if (!signal.aborted) show(answer, model);
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
  if (!signal.aborted) part("answer").ariaBusy = "false";
}

function show({ body, seconds }, model) {
  const [result] = body.results;
  const { predictions } = result;
  const best = predictions[0];
  const maps = best?.class_activation_map !== undefined;
  part("status").textContent = best ? `${best.label}, ${percent(best.score)}` : "An embedding";
  part("labels").hidden = !best;
  part("labels").querySelector("legend").textContent = maps ? "Labels: choose one to see its map" : "Labels";
  part("rows").replaceChildren(...rows(predictions));
  part("embedding").hidden = !result.embedding;
  part("embedding").textContent = result.embedding ? numbers(result.embedding) : "";
  const { bar, list } = times(body.timing, seconds);
  part("stages").replaceChildren(...bar);
  part("times").replaceChildren(...list);
  const random = model.weights === "random" ? " Its weights were never trained: its labels mean nothing." : "";
  part("answered").textContent = `Answered by ${model.name} ${body.version}, ${body.backend} in ${body.dtype}.${random}`;
  part("results").hidden = false;
  part("labels").scrollIntoView({ block: "nearest" }); // on a phone it lies below the image
  picture.clearMap();
  if (!maps) return;
  const showMap = (index) => picture.showMap(predictions[index], result.map_region);
  part("rows").onchange = ({ target }) => showMap(Number(target.value));
  showMap(0);
}

function numbers(embedding) {
  const first = embedding.slice(0, 6).map((number) => number.toFixed(3)).join(", ");
  return `${embedding.length} numbers: ${first}, …`;
}

function fail(error) {
  if (!(error instanceof Failure)) throw error;
  part("results").hidden = true;
  picture.clearMap();
  part("answer").ariaBusy = "false";
  if (error.status === 401 || error.status === 403) part("token-form").hidden = false;
  // /docs takes a token from a header alone, which a link cannot send.
  if (error.status === 401) part("docs").hidden = true;
  const asking = error.status === 401 && token() === "";
  part("status").textContent = asking ? told(error).title : "";
  if (!asking) trouble.show(error);
}

part("model").addEventListener("change", () => {
  showModel();
  run();
});
part("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, part("token").value.trim());
  part("token").value = "";
  part("status").textContent = "";
  await load();
  if (models.length > 0) part("status").textContent = "Waiting for an image.";
  if (file !== null) await take(file);
});
listen(take, (message) => (part("status").textContent = message));
await load();
