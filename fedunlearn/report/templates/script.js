"use strict";
// Tables sort by the first number in a cell, else by its text; rows without a value stay last.
function valueOf(row, column) {
  const text = row.cells[column].textContent.trim().replaceAll("−", "-").replaceAll(",", "");
  const number = parseFloat(text);
  return text === "" || text === "–" ? null : Number.isNaN(number) || /[a-z]/i.test(text) ? text.toLowerCase() : number;
}
function sortBy(table, column, sign) {
  const body = table.tBodies[table.tBodies.length - 1];  // the references above it stay where they are
  const rows = [...body.rows].map(row => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === typeof b && typeof a === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
  });
  body.append(...rows.map(([, row]) => row));
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortBy(table, column, down ? -1 : 1);
    });
  });
}
// A link to a run opens it.
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", openTarget);
openTarget();
for (const link of document.querySelectorAll('#all-runs a')) {
  link.addEventListener("click", () => { if (location.hash === link.hash) openTarget(); });
}
// All words must occur in a run's row for it to be shown.
const filter = document.querySelector(".filter");
if (filter) filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll("#all-runs tbody tr")) {
    const shown = words.every(word => row.textContent.toLowerCase().includes(word));
    row.hidden = !shown;
    document.getElementById(row.querySelector("a").hash.slice(1)).hidden = !shown;
  }
});
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(code); button.textContent = "Selected"; }
  });
}
