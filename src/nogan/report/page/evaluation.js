// An evaluation: a table that sorts, a scatter of any two measures, the pictures behind the figures.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const measures = new Map(data.measures.map((measure) => [measure.key, measure]));
const gray = data.entries.findIndex(({ kind }) => kind === "gray");
const truth = data.entries.findIndex(({ kind }) => kind === "truth");
const pictured = Object.keys(data.pictures).map(Number); // numbers of the photographs that can be shown

function show(key, value) {
  const measure = measures.get(key);
  if (value === undefined || value === null) return "–";
  const text = measure.percent ? `${(100 * value).toFixed(measure.digits)} %` : `${value.toFixed(measure.digits)}${measure.unit ? ` ${measure.unit}` : ""}`;
  return text.replace("-", "−");
}

// Smaller where the value is better; null where neither higher nor lower is.
function badness(key, value) {
  const { better } = measures.get(key);
  if (better === null || value === undefined || value === null) return null;
  if (better === "lower") return value;
  return better === "higher" ? -value : Math.abs(value - better);
}

const options = (items) => items.map(([value, text]) => make("option", { value }, text));
const labels = (keys) => options(keys.map((key) => [key, measures.get(key).label]));

markBest(data.measures, (row) => ["model", "pictures"].includes(row.dataset.kind));

// --- two measures against each other ---------------------------------------------------------------------------------

const perImage = [...measures.keys()].filter((key) => data.entries.some(({ values }) => values[key]));
const aggregated = [...measures.keys()].filter((key) => data.entries.some(({ aggregates }) => aggregates[key]));
const away = new Set(data.entries.flatMap(({ kind }, number) => (kind === "truth" ? [number] : []))); // of the colorizers' scatter
const plot = { points: [], at: null, svg: draw("svg", { tabindex: 0, role: "img", height: 360 }), tip: make("div", { class: "tip", role: "status", hidden: "" }) };
$("plot").append(plot.svg, plot.tip);
$("points").append(...options([["all", "the colorizers"], ...data.entries.flatMap(({ name, values }, number) => (Object.keys(values).length ? [[number, `photographs, by ${name}`]] : []))]));

function offerMeasures() {
  const keys = $("points").value === "all" ? aggregated : perImage;
  for (const [id, usual, place] of [["x", "psnr", 0], ["y", "cf", 1]]) {
    const before = $(id).value;
    $(id).replaceChildren(...labels(keys));
    $(id).value = [before, usual].find((key) => keys.includes(key)) ?? keys[Math.min(place, keys.length - 1)];
  }
}

function findPoints() {
  const [x, y] = [$("x").value, $("y").value];
  if ($("points").value === "all")
    return data.entries.flatMap(({ name, color, aggregates, kind }, number) =>
      aggregates[x] && aggregates[y] && !away.has(number) ? [{ name, color, number, kind, x: aggregates[x][0], y: aggregates[y][0], spread: [aggregates[x].slice(1), aggregates[y].slice(1)] }] : []);
  const entry = data.entries[Number($("points").value)];
  return (entry.values[x] ?? []).flatMap((value, image) =>
    value === null || (entry.values[y]?.[image] ?? null) === null ? [] : [{ name: data.images[image], color: entry.color, image, x: value, y: entry.values[y][image] }]);
}

function drawScatter() {
  const width = $("plot").clientWidth;
  if (!width) return;
  const [xKey, yKey] = [$("x").value, $("y").value];
  const [left, right, top, bottom] = [52, 14, 14, 320];
  plot.points = findPoints().sort((a, b) => a.x - b.x);
  plot.at = null;
  plot.tip.hidden = true;
  const range = (axis, index) => {
    const values = plot.points.flatMap((point) => [point[axis], ...(point.spread?.[index] ?? []).filter((end) => end !== null)]);
    const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  };
  const [rangeX, rangeY] = [range("x", 0), range("y", 1)];
  const placeX = (x) => left + ((x - rangeX[0]) / (rangeX[1] - rangeX[0])) * (width - left - right);
  const placeY = (y) => bottom - ((y - rangeY[0]) / (rangeY[1] - rangeY[0])) * (bottom - top);
  const tick = (key, value) => (measures.get(key).percent ? `${+(100 * value).toFixed(2)} %` : short(value)).replace("-", "−");
  const layers = [
    ...ticks(...rangeY, 6).flatMap((value) => [draw("line", { class: "axis", x1: left, x2: width - right, y1: placeY(value), y2: placeY(value) }), draw("text", { x: left - 6, y: placeY(value) + 4, "text-anchor": "end" }, tick(yKey, value))]),
    ...ticks(...rangeX, width / 110).flatMap((value) => [draw("line", { class: "axis", x1: placeX(value), x2: placeX(value), y1: top, y2: bottom }), draw("text", { x: placeX(value), y: bottom + 17, "text-anchor": "middle" }, tick(xKey, value))]),
    draw("text", { x: width - right, y: bottom + 36, "text-anchor": "end" }, `${measures.get(xKey).label} →`),
    draw("text", { x: left + 4, y: top + 4 }, `↑ ${measures.get(yKey).label}`),
  ];
  for (const point of plot.points) {
    const [cx, cy] = [point.cx, point.cy] = [placeX(point.x), placeY(point.y)];
    const style = `stroke: ${point.color}`;
    const [[lowX, highX], [lowY, highY]] = point.spread ?? [[null, null], [null, null]];
    if (lowX !== null && highX !== null) layers.push(draw("line", { class: "spread", x1: placeX(lowX), x2: placeX(highX), y1: cy, y2: cy, style }));
    if (lowY !== null && highY !== null) layers.push(draw("line", { class: "spread", x1: cx, x2: cx, y1: placeY(lowY), y2: placeY(highY), style }));
    layers.push(draw("circle", { cx, cy, r: point.spread ? 6 : 3.5, style: `fill: ${point.color}`, "fill-opacity": point.spread ? 1 : 0.7 }));
  }
  plot.ring = draw("circle", { class: "ring", r: 8, visibility: "hidden" });
  plot.svg.setAttribute("viewBox", `0 0 ${width} 360`);
  plot.svg.setAttribute("aria-label", `${measures.get(yKey).label} against ${measures.get(xKey).label}; arrow keys go from point to point`);
  plot.svg.replaceChildren(...layers, plot.ring);
  const all = $("points").value === "all";
  $("scatter-note").textContent = all
    ? "A point for each colorizer, with its intervals. Point at one, or use the arrow keys, to read it off."
    : `A point for each photograph${plot.points.some(({ image }) => data.pictures[image]) ? "; click on one, or press Enter, to see it in the slider, if its picture is in this page" : ""}.`;
  $("key").hidden = !all;
}

for (const [number, { name, color }] of data.entries.entries()) {
  const key = make("i");
  key.style.background = color;
  const button = make("button", { type: "button", "aria-pressed": String(!away.has(number)) }, key, name);
  button.addEventListener("click", () => {
    if (!away.delete(number)) away.add(number);
    button.setAttribute("aria-pressed", String(!away.has(number)));
    drawScatter();
  });
  $("key").append(button);
}

function readPoint(index) {
  const point = plot.points[index];
  plot.at = point ? index : null;
  plot.tip.hidden = !point;
  plot.ring?.setAttribute("visibility", point ? "visible" : "hidden");
  if (!point) return;
  plot.ring.setAttribute("cx", point.cx);
  plot.ring.setAttribute("cy", point.cy);
  plot.tip.replaceChildren(make("b", {}, point.name), ...["x", "y"].map((axis) => make("div", {}, `${measures.get($(axis).value).label} `, make("b", {}, show($(axis).value, point[axis])))));
  const picture = data.pictures[point.image];
  if (picture) {
    const image = make("img", { src: picture[Number($("points").value)] ?? picture[truth], alt: "" });
    image.style.width = "120px";
    plot.tip.append(image);
  }
  const room = $("plot").clientWidth - plot.tip.offsetWidth - 4;
  plot.tip.style.left = `${Math.max(0, point.cx + 14 > room ? point.cx - plot.tip.offsetWidth - 14 : point.cx + 14)}px`;
  plot.tip.style.top = `${Math.max(0, Math.min(point.cy - 20, 350 - plot.tip.offsetHeight))}px`;
}

function openPoint() {
  const point = plot.points[plot.at];
  if (point && data.pictures[point.image]) openPicture(point.image, Number($("points").value));
}

plot.svg.addEventListener("pointermove", (event) => {
  const box = plot.svg.getBoundingClientRect();
  const apart = ({ cx, cy }) => Math.hypot(cx - (event.clientX - box.left), cy - (event.clientY - box.top));
  const near = plot.points.reduce((best, point, index) => (best < 0 || apart(point) < apart(plot.points[best]) ? index : best), -1);
  readPoint(near >= 0 && apart(plot.points[near]) < 30 ? near : -1);
});
plot.svg.addEventListener("pointerleave", () => readPoint(-1));
plot.svg.addEventListener("blur", () => readPoint(-1));
plot.svg.addEventListener("click", openPoint);
plot.svg.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
  if (event.key === "Enter") openPoint();
  else if (event.key === "Escape") readPoint(-1);
  else if (move !== undefined && plot.points.length) {
    event.preventDefault();
    readPoint(Math.max(0, Math.min(plot.points.length - 1, (plot.at ?? (move > 0 ? -1 : plot.points.length)) + move)));
  }
});
$("points").addEventListener("change", () => {
  offerMeasures();
  drawScatter();
});
for (const id of ["x", "y"]) $(id).addEventListener("change", drawScatter);
offerMeasures();
if (aggregated.length) new ResizeObserver(drawScatter).observe($("plot"));
else $("scatter").hidden = true;

// --- best and worst pictures -----------------------------------------------------------------------------------------

const judged = perImage.filter((key) => measures.get(key).better !== null);
const withPictures = data.entries.flatMap((entry, number) => (pictured.some((image) => data.pictures[image][number]) ? [[number, entry.name]] : []));
const competing = withPictures.filter(([number]) => !["gray", "truth"].includes(data.entries[number].kind));

function showRanked() {
  const [key, number] = [$("by").value, Number($("of").value)];
  const values = data.entries[number].values[key] ?? [];
  const order = pictured.filter((image) => badness(key, values[image]) !== null).sort((a, b) => badness(key, values[a]) - badness(key, values[b]));
  const half = Math.min(data.depth, Math.ceil(order.length / 2));
  const parts = [["Worst", order.slice(-Math.min(half, order.length - half) || order.length).reverse()], ["Best", order.slice(0, half)]];
  $("ranked").replaceChildren(...parts.flatMap(([title, images]) => [
    make("h3", {}, title),
    make("div", { class: "ranked" }, ...images.map((image) => {
      const button = make("button", { type: "button" }, make("span", { class: "number" }, `${data.images[image]}: `, make("b", {}, show(key, values[image]))),
        make("span", { class: "trio" }, ...[[gray, "gray"], [number, data.entries[number].name], [truth, "truth"]].map(([of, name]) =>
          make("span", {}, make("img", { src: data.pictures[image][of] ?? "", alt: `${data.images[image]}, ${name}` }), of === number ? "output" : name))));
      button.addEventListener("click", () => openPicture(image, number));
      return button;
    })),
  ]));
}

// --- between any two ---------------------------------------------------------------------------------------------------

const view = { image: pictured[0] };

function openPicture(image, number) {
  view.image = image;
  if (number !== undefined && withPictures.some(([other]) => other === number)) {
    if (Number($("right").value) === number) $("right").value = $("left").value;
    $("left").value = number;
  }
  showPair();
  $("compare").scrollIntoView({ block: "start" });
  $("slide").focus({ preventScroll: true });
}

function showPair() {
  const [left, right] = [Number($("left").value), Number($("right").value)];
  const picture = data.pictures[view.image];
  const name = data.images[view.image];
  for (const [id, number] of [["over", left], ["under", right]]) {
    $(id).src = picture[number] ?? "";
    $(id).alt = `${name}, ${data.entries[number].name}`;
  }
  $("which").textContent = `${name} (${pictured.indexOf(view.image) + 1}/${pictured.length})`;
  $("values").tHead.replaceChildren(make("tr", {}, make("th", {}, "of this picture"), ...[left, right].map((number) => make("th", {}, data.entries[number].name))));
  $("values").tBodies[0].replaceChildren(...perImage.map((key) => {
    const values = [left, right].map((number) => data.entries[number].values[key]?.[view.image]);
    const bad = values.map((value) => badness(key, value));
    const best = bad.includes(null) || bad[0] === bad[1] ? -1 : bad[0] < bad[1] ? 0 : 1;
    return make("tr", {}, make("th", { scope: "row" }, term(measures.get(key).label, measures.get(key).about)), ...values.map((value, side) => make("td", side === best ? { class: "better" } : {}, show(key, value))));
  }));
}

function step(by) {
  view.image = pictured[(pictured.indexOf(view.image) + by + pictured.length) % pictured.length];
  showPair();
}

function exchange() {
  [$("left").value, $("right").value] = [$("right").value, $("left").value];
  showPair();
}

function slideTo(value) {
  $("slide").value = value;
  $("curtain").style.setProperty("--at", `${$("slide").value}%`);
}

if (pictured.length) {
  const few = competing.length ? competing : withPictures;
  $("by").append(...labels(judged));
  if (judged.includes("quality")) $("by").value = "quality";
  $("of").append(...options(few));
  for (const id of ["left", "right"]) $(id).append(...options(withPictures));
  $("left").value = few[0][0];
  $("right").value = (few[1] ?? withPictures.at(-1))[0];
  for (const id of ["by", "of"]) $(id).addEventListener("change", showRanked);
  for (const id of ["left", "right"]) $(id).addEventListener("change", showPair);
  $("before").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("slide").addEventListener("input", () => slideTo($("slide").value));
  const drag = (event) => {
    const box = $("curtain").getBoundingClientRect();
    slideTo((100 * (event.clientX - box.left)) / box.width);
  };
  $("curtain").addEventListener("pointerdown", (event) => {
    $("curtain").setPointerCapture(event.pointerId);
    drag(event);
  });
  $("curtain").addEventListener("pointermove", (event) => event.buttons && drag(event));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
    const act = { ",": () => step(-1), ".": () => step(1), x: exchange }[event.key];
    if (act) act();
  });
  if (judged.length) showRanked();
  else $("extremes").hidden = true;
  showPair();
}

// --- pairs -------------------------------------------------------------------------------------------------------------

if (data.comparisons.length) {
  const keys = [...new Set(data.comparisons.map(({ measure }) => measure))].filter((key) => measures.has(key));
  $("pairs-by").append(...labels(keys));
  const showPairs = () => {
    const key = $("pairs-by").value;
    const bare = (value) => show(key, value).replace(/ [^ ]+$/, "");
    $("pairs-table").tBodies[0].replaceChildren(...data.comparisons.filter(({ measure }) => measure === key).map(({ a, b, difference, counts, p, verdict }) =>
      make("tr", {}, make("th", { scope: "row" }, a), make("td", { class: "left" }, b),
        make("td", { class: "difference" }, show(key, difference[0]), make("span", { class: "interval" }, `${bare(difference[1])} … ${bare(difference[2])}`)),
        make("td", {}, String(counts[0])), make("td", {}, String(counts[1])),
        make("td", {}, p < 0.001 ? "< 0.001" : p.toFixed(3)), make("td", { class: "left words" }, verdict))));
  };
  $("pairs-by").addEventListener("change", showPairs);
  showPairs();
}
