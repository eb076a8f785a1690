// The page: which model, which image, one call at a time, and its answer. The other modules each know one part.

import { element, entry, percent, rows, times } from "./answer.js";
import { card } from "./card.js";
import { told } from "./failures.js";
import { listen } from "./intake.js";
import { Picture } from "./picture.js";
import { samplesFor, sampleUrl } from "./samples.js";
import { classify, Failure, fetchFile, listModels } from "./service.js";
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
let looking = 0;

const picture = new Picture();
const tabs = new Tabs();
const trouble = new Trouble(() => refresh());
const token = () => sessionStorage.getItem(TOKEN) ?? "";
const chosen = () => models[part("model").selectedIndex];

/** Asks for the models, then for the answer to the image, if there is one yet. */
async function refresh() {
  trouble.clear();
  if (!(await load())) return;
  if (file === null) part("status").textContent = "Waiting for an image.";
  else await take(file);
}

/** Whether the models are known; until all of them are ready they are asked for again and again. */
async function load() {
  clearTimeout(looking);
  try {
    showModels(await listModels(token()));
  } catch (error) {
    fail(error);
    return false;
  }
  part("token-form").hidden = token() === "";
  part("token-label").textContent = "A token is in use; enter another to change it";
  // /docs takes a token from a header alone, which a link cannot send.
  part("docs").hidden = token() !== "";
  if (!models.every((model) => model.ready)) looking = setTimeout(load, LOOK_AGAIN_MS);
  return true;
}

/** The choice stays, and where there is nothing new to choose from the elements do too: one may have the focus. */
function showModels(found) {
  const name = (model) => `${model.name} ${model.version}`;
  const before = models.map(name);
  const index = Math.max(0, found.map(name).indexOf(before[part("model").selectedIndex]));
  models = found;
  if (before.join() === models.map(name).join()) return showCard();
  part("model").replaceChildren(...models.map((model) => element("option", {}, name(model))));
  part("model").disabled = false;
  part("model").selectedIndex = index;
  showModel();
}

function showModel() {
  showCard();
  showSamples(samplesFor(chosen()));
  showCall();
}

function showCard() {
  const model = chosen();
  part("ready").textContent = model.ready ? "ready" : "getting ready …";
  part("ready").classList.toggle("yes", model.ready);
  part("card").replaceChildren(...card(model).map(([name, value]) => entry(name, value)));
  part("card-section").hidden = false;
}

function showSamples({ note, files }) {
  const buttons = Object.entries(files).map(([name, alt]) => {
    const button = element("button", { type: "button" }, element("img", { src: sampleUrl(name), alt: `Try ${alt}` }));
    button.addEventListener("click", () => sample(name).then(take).catch(fail));
    return button;
  });
  part("sample-list").replaceChildren(...buttons);
  part("sample-note").textContent = note;
  part("samples").hidden = false;
}

async function sample(name) {
  const content = await fetchFile(sampleUrl(name));
  return new File([content], name, { type: content.type });
}

function showCall() {
  part("call").hidden = false;
  const fileName = file?.name ?? "photo.jpg";
  tabs.show(snippets({ model: chosen(), fileName, withToken: token() !== "", grpcPort }));
}

async function take(image) {
  file = image;
  if (models.length === 0) return;
  const signal = begin();
  await picture.show(file, chosen());
  if (signal.aborted) return;
  showCall();
  await run(signal);
}

/** From here on no answer counts but the next: one still under way would be shown over another image. */
function begin() {
  running.abort();
  running = new AbortController();
  trouble.clear();
  part("answer").ariaBusy = "true";
  part("status").textContent = "Classifying …";
  return running.signal;
}

async function run(signal) {
  const model = chosen();
  try {
    const answer = await classify(model, file, { token: token(), signal });
    if (!signal.aborted) show(answer, model);
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
  if (!signal.aborted) part("answer").ariaBusy = "false";
}

function show({ body, seconds }, model) {
  trouble.clear(); // asking for the models may have failed meanwhile
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
  picture.clearMap();
  if (maps) {
    const showMap = (index) => picture.showMap(predictions[index], result.map_region);
    part("rows").onchange = ({ target }) => showMap(Number(target.value));
    showMap(0);
  }
  part("labels").scrollIntoView({ block: "nearest" }); // on a phone it lies below the image and the map's slider
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
  if (error.status === 401) {
    part("token-label").textContent = "This service asks for a token";
    part("docs").hidden = true;
  }
  const asking = error.status === 401 && token() === "";
  part("status").textContent = asking ? told(error).title : "";
  if (!asking) trouble.show(error);
}

part("model").addEventListener("change", () => {
  showModel();
  if (file !== null) run(begin());
});
part("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, part("token").value.trim());
  part("token").value = "";
  refresh();
});
listen(take, (message) => (part("status").textContent = message));
await refresh();
