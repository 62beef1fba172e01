// Several runs: a table that sorts, curves over each other, the same held-out pictures side by side.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const body = $("table").tBodies[0];
const off = new Set();
let stage = "final";

const order = () => [...body.rows].map((row) => Number(row.dataset.run)).filter((number) => !off.has(number));

// --- the table -----------------------------------------------------------------------------------------------------

markBest(data.measures);
for (const table of document.querySelectorAll("table.sorted")) table.addEventListener("sorted", () => showPictures());

body.addEventListener("change", (event) => {
  const row = event.target.closest("tr");
  const number = Number(row.dataset.run);
  event.target.checked ? off.delete(number) : off.add(number);
  row.classList.toggle("off", off.has(number));
  showCurves();
  showPictures();
});

// --- curves --------------------------------------------------------------------------------------------------------

const has = (name) => data.runs.some((run) => run.curves[name]);
$("measure").append(...data.measures.filter(({ key }) => has(`val/${key}`)).map(({ key, label }) => make("option", { value: key }, label)));
$("loss").append(...Object.entries(data.losses).filter(([name]) => has(name)).map(([name, [label]]) => make("option", { value: name }, label)));
$("over").append(
  ...data.cycles.map((cycle) => make("option", { value: cycle }, `batches of GAN phase ${cycle}`)),
  make("option", { value: "run" }, "images seen by the run"),
);
if (has(`val/${data.objective}`)) $("measure").value = data.objective;

const charts = ["measure", "loss"].map((id) => new Chart($(`${id}-chart`), { label: `${id} of every run`, series: [], height: 280, legend: false }));

function showCurves() {
  const over = $("over").value;
  const measure = data.measures.find(({ key }) => key === $("measure").value);
  $("loss-note").textContent = data.losses[$("loss").value]?.[1] ?? "";
  $("measure-note").textContent = measure ? `${measure.meaning}${measure.goal ? `; ${measure.goal}` : ""}` : "";
  const percent = (value) => `${+(100 * value).toFixed(1)} %`;
  [[charts[0], measure && `val/${measure.key}`, measure?.percent ? percent : undefined], [charts[1], $("loss").value]].forEach(([chart, name, format]) =>
    chart.update({
      unit: over === "run" ? "image" : "batch",
      axis: $("over").selectedOptions[0].textContent,
      format,
      series: data.runs.flatMap((run, number) => {
        const points = off.has(number) ? undefined : run.curves[name]?.[over];
        return points ? [{ name: run.label, color: run.color, lines: [{ points }], dots: points.length < 40 }] : [];
      }),
    }));
  $("key").replaceChildren(...data.runs.flatMap((run, number) => {
    if (off.has(number) || !Object.keys(run.curves).length) return [];
    const key = make("i");
    key.style.background = run.color;
    return [make("span", {}, key, run.label)];
  }));
}

for (const id of ["over", "measure", "loss"]) $(id).addEventListener("change", showCurves);

// --- pictures ------------------------------------------------------------------------------------------------------

function showPictures() {
  $("sets").replaceChildren(...data.pictures.map((set, index) => {
    const shown = order().filter((number) => set.outputs[stage][number]);
    const lines = [
      { name: "gray", pictures: set.gray },
      ...shown.map((number) => ({ name: `${data.runs[number].label}${stage === "final" && !data.runs[number].ended ? " (so far)" : ""}`, pictures: set.outputs[stage][number], number })),
      { name: "truth", pictures: set.truth },
    ];
    const grid = make("div", { class: "set" });
    grid.style.gridTemplateColumns = `fit-content(11em) repeat(${set.truth.length}, minmax(84px, 190px))`;
    for (const line of lines) {
      const title = make("span", line.number === undefined ? { class: "soft" } : { "data-run": line.number });
      if (line.number !== undefined) {
        const key = make("i", { class: "swatch" });
        key.style.background = data.runs[line.number].color;
        title.append(key);
      }
      title.append(line.name);
      grid.append(title, ...line.pictures.map((src, k) => make("img", { src, alt: `${set.subject} ${k + 1}, ${line.name}` })));
    }
    const note = data.pictures.length > 1 ? [make("p", { class: "soft small" }, `Set ${index + 1} of ${data.pictures.length}: runs that held out the same ${set.subject}s.`)] : [];
    return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Pictures" }, ...note, grid);
  }));
}

$("stages").append(...["final", "before the GAN"].map((name) => {
  const button = make("button", { type: "button", "aria-pressed": String(name === stage) }, name);
  button.addEventListener("click", () => {
    stage = name;
    for (const other of $("stages").children) other.setAttribute("aria-pressed", String(other === button));
    showPictures();
  });
  return button;
}));
if (!data.pictures.length) $("pictures").hidden = true;
if (!$("measure").options.length && !$("loss").options.length) $("curves").hidden = true;

showCurves();
const first = $("table").querySelector(`th[data-key="${data.objective}"]`);
if (first) sortBy(first, false);
else showPictures();
