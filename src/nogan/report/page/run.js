// The report of one run: the snapshot browser and the curves.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const measures = new Map(data.measures.map((measure) => [measure.key, measure]));

function show(measure, value) {
  if (value === undefined || value === null) return "–";
  const text = measure.percent ? `${(100 * value).toFixed(measure.digits)} %` : `${value.toFixed(measure.digits)}${measure.unit ? ` ${measure.unit}` : ""}`;
  return text.replace("-", "−");
}

// Smaller where the value is better; null where neither higher nor lower is.
function badness(measure, value) {
  if (measure.better === null || value === undefined) return null;
  if (measure.better === "lower") return value;
  return measure.better === "higher" ? -value : Math.abs(value - measure.better);
}

// --- curves over the run -------------------------------------------------------------------------------------------

const bands = data.phases.map((phase) => ({ from: phase.start, to: phase.start + phase.steps, kind: phase.kind, title: phase.title, short: phase.name }));
// At batch 0 the detector says that the phase brought no gain.
const inflectionText = ({ inflection }) => (inflection ? "inflection" : "no gain");
const inflections = data.phases.flatMap((phase, index) => (phase.inflection === null ? [] : [{ x: phase.start + phase.inflection, band: index, text: inflectionText(phase) }]));
const whole = bands.length ? bands.at(-1).to - bands[0].from : 0;
// Where a phase would be a sliver, every phase is drawn as wide as the others.
const slivers = bands.some((band) => band.kind === "gan" && (band.to - band.from) / whole < 0.06);

const losses = ["generator-loss", "critic-loss", "burden"].flatMap((id) => {
  const { series, levels } = data.losses[id];
  if (!series.length) {
    $(id).previousElementSibling.remove();
    $(id).remove();
    return [];
  }
  return [new Chart($(id), { label: data.losses[id].label, series, levels, bands, marks: inflections, height: id === "burden" ? 164 : 244, x: slivers ? "equal" : "linear" })];
});

function toggle(button, on, act) {
  const press = (state) => {
    button.setAttribute("aria-pressed", String(state));
    act(state);
  };
  button.addEventListener("click", () => press(button.getAttribute("aria-pressed") !== "true"));
  button.setAttribute("aria-pressed", String(on));
}

toggle($("equal"), slivers, (on) => losses.forEach((chart) => chart.update({ x: on ? "equal" : "linear" })));
toggle($("log"), false, (on) => losses.slice(0, -1).forEach((chart) => chart.update({ log: on })));
if (bands.length < 2) $("equal").hidden = true;

// --- held-out measures over snapshots ------------------------------------------------------------------------------

const measured = data.measured; // phases with snapshots: {band, name, points: {measure: [[x, y], …]}}
const measuredBands = measured.map(({ phase }) => bands[phase]);
const multiples = data.measures.flatMap((measure) => {
  const lines = measured.map(({ points }, band) => ({ band, points: points[measure.key] ?? [] })).filter(({ points }) => points.length);
  if (!lines.length) return [];
  const host = make("div");
  const goal = measure.goal ? `${measure.meaning}; ${measure.goal}` : measure.meaning;
  $("multiples").append(make("div", {}, make("h3", {}, term(measure.label, measure.about)), make("div", { class: "soft small" }, goal), host));
  const levels = data.levels[measure.key] ?? [];
  return [new Chart(host, {
    label: `${measure.label} over the snapshots`,
    series: [{ name: measure.label, color: "var(--s0)", lines, dots: lines.every(({ points }) => points.length < 60) }],
    bands: measuredBands,
    marks: inflections.flatMap((mark) => {
      const band = measured.findIndex(({ phase }) => phase === mark.band);
      return band < 0 ? [] : [{ x: mark.x, band }];
    }),
    levels,
    height: 184,
    x: "equal",
    format: (value) => (measure.percent ? `${+(100 * value).toFixed(1)} %` : short(value)).replace("-", "−"),
    pick: data.stages.length ? (x, band) => goTo(x, measured[band]?.phase) : undefined,
  })];
});

// --- the snapshot browser ------------------------------------------------------------------------------------------

// data.stages: pretraining and each GAN phase, those of them that have pictures.
const state = { stage: 0, index: 0, pinned: null, playing: null };
const now = () => data.stages[state.stage];
const snapshot = () => now().snapshots[state.index];

function goTo(at, phase) {
  const stage = data.stages.findIndex((each) => each.phases.includes(phase));
  if (stage < 0) return;
  const distance = (each) => Math.abs(now().start + each.step - at);
  if (stage !== state.stage) chooseStage(stage);
  const { snapshots } = now();
  choose(snapshots.reduce((best, each, index) => (distance(each) < distance(snapshots[best]) ? index : best), 0));
}

function chooseStage(stage) {
  state.stage = stage;
  [...$("stages").children].forEach((button, index) => button.setAttribute("aria-pressed", String(index === stage)));
  const { start, curve, snapshots, inflection, threshold, phases } = now();
  $("slider").max = snapshots.length - 1;
  $("curve-title").textContent = curve.title;
  curveChart.update({
    label: `${curve.title}, with a cursor at the snapshot on view`,
    axis: curve.axis,
    bands: phases.map((phase) => ({ ...bands[phase], title: phases.length > 1 ? bands[phase].title : "" })),
    from: start,
    series: curveSeries(curve),
    marks: inflection === null ? [] : [{ x: start + inflection, text: inflectionText(now()) }],
    levels: threshold === null ? [] : [{ y: threshold, text: "generator's turn below" }],
  });
  $("to-inflection").disabled = inflection === null;
  $("exporting").hidden = now().number === null;
  const pick = snapshots.findIndex((each) => each.step === now().chosen);
  choose(pick >= 0 ? pick : snapshots.length - 1);
}

const curveSeries = ({ raw, smooth, color }) => [
  { name: "each batch", color, lines: [{ points: raw }], faint: smooth.length > 0 },
  { name: "smoothed", color, lines: [{ points: smooth }] },
].filter(({ lines }) => lines[0].points.length);

function label(each, stage = now()) {
  return `${data.stages.length > 1 ? `${stage.title.toLowerCase()} · ` : ""}batch ${each.step}`;
}

function noteOn(each) {
  const { chosen, inflection, rolledBack } = now();
  if (each.note) return each.note;
  if (each.step === chosen && inflection !== null) {
    if (!rolledBack) return "the last of the phase";
    return `${inflection ? `nearest the inflection point (${inflection})` : "before the GAN phase, better than every later one"}; the run went on from here`;
  }
  return each.step === 0 ? "before the GAN phase" : "";
}

function choose(index) {
  state.index = Math.max(0, Math.min(now().snapshots.length - 1, index));
  const each = snapshot();
  $("slider").value = state.index;
  const note = noteOn(each);
  $("where").replaceChildren(label(each), ...(note ? [make("span", { class: now().rolledBack && each.step === now().chosen ? "at-inflection" : "soft" }, ` · ${note}`)] : []));
  $("slider").setAttribute("aria-valuetext", `${label(each)}${note ? `, ${note}` : ""}`);
  const at = now().start + each.step;
  curveChart.setCursor(at);
  multiples.forEach((chart) => chart.setCursor(at, measured.findIndex(({ phase }) => phase === each.phase)));
  showPictures();
  showMeasures();
  $("export").textContent = `nogan snapshots ${data.folder} --pick ${each.step} --cycle ${now().number}`;
  $("export-note").textContent = each.kept ? "" : "The weights of this snapshot are no longer on disk: nogan.snapshot_budget_gb says how much space snapshots may take.";
}

function rows() {
  const pinned = state.pinned;
  return [
    { name: "gray", pictures: data.gray },
    ...(pinned ? [{ name: `pinned: ${label(pinned.snapshot, pinned.stage)}`, pictures: pinned.snapshot.pictures }] : []),
    { name: "this snapshot", pictures: snapshot().pictures, now: true },
    { name: "truth", pictures: data.truth },
  ];
}

// Elements stay as they are while the slider moves; only their sources change.
function showPictures() {
  const host = $("pictures");
  const lines = rows();
  host.style.setProperty("--rows", lines.length);
  if (host.children.length !== lines.length * (data.truth.length + 1)) {
    host.replaceChildren(...lines.map(() => make("span")), ...data.truth.flatMap((_, column) => lines.map((__, row) => {
      const button = make("button", { type: "button" }, make("img", { alt: "", decoding: "sync" }));
      button.addEventListener("click", () => enlarge(column));
      button.dataset.row = row;
      return button;
    })));
  }
  lines.forEach((line, row) => {
    host.children[row].textContent = line.name;
    data.truth.forEach((_, column) => {
      const button = host.children[lines.length * (column + 1) + row];
      const image = button.firstChild;
      const source = line.pictures?.[column];
      image.style.visibility = source ? "" : "hidden";
      if (source && image.src !== source) image.src = source;
      image.alt = `${data.subject} ${column + 1}, ${line.name}`;
      button.classList.toggle("now", Boolean(line.now));
    });
  });
  if ($("large").open) enlarge(state.large);
}

function enlarge(column) {
  state.large = column;
  $("large-where").textContent = label(snapshot());
  const figures = rows().filter((line) => line.pictures);
  $("large-pictures").replaceChildren(...figures.map((line) => make("figure", {}, make("img", { src: line.pictures[column], alt: line.name }), make("figcaption", {}, line.name))));
  if (!$("large").open) $("large").showModal();
}

function showMeasures() {
  const reference = state.pinned ? state.pinned.snapshot : now().snapshots[0];
  const head = make("tr", {}, make("th", {}, "measure"), make("th", {}, "here"), make("th", {}, state.pinned ? "pinned" : `at batch ${now().snapshots[0].step}`));
  const body = data.measures.filter(({ key }) => key in snapshot().metrics).map((measure) => {
    const [value, before] = [snapshot().metrics[measure.key], reference.metrics[measure.key]];
    const same = badness(measure, before) === null || show(measure, value) === show(measure, before);
    const change = same ? 0 : badness(measure, value) - badness(measure, before);
    const cell = make("td", change ? { class: change < 0 ? "better" : "worse" } : {}, `${show(measure, value)}${change ? (change < 0 ? " ✓" : " ✗") : ""}`);
    return make("tr", {}, make("th", { scope: "row" }, term(measure.label, measure.about)), cell, make("td", { class: "soft" }, show(measure, before)));
  });
  $("measures").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}

function toInflection() {
  const target = now().rolledBack ? now().chosen : now().inflection;
  if (target !== null) goTo(now().start + target, now().phases[0]);
}

function pin() {
  state.pinned = state.pinned ? null : { stage: now(), snapshot: snapshot() };
  $("pin").setAttribute("aria-pressed", String(Boolean(state.pinned)));
  $("pin").textContent = state.pinned ? "Unpin" : "Pin";
  showPictures();
  showMeasures();
}

function play() {
  if (state.playing) {
    clearInterval(state.playing);
    state.playing = null;
  } else {
    if (state.index === now().snapshots.length - 1) choose(0);
    state.playing = setInterval(() => (state.index < now().snapshots.length - 1 ? choose(state.index + 1) : play()), 450);
  }
  $("play").setAttribute("aria-pressed", String(Boolean(state.playing)));
  $("play").textContent = state.playing ? "Stop" : "Play";
}

let curveChart;
if (data.stages.length) {
  curveChart = new Chart($("stage-curve"), {
    label: "",
    series: curveSeries({ raw: [], smooth: [] }),
    height: 244,
    pick: (x) => goTo(x, now().phases.find((phase) => x >= bands[phase].from && x <= bands[phase].to)),
  });
  $("stages").append(...data.stages.map((stage, index) => {
    const button = make("button", { type: "button", "aria-pressed": "false" }, stage.title);
    button.addEventListener("click", () => chooseStage(index));
    return button;
  }));
  $("stages").hidden = data.stages.length < 2;
  $("slider").addEventListener("input", () => choose(Number($("slider").value)));
  $("to-inflection").addEventListener("click", toInflection);
  $("pin").addEventListener("click", pin);
  $("play").addEventListener("click", play);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, svg, .scroll, pre")) return;
    const act = { ArrowLeft: () => choose(state.index - 1), ArrowRight: () => choose(state.index + 1), i: toInflection, p: pin }[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
  chooseStage(data.stages.length - 1);
}
