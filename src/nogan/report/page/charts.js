// Line charts in SVG, drawn at the width they have: phases shaded, marks, a cursor, a read-out by pointer or arrow keys.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes = {}, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// A word with its explanation: shown under the pointer, and at keyboard focus.
function term(text, about) {
  return about ? make("span", { class: "term", tabindex: 0, "data-about": about }, text) : text;
}

// Round numbers that divide [low, high] into about `count` parts.
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k++) found.push(+(k * step).toPrecision(12));
  return found;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
  if (size !== 0 && size < 1e-3) return value.toExponential(0);
  return String(+value.toPrecision(4)).replace("-", "−");
}

// Where x lies between 0 and 1. Linear, or every band as wide as the others however short it is (x outside: null).
const linear = (low, high) => (x) => (x - low) / (high - low || 1);
const equal = (bands) => (x, of) => {
  // A step on a border belongs to the band that it was logged in, where that is said.
  let index = of ?? bands.findIndex((band) => x >= band.from && x <= band.to);
  if (index < 0 || !bands[index]) return null;
  const band = bands[index];
  return (index + (x - band.from) / (band.to - band.from || 1)) / bands.length;
};

/* spec:
   label        what the chart shows, for screen readers
   series       [{name, color, lines: [{band?, points: [[x, y], …], smooth?: [[x, y], …]}], faint?, dots?, hidden?}]
   bands        [{from, to, kind, title, short}]: phases
   x            "linear" | "equal"
   marks        [{x, band?, text}]; levels [{y, text}]; log: whether y is logarithmic
   axis         what x counts
   legend       false: none, even of several series
   pick(x, band)  called where the reader clicks or drags
*/
class Chart {
  constructor(host, spec) {
    this.host = host;
    this.spec = { bands: [], marks: [], levels: [], x: "linear", height: 240, axis: "batches of the run", ...spec };
    this.at = null; // the cursor: {x, band}
    this.reading = null; // index into this.stops
    host.classList.add("chart");
    this.tip = make("div", { class: "tip", role: "status", hidden: "" });
    this.legend = this.makeLegend();
    this.svg = draw("svg", { tabindex: 0, role: "img", "aria-label": this.spec.label, height: this.spec.height });
    if (this.spec.pick) this.svg.classList.add("pick");
    host.append(this.legend, this.svg, this.tip);
    this.listen();
    new ResizeObserver(() => this.render()).observe(host);
    this.render();
  }

  makeLegend() {
    if (this.spec.legend === false || this.spec.series.length < 2) return make("div", { class: "legend", hidden: "" });
    return make("div", { class: "legend" }, ...this.spec.series.map((series) => {
      const key = make("i");
      key.style.background = series.color;
      if (series.faint) key.style.opacity = 0.5;
      const button = make("button", { type: "button", "aria-pressed": String(!series.hidden) }, key, series.name);
      button.addEventListener("click", () => {
        series.hidden = !series.hidden;
        button.setAttribute("aria-pressed", String(!series.hidden));
        this.render();
      });
      return button;
    }));
  }

  update(changes) {
    Object.assign(this.spec, changes);
    if (changes.label) this.svg.setAttribute("aria-label", changes.label);
    if (changes.series) {
      const legend = this.makeLegend();
      this.legend.replaceWith(legend);
      this.legend = legend;
    }
    this.render();
  }

  setCursor(x, band) {
    this.at = { x, band };
    this.placeCursor();
  }

  // --- scales ------------------------------------------------------------------------------------------------------

  shown() {
    return this.spec.series.filter((series) => !series.hidden);
  }

  domainX() {
    const { bands } = this.spec;
    if (bands.length) return [bands[0].from, bands.at(-1).to];
    const every = this.spec.series.flatMap((series) => series.lines.flatMap((line) => line.points.map((point) => point[0])));
    return every.length ? [Math.min(...every), Math.max(...every)] : [0, 1];
  }

  domainY() {
    const { levels, log } = this.spec;
    const every = [];
    for (const series of this.shown()) {
      const values = series.lines.flatMap((line) => line.points.map((point) => point[1])).filter((y) => !log || y > 0).sort((a, b) => a - b);
      // Spikes of a raw curve do not press the others flat.
      const cut = (series.faint || series.lines.some((line) => line.smooth)) && values.length > 50 ? Math.floor(values.length * 0.01) : 0;
      if (values.length) every.push(values[cut], values[values.length - 1 - cut]);
    }
    if (!every.length) return log ? [0.1, 1] : [0, 1];
    for (const level of levels) if (!log || level.y > 0) every.push(level.y);
    let [low, high] = [Math.min(...every), Math.max(...every)];
    if (log) return low === high ? [low / 2, high * 2] : [low / 1.08, high * 1.08];
    const room = (high - low) * 0.07 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  }

  place(x, band) {
    const { bands } = this.spec;
    const share = this.spec.x === "equal" && bands.length ? equal(bands)(x, band) : linear(...this.domainX())(x);
    return share === null ? null : this.left + share * (this.width - this.left - this.right);
  }

  placeY(y) {
    const [low, high] = this.rangeY;
    const of = this.spec.log ? Math.log(Math.max(y, low / 10) / low) / Math.log(high / low) : (y - low) / (high - low);
    return this.bottom - of * (this.bottom - this.top);
  }

  // --- drawing -----------------------------------------------------------------------------------------------------

  render() {
    const width = this.host.clientWidth;
    if (!width) return;
    const { spec } = this;
    [this.width, this.left, this.right, this.top, this.bottom] = [width, 44, 8, 20, spec.height - 36];
    this.rangeY = this.domainY();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${spec.height}`);
    const layers = [...this.drawBands(), ...this.drawAxes()];
    for (const level of spec.levels) {
      const y = this.placeY(level.y);
      layers.push(draw("line", { class: "level", x1: this.left, x2: width - this.right, y1: y, y2: y }));
      if (level.text) layers.push(draw("text", { x: width - this.right, y: y - 4, "text-anchor": "end" }, level.text));
    }
    layers.push(...this.drawLines(), ...this.drawMarks());
    this.hair = draw("line", { class: "hair", y1: this.top, y2: this.bottom, visibility: "hidden" });
    this.cursor = draw("line", { class: "cursor", y1: this.top - 4, y2: this.bottom, visibility: "hidden" });
    this.svg.replaceChildren(...layers, this.hair, this.cursor);
    this.stops = this.findStops();
    this.placeCursor();
  }

  drawBands() {
    return this.spec.bands.flatMap((band, index) => {
      const [from, to] = [this.place(band.from, index), this.place(band.to, index)];
      const parts = [draw("rect", { class: "band", x: from, y: this.top, width: Math.max(0, to - from), height: this.bottom - this.top, fill: `var(--${band.kind})` })];
      const text = [band.title, band.short].find((title) => title && title.length * 6.3 + 6 < to - from);
      if (text) parts.push(draw("text", { x: (from + to) / 2, y: this.top - 7, "text-anchor": "middle", fill: `var(--${band.kind})`, style: `fill: var(--${band.kind})` }, text));
      return parts;
    });
  }

  drawAxes() {
    const parts = [];
    const values = this.spec.log ? this.logTicks() : ticks(...this.rangeY, this.spec.height / 55);
    for (const value of values) {
      const y = this.placeY(value);
      parts.push(draw("line", { class: "axis", x1: this.left, x2: this.width - this.right, y1: y, y2: y }));
      parts.push(draw("text", { x: this.left - 6, y: y + 4, "text-anchor": "end" }, (this.spec.format ?? short)(value)));
    }
    for (const [x, band] of this.ticksX()) {
      const at = this.place(x, band);
      if (at !== null) parts.push(draw("text", { x: Math.min(at, this.width - 14), y: this.bottom + 16, "text-anchor": "middle" }, short(x - (this.spec.from ?? 0))));
    }
    parts.push(draw("text", { x: this.width - this.right, y: this.bottom + 31, "text-anchor": "end" }, this.spec.axis));
    return parts;
  }

  logTicks() {
    const [low, high] = this.rangeY;
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const factor of [1, 2, 5]) {
        const value = factor * 10 ** power;
        if (value >= low && value <= high) found.push(value);
      }
    return found.length > 1 ? found : ticks(low, high, 4);
  }

  ticksX() {
    const { bands } = this.spec;
    if (this.spec.x !== "equal" || !bands.length) {
      const [low, high] = this.domainX();
      const from = this.spec.from ?? 0;
      return ticks(low - from, high - from, this.width / 90).map((value) => [value + from]);
    }
    const every = Math.ceil((bands.length * 50) / this.width);
    return [...bands.map((band, index) => [band.from, index]).filter((_, index) => index % every === 0), [bands.at(-1).to, bands.length - 1]];
  }

  drawLines() {
    const clip = `clip${Chart.clips = (Chart.clips ?? 0) + 1}`;
    const area = draw("clipPath", { id: clip });
    area.append(draw("rect", { x: this.left - 5, y: this.top - 5, width: this.width - this.left - this.right + 10, height: this.bottom - this.top + 10 }));
    const group = draw("g", { "clip-path": `url(#${clip})` });
    for (const series of this.shown())
      for (const line of series.lines) {
        const placed = this.drawPath(group, line.points, line.band, series, series.faint || line.smooth);
        if (line.smooth) this.drawPath(group, line.smooth, line.band, series, false);
        if (series.dots || placed.length === 1)
          for (const [cx, cy] of placed) group.append(draw("circle", { cx, cy, r: 3, style: `fill: ${series.color}` }));
      }
    return [area, group];
  }

  drawPath(group, points, band, series, faint) {
    const placed = points.map(([x, y]) => [this.place(x, band), this.placeY(y)]).filter(([x]) => x !== null);
    const d = placed.map(([x, y], k) => `${k ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    if (placed.length > 1) group.append(draw("path", { class: `line${faint ? " faint" : ""}`, d, style: `stroke: ${series.color}` }));
    return placed;
  }

  drawMarks() {
    let written = -Infinity; // where the last label ends
    return this.spec.marks.flatMap((mark) => {
      const x = this.place(mark.x, mark.band);
      if (x === null) return [];
      const line = draw("line", { class: "mark", x1: x, x2: x, y1: this.top, y2: this.bottom });
      const before = x > this.width - 80;
      if (!mark.text || (before ? x - 70 : x) < written) return [line];
      written = before ? x : x + 70;
      return [line, draw("text", { class: "marklabel", x: x + (before ? -5 : 5), y: this.top + 12, "text-anchor": before ? "end" : "start" }, mark.text)];
    });
  }

  placeCursor() {
    const x = this.at && this.cursor ? this.place(this.at.x, this.at.band) : null;
    if (!this.cursor) return;
    this.cursor.setAttribute("visibility", x === null ? "hidden" : "visible");
    if (x === null) return;
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    this.cursor.dataset.step = this.at.x;
  }

  // --- reading off -------------------------------------------------------------------------------------------------

  findStops() {
    const stops = new Map();
    for (const series of this.shown())
      for (const line of series.lines)
        for (const [x, y] of line.points) {
          const at = this.place(x, line.band);
          if (at === null) continue;
          const key = `${line.band ?? ""}/${x}`;
          if (!stops.has(key)) stops.set(key, { x, band: line.band, at, values: [] });
          stops.get(key).values.push([series, y]);
        }
    return [...stops.values()].sort((a, b) => a.at - b.at);
  }

  // What stands on the x axis under the pointer.
  under(clientX) {
    const { bands } = this.spec;
    const along = clientX - this.svg.getBoundingClientRect().left - this.left;
    const share = Math.max(0, Math.min(1, along / (this.width - this.left - this.right)));
    if (this.spec.x !== "equal" || !bands.length) {
      const [low, high] = this.domainX();
      return [low + share * (high - low)];
    }
    const index = Math.min(bands.length - 1, Math.floor(share * bands.length));
    return [bands[index].from + (share * bands.length - index) * (bands[index].to - bands[index].from), index];
  }

  nearest(clientX) {
    const x = clientX - this.svg.getBoundingClientRect().left;
    let best = -1;
    this.stops.forEach((stop, index) => {
      if (best < 0 || Math.abs(stop.at - x) < Math.abs(this.stops[best].at - x)) best = index;
    });
    return best;
  }

  read(index) {
    const stop = this.stops[index];
    this.reading = stop ? index : null;
    this.tip.hidden = !stop;
    this.hair.setAttribute("visibility", stop ? "visible" : "hidden");
    if (!stop) return;
    this.hair.setAttribute("x1", stop.at);
    this.hair.setAttribute("x2", stop.at);
    const band = this.spec.bands[stop.band ?? this.spec.bands.findIndex(({ from, to }) => stop.x > from && stop.x <= to)];
    const place = `${this.spec.unit ?? "batch"} ${short(stop.x - (this.spec.from ?? 0))}${band?.title ? ` · ${band.title}` : ""}`;
    this.tip.replaceChildren(make("div", { class: "soft" }, place), ...stop.values.slice(0, 12).map(([series, y]) => {
      const key = make("i", { class: "swatch" });
      key.style.background = series.color;
      return make("div", {}, key, ` ${series.name} `, make("b", {}, (this.spec.format ?? short)(y)));
    }));
    const room = this.width - this.tip.offsetWidth - 4;
    this.tip.style.left = `${Math.max(0, Math.min(stop.at + 12 > room ? stop.at - this.tip.offsetWidth - 12 : stop.at + 12, room))}px`;
    this.tip.style.top = `${this.svg.offsetTop + this.top + 4}px`;
  }

  listen() {
    const { svg } = this;
    let dragging = false;
    const pick = (event) => this.spec.pick?.(...this.under(event.clientX));
    svg.addEventListener("pointerdown", (event) => {
      dragging = true;
      pick(event);
    });
    svg.addEventListener("pointermove", (event) => {
      this.read(this.nearest(event.clientX));
      if (dragging && event.buttons) pick(event);
    });
    svg.addEventListener("pointerup", () => (dragging = false));
    svg.addEventListener("pointerleave", () => {
      dragging = false;
      this.read(-1);
    });
    svg.addEventListener("blur", () => this.read(-1));
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Enter" && this.reading !== null && this.spec.pick) {
        this.spec.pick(this.stops[this.reading].x, this.stops[this.reading].band);
      } else if (event.key === "Escape") {
        this.read(-1);
      } else if (move !== undefined && this.stops.length) {
        event.preventDefault();
        event.stopPropagation();
        this.read(Math.max(0, Math.min(this.stops.length - 1, (this.reading ?? -1) + move)));
      }
    });
  }
}

// Buttons beside a command copy it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code); // no access to the clipboard here: at least it is selected
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
});

// The explanation of a term, at the pointer's or the focus's place; Escape hides it.
const explanation = make("div", { id: "explanation", role: "tooltip", hidden: "" });
document.body.append(explanation);

function explain(element) {
  for (const other of document.querySelectorAll("[aria-describedby=explanation]")) other.removeAttribute("aria-describedby");
  explanation.hidden = !element;
  if (!element) return;
  element.setAttribute("aria-describedby", "explanation");
  explanation.textContent = element.dataset.about;
  (element.closest("dialog[open]") ?? document.body).append(explanation);
  const [of, own] = [element.getBoundingClientRect(), explanation.getBoundingClientRect()];
  const below = of.bottom + 6 + own.height < innerHeight;
  explanation.style.left = `${Math.max(8, Math.min(of.left, document.documentElement.clientWidth - own.width - 8))}px`;
  explanation.style.top = `${below ? of.bottom + 6 : of.top - own.height - 6}px`;
}

const focused = () => document.activeElement?.closest("[data-about]:focus-visible") ?? null;
document.addEventListener("pointerover", (event) => explain(event.target.closest?.("[data-about]") ?? focused()));
document.addEventListener("focusin", () => explain(focused()));
document.addEventListener("focusout", () => explain(null));
// Focus may scroll the page: the explanation goes along.
document.addEventListener("scroll", () => explain(focused()), { capture: true, passive: true });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") explain(null);
});
