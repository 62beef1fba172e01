// Measured films: a curve over time for each measure.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const shots = data.films[0].shots;
const bands = shots.length > 1 ? shots.map(([from, to], index) => ({ from, to, kind: index % 2 ? "s7" : "card", title: `shot ${index + 1}`, short: String(index + 1) })) : [];

for (const measure of data.measures) {
  const host = make("div");
  document.getElementById("panels").append(make("div", {}, make("h3", {}, term(measure.label, measure.about)), host));
  new Chart(host, {
    label: `${measure.label} over time`,
    series: data.films.filter(({ series }) => series[measure.key]).map(({ name, color, series }) => ({ name, color, lines: series[measure.key].map((points) => ({ points })) })),
    bands,
    axis: "seconds",
    unit: "second",
    height: 220,
    format: (value) => (measure.percent ? `${+(100 * value).toFixed(measure.digits)} %` : short(value)).replace("-", "−"),
  });
}
