"use strict";

// The address holds what is shown, so that a link or a reload shows it again: #seed=3&first=5&second=8
const state = Object.assign(
  { source: "generated", seed: "0", order: "drawn", snapshot: "", first: "", second: "" },
  Object.fromEntries(new URLSearchParams(location.hash.slice(1))),
);
const at = id => document.getElementById(id);
const controls = at("controls");
const percent = share => `${(100 * share).toFixed(share < 0.01 || share > 0.99 ? 2 : 0)} %`;
let facts;

async function ask(path, query = {}, options = {}) {
  const filled = Object.entries(query).filter(([, value]) => value !== "");
  const response = await fetch(`api/${path}?${new URLSearchParams(filled)}`, options);
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

// Runs an action; of two at one place that overlap, the earlier one stops where it next looks at `current()`.
const latest = { images: 0, answers: 0 };
async function attempt(action, place = "images") {
  const number = ++latest[place];
  document.body.setAttribute("aria-busy", "true");
  try {
    await action(() => number === latest[place]);
    at("trouble").hidden = true;
  } catch (error) {
    at("trouble").textContent = error.message;
    at("trouble").hidden = false;
  }
  if (number === latest[place]) document.body.removeAttribute("aria-busy");
}

function remember(changes) {
  Object.assign(state, changes);
  const filled = Object.entries(state).filter(([, value]) => value !== "");
  history.replaceState(null, "", `#${new URLSearchParams(filled)}`);
}

function element(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const whereDrawn = () => ({ source: state.source, seed: state.seed, snapshot: state.snapshot });

async function showImages(current) {
  const images = (await ask("images", whereDrawn())).map((image, index) => ({ ...image, index }));
  if (!current()) return;
  const sign = { drawn: 0, least: 1, most: -1 }[state.order] ?? 0;
  images.sort((one, other) => sign * (one.probability - other.probability) || one.index - other.index);
  at("grid").replaceChildren(...images.map(({ picture, probability, index }) => {
    const name = `image ${index}, real with ${percent(probability)}`;
    const button = element("button", { type: "button", "aria-label": name, title: name, "data-index": index },
      element("img", { src: picture, alt: "" }), element("meter", { value: probability }));
    button.addEventListener("click", () => attempt(now => choose(String(index), now)));
    return button;
  }));
  mark();
}

function mark() {
  for (const button of at("grid").children) {
    const chosen = [state.first, state.second].includes(button.dataset.index);
    button.setAttribute("aria-pressed", String(chosen));
  }
}

async function choose(index, current) {
  const walks = state.source === "generated" && state.first !== "" && state.second === "" && state.first !== index;
  remember(walks ? { second: index } : { first: index, second: "" });
  mark();
  await showChosen(current);
}

async function showChosen(current) {
  at("walk").hidden = true;
  if (state.first === "") return;
  const looked = await ask("look", { ...whereDrawn(), index: state.second || state.first });
  if (!current()) return;
  showLooked(looked);
  if (state.second === "" || state.source !== "generated") return;
  const steps = await ask("walk", { seed: state.seed, first: state.first, second: state.second, snapshot: state.snapshot });
  if (current()) showWalk(steps);
}

function showLooked({ picture, probability, evidence }) {
  at("looked").src = picture;
  at("looked").alt = "the image that is looked at";
  at("looked").hidden = false;
  at("answer").textContent = `The discriminator takes it for real with ${percent(probability)}.`;
  at("shares").hidden = !evidence;
  if (!evidence) {
    at("meaning").textContent = "Its last capsules are routed, so the answer is no sum over places.";
    return;
  }
  const { shares, constant, total } = evidence;
  const reach = Math.max(...shares.flat().map(Math.abs), 1e-9);
  const canvas = at("shares");
  canvas.width = shares[0].length;
  canvas.height = shares.length;
  const pixels = new ImageData(shares.flatMap(row => row.flatMap(share => {
    const strength = Math.round(255 * Math.abs(share) / reach);
    return share >= 0 ? [0, 114, 178, strength] : [213, 94, 0, strength];
  })).reduce((bytes, value, index) => { bytes[index] = value; return bytes; },
    new Uint8ClampedArray(4 * canvas.width * canvas.height)), canvas.width);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.setAttribute("aria-label", `shares of the answer on ${shares.length} by ${shares[0].length} places`);
  const what = constant ? `its logit, ${total}, is the sum of the shares of these places and ${constant}`
    : `the length of its capsule before squashing, ${total}, is the sum of the shares of these places`;
  at("meaning").textContent = `Blue speaks for real, orange against: ${what}. The largest share is ${reach.toFixed(3)}.`;
}

function showWalk(steps) {
  at("walk").hidden = false;
  at("steps").replaceChildren(...steps.map(({ picture, probability }, index) =>
    element("img", { src: picture, alt: `step ${index}, real with ${percent(probability)}`, title: percent(probability) })));
  const points = steps.map(({ probability }, index) => `${40 + 540 * (index + 0.5) / steps.length},${110 - 100 * probability}`);
  at("curve").replaceChildren(chart(130, "Probabilities on the way",
    ...[0, 0.5, 1].flatMap(value => rule(value, 110 - 100 * value)),
    element("svg:polyline", { class: "line", points: points.join(" ") })));
}

function chart(height, label, ...parts) {
  return element("svg:svg", { viewBox: `0 0 600 ${height}`, role: "img", "aria-label": label }, ...parts);
}

const rule = (value, y) => [
  element("svg:line", { class: "axis", x1: 40, x2: 580, y1: y, y2: y }),
  element("svg:text", { x: 34, y: y + 4, "text-anchor": "end" }, String(value)),
];

async function compare(current) {
  at("verdict").textContent = "…";
  const found = await ask("answers", { seed: state.seed });
  if (!current()) return;
  const bins = 40, x = probability => 40 + 540 * probability;
  const counts = name => found[name].reduce((sums, p) => { sums[Math.min(bins - 1, Math.floor(p * bins))]++; return sums; }, Array(bins).fill(0));
  const sums = { real: counts("real"), generated: counts("generated") };
  const most = Math.max(...sums.real, ...sums.generated);
  const bars = name => element("svg:g", { class: `bars ${name}` }, ...sums[name].map((count, bin) =>
    element("svg:rect", { x: x(bin / bins), width: 540 / bins, y: 170 - 150 * count / most, height: 150 * count / most })));
  const cut = (value, text, y) => [
    element("svg:line", { class: "cut", x1: x(value), x2: x(value), y1: 10, y2: 170 }),
    element("svg:text", { x: x(value) + (value > 0.8 ? -5 : 5), y, "text-anchor": value > 0.8 ? "end" : "start" }, text),
  ];
  at("histogram").replaceChildren(chart(205, "Probabilities of real and of generated images",
    bars("real"), bars("generated"), element("svg:line", { class: "axis", x1: 40, x2: 580, y1: 170, y2: 170 }),
    ...cut(0.5, "the paper’s cut", 20), ...cut(found.balanced_cut, "balanced cut", 36),
    ...[0, 0.25, 0.5, 0.75, 1].map(value => element("svg:text", { x: x(value), y: 186, "text-anchor": "middle" }, String(value))),
    element("svg:text", { x: 40, y: 202 }, "probability that it is real"),
    ...["real", "generated"].flatMap((name, index) => [
      element("svg:rect", { class: name, x: 400 + 90 * index, y: 194, width: 9, height: 9 }),
      element("svg:text", { x: 413 + 90 * index, y: 202 }, name)])));
  const above = (name, value) => percent(found[name].filter(p => p > value).length / found[name].length);
  at("verdict").textContent = [0.5, found.balanced_cut].map(value =>
    `Above ${value.toFixed(3)} are ${above("real", value)} of the real test images and ${above("generated", value)} of the generated ones.`).join(" ");
}

function showState() {
  for (const name of ["source", "seed", "order"]) controls[name].value = state[name];
  const after = state.snapshot === "" ? facts.snapshots.length : facts.snapshots.indexOf(Number(state.snapshot));
  controls.snapshot.value = after;
  at("training").querySelector("output").textContent = (facts.snapshots[after] ?? facts.images_seen).toLocaleString("en");
}

function changed(event) {
  const { name, value } = event.target;
  if (!controls.reportValidity()) return;
  const change = name === "snapshot" ? { snapshot: facts.snapshots[value] ?? "" } : { [name]: value };
  const others = name === "seed" || name === "source" ? { first: "", second: "" } : {};
  remember({ ...change, ...others });
  showState();
  attempt(async current => {
    await showImages(current);
    if (name !== "order") await showChosen(current);
  });
}

controls.addEventListener("change", changed);
controls.addEventListener("submit", event => event.preventDefault());
at("next").addEventListener("click", () => {
  controls.seed.value = Number(state.seed) + 1;
  changed({ target: controls.seed });
});
at("compare").addEventListener("click", () => attempt(compare, "answers"));
at("picture").addEventListener("change", () => attempt(async current => {
  const [file] = at("picture").files;
  if (!file) return;
  const judged = await ask("judge", {}, { method: "POST", body: file });
  if (current()) showLooked(judged);
}));

attempt(async current => {
  facts = await ask("facts");
  document.title = `${facts.model}, ${facts.data}`;
  at("title").textContent = `${facts.model} on ${facts.data}`;
  const counts = Object.entries(facts.parameters).map(([name, count]) => `${name} ${count.toLocaleString("en")} parameters`);
  at("facts").textContent = [`trained for ${facts.images_seen.toLocaleString("en")} images`,
    `${facts.image_size} x ${facts.image_size} pixels`, `${facts.latent_dim} latents`, ...counts].join(" · ");
  at("training").hidden = facts.snapshots.length === 0;
  controls.snapshot.max = facts.snapshots.length;
  showState();
  await showImages(current);
  await showChosen(current);
});
