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
// Every table with a name can be had as CSV, its small print in columns of its own, and every figure as a file.
function save(address, name) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}
function plainText(cell, small) {
  const copy = cell.cloneNode(true);
  if (!small) copy.querySelectorAll("small").forEach(part => part.remove());
  return copy.textContent.replace(/\s+/g, " ").replaceAll("−", "-").replace(/[≈●]/g, "").trim();
}
function csvOf(table) {
  const rows = [...table.tBodies].flatMap(body => [...body.rows]);
  const columns = [...table.tHead.rows[0].cells].map((head, place) => {
    const parts = new Set(rows.flatMap(row => [...row.cells[place].querySelectorAll("small")].map(p => p.dataset.part)));
    return { name: plainText(head), place, parts: [...parts] };
  });
  const quoted = text => /[",\n]|^[=+@]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const partOf = (cell, name) => {
    const part = [...cell.querySelectorAll("small")].find(one => one.dataset.part === name);
    return part ? plainText(part, true).replace(/^[(±\s]+|[)]$/g, "") : "";
  };
  const header = columns.flatMap(({ name, parts }) => [name, ...parts.map(part => `${name} ${part}`)]);
  const lines = rows.map(row => columns.flatMap(({ place, parts }) =>
    [plainText(row.cells[place]), ...parts.map(part => partOf(row.cells[place], part))]));
  return [header, ...lines].map(line => line.map(quoted).join(",")).join("\n") + "\n";
}
function offer(after, text, action) {
  const tools = document.createElement("p"), button = document.createElement("button");
  tools.className = "tools";
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", action);
  tools.append(button);
  after.after(tools);
}
for (const table of document.querySelectorAll("table[data-name]")) {
  offer(table.closest(".scroll"), "Download CSV", () =>
    save(URL.createObjectURL(new Blob([csvOf(table)], { type: "text/csv" })), `${table.dataset.name}.csv`));
}
for (const image of document.querySelectorAll(".drawing img")) {
  offer(image.closest(".scroll"), "Download SVG", () => save(image.src, `${image.dataset.name}.svg`));
}
