// Pairs of pictures whose makers are not named; choices by key, and the ranking that follows from them.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const store = `nogan-blind-${data.seed}-${data.colorizers.join("|")}-${data.pairs.length}-${data.pairs[0].join("|")}`;
let choices = restored();

// --- the ranking: nogan.evaluation.blind.bradley_terry, step by step -----------------------------------------------------

function inverse(matrix) {
  const size = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let k = 0; k < size; k++) {
    let pivot = k;
    for (let i = k + 1; i < size; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[pivot][k])) pivot = i;
    [rows[k], rows[pivot]] = [rows[pivot], rows[k]];
    const by = rows[k][k];
    rows[k] = rows[k].map((value) => value / by);
    for (let i = 0; i < size; i++) if (i !== k) {
      const times = rows[i][k];
      rows[i] = rows[i].map((value, j) => value - times * rows[k][j]);
    }
  }
  return rows.map((row) => row.slice(size));
}

function bradleyTerry(names, made) {
  const size = names.length;
  const table = (value) => names.map((_, i) => names.map((_, j) => (i === j ? 0 : value)));
  const [wins, likely] = [table(0), table(data.prior / 2)];
  for (const { left, right, chosen } of made) {
    const [i, j] = [names.indexOf(left), names.indexOf(right)];
    const share = { left: 1, right: 0, neither: 0.5 }[chosen];
    for (const counts of [wins, likely]) {
      counts[i][j] += share;
      counts[j][i] += 1 - share;
    }
  }
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const games = likely.map((row, i) => row.map((value, j) => value + likely[j][i]));
  const strengths = names.map(() => 0);
  let covariance;
  for (let step = 0; step < 100; step++) {
    const expected = strengths.map((own) => strengths.map((other) => 1 / (1 + Math.exp(other - own))));
    const weights = games.map((row, i) => row.map((count, j) => (i === j ? 0 : count * expected[i][j] * (1 - expected[i][j]))));
    covariance = inverse(weights.map((row, i) => row.map((value, j) => (i === j ? sum(row) : -value) + 1 / size)));
    const slope = likely.map((row, i) => sum(row.map((value, j) => value - games[i][j] * expected[i][j])));
    const move = covariance.map((row) => sum(row.map((value, j) => value * slope[j])));
    move.forEach((by, i) => (strengths[i] += by));
    if (Math.max(...move.map(Math.abs)) < 1e-12) break;
  }
  const mean = sum(strengths) / size;
  strengths.forEach((_, i) => (strengths[i] -= mean));
  const share = (i, j) => covariance[i][j] - 1 / size;
  const order = names.map((_, i) => i).sort((a, b) => strengths[b] - strengths[a] || a - b);
  const normal = 1.959963984540054;
  const logistic = (value) => 1 / (1 + Math.exp(-value));
  return {
    colorizers: order.map((i) => {
      const error = normal * Math.sqrt(share(i, i));
      return { name: names[i], strength: strengths[i], low: strengths[i] - error, high: strengths[i] + error, wins: sum(wins[i]), shown: sum(wins[i]) + sum(wins.map((row) => row[i])) };
    }),
    duels: order.flatMap((i, place) => order.slice(place + 1).map((j) => {
      const [apart, error] = [strengths[i] - strengths[j], normal * Math.sqrt(share(i, i) + share(j, j) - 2 * share(i, j))];
      return { a: names[i], b: names[j], probability: logistic(apart), low: logistic(apart - error), high: logistic(apart + error) };
    })),
  };
}

// --- choosing ----------------------------------------------------------------------------------------------------------

function restored() {
  try {
    return JSON.parse(localStorage.getItem(store)) ?? [];
  } catch {
    return []; // no storage here, or not ours
  }
}

function keep() {
  try {
    localStorage.setItem(store, JSON.stringify(choices));
  } catch { // full, or switched off
    $("kept").textContent = "This browser keeps nothing: download your choices before you close or reload this page.";
  }
}

function showPair() {
  const pair = data.pairs[choices.length];
  for (const [id, place] of [["left", 1], ["right", 2]]) {
    $(id).disabled = !pair;
    $(id).classList.remove("chosen");
    $(id).firstChild.src = pair ? data.pictures[pair[0]][data.colorizers.indexOf(pair[place])] : "";
    $(id).firstChild.hidden = !pair;
  }
  $("neither").disabled = !pair;
  $("undo").disabled = !choices.length;
  $("progress").textContent = pair ? `Pair ${choices.length + 1} of ${data.pairs.length}; stop whenever you like` : "That was the last pair. Thank you.";
  $("bar").value = choices.length;
  if (!$("ranking").hidden) showRanking();
}

function choose(chosen) {
  const pair = data.pairs[choices.length];
  if (!pair) return;
  const [image, left, right] = pair;
  choices.push({ image, left, right, chosen });
  keep();
  showPair();
}

function takeBack() {
  choices.pop();
  keep();
  showPair();
}

function showRanking() {
  const { colorizers, duels } = bradleyTerry(data.colorizers, choices);
  const number = (value) => value.toFixed(2).replace("-", "−");
  const percent = (value) => `${Math.round(100 * value)} %`;
  $("table").tBodies[0].replaceChildren(...colorizers.map(({ name, strength, low, high, wins, shown }) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, number(strength)), make("td", { class: "left" }, `${number(low)} … ${number(high)}`), make("td", {}, String(wins)), make("td", {}, String(shown)))));
  $("duels").tBodies[0].replaceChildren(...duels.map(({ a, b, probability, low, high }) =>
    make("tr", {}, make("th", { scope: "row" }, a), make("td", { class: "left" }, b), make("td", {}, percent(probability)), make("td", { class: "left" }, `${percent(low)} … ${percent(high)}`))));
}

function download() {
  const { format, version, seed, colorizers } = data;
  const content = { format, version, seed, colorizers, choices, ranking: bradleyTerry(colorizers, choices) };
  const address = URL.createObjectURL(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }));
  make("a", { href: address, download: "choices.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

$("left").addEventListener("click", () => choose("left"));
$("right").addEventListener("click", () => choose("right"));
$("neither").addEventListener("click", () => choose("neither"));
$("undo").addEventListener("click", takeBack);
$("download").addEventListener("click", download);
$("reveal").addEventListener("click", () => {
  $("ranking").hidden = !$("ranking").hidden;
  $("reveal").textContent = $("ranking").hidden ? "Show the ranking so far" : "Hide the ranking";
  if (!$("ranking").hidden) showRanking();
});
$("clear").addEventListener("click", () => {
  choices = [];
  keep();
  showPair();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const act = { ArrowLeft: () => choose("left"), ArrowRight: () => choose("right"), ArrowDown: () => choose("neither"), u: takeBack }[event.key];
  if (!act || (event.key === "u" && !choices.length) || event.target.closest(".scroll")) return;
  event.preventDefault();
  act();
});
showPair();
