// Tables that sort by a column: cells have data-value; columns of a measure have data-key, and cells the lower value the better.
"use strict";

function sortBy(head, descending) {
  const table = head.closest("table");
  const rows = table.tBodies[0];
  const column = [...head.parentElement.children].indexOf(head);
  const value = (row) => row.cells[column].dataset.value;
  const numeric = [...rows.rows].every((row) => value(row) === "" || Number.isFinite(Number(value(row))));
  const compare = (a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === "" || right === "") return (left === "") - (right === ""); // what is missing stays last
    const difference = numeric ? Number(left) - Number(right) : left.localeCompare(right, undefined, { numeric: true });
    return descending ? -difference : difference;
  };
  rows.append(...[...rows.rows].sort(compare));
  for (const other of head.parentElement.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  table.dispatchEvent(new CustomEvent("sorted"));
}

for (const button of document.querySelectorAll("table.sorted thead button")) {
  const head = button.parentElement;
  button.addEventListener("click", () => sortBy(head, head.getAttribute("aria-sort") === "ascending"));
}

// The best of each column in which higher or lower is better; rows that do not compete are left out.
function markBest(measures, competes = () => true) {
  for (const head of document.querySelectorAll("table.sorted th[data-key]")) {
    const measure = measures.find(({ key }) => key === head.dataset.key);
    const column = [...head.parentElement.children].indexOf(head);
    const rows = [...head.closest("table").tBodies[0].rows].filter(competes);
    if (measure.better === null || rows.length < 2) continue;
    const cells = rows.map((row) => row.cells[column]).filter((cell) => cell.dataset.value !== "");
    const best = Math.min(...cells.map((cell) => Number(cell.dataset.value)));
    for (const cell of cells) cell.classList.toggle("best", Number(cell.dataset.value) === best);
  }
}
