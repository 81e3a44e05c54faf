"use strict";
// Everything can be read without this: it sorts tables, and narrows the list of mistakes.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[place]?.dataset.v ?? "";
      const order = (one, other) => {
        const [a, b] = [value(one), value(other)];
        if (a === "" || b === "") return (a === "") - (b === "");
        const found = Number.isNaN(Number(a)) || Number.isNaN(Number(b)) ? a.localeCompare(b) : Number(a) - Number(b);
        return up ? found : -found;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    });
  });
}
const filter = document.getElementById("filter");
if (filter) {
  const rows = [...document.querySelectorAll(".row")];
  const word = document.getElementById("filter-text");
  const gold = document.getElementById("filter-gold");
  const told = document.getElementById("filter-count");
  for (const name of new Set(rows.map((row) => row.querySelector(".gold").textContent))) gold.add(new Option(name, name));
  const narrow = () => {
    const sought = word.value.toLowerCase();
    let left = 0;
    for (const row of rows) {
      const fits = row.textContent.toLowerCase().includes(sought) && (gold.selectedIndex === 0 || row.querySelector(".gold").textContent === gold.value);
      row.hidden = !fits;
      left += fits;
    }
    told.textContent = `${left} of ${rows.length} shown`;
  };
  word.addEventListener("input", narrow);
  gold.addEventListener("change", narrow);
  filter.hidden = false;
  narrow();
}
