"use strict";
(() => {
  const runs = [...document.getElementById("runs").tBodies];
  const filter = document.getElementById("filter");

  const open = (run, wanted) => {
    run.querySelector(".opener").setAttribute("aria-expanded", wanted);
    run.rows[1].hidden = !wanted;
  };

  // Numbers by size, words by their letters and the numbers in them; what is missing comes last either way.
  const compare = (a, b) => {
    const numbers = [Number(a), Number(b)];
    return numbers.some(Number.isNaN) ? a.localeCompare(b, "en", { numeric: true }) : numbers[0] - numbers[1];
  };
  const sort = (table, column, direction) => {
    const value = (row) => {
      const cell = row.rows[0].cells[column];
      const text = cell.dataset.value ?? cell.textContent.trim();
      return text === "–" ? "" : text;
    };
    const rows = [...table.tBodies].map((row) => [value(row), row]);
    rows.sort(([a], [b]) => (a === "") - (b === "") || direction * compare(a, b));
    table.append(...rows.map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      head.setAttribute("aria-sort", index !== column ? "none" : direction > 0 ? "ascending" : "descending");
    });
  };

  const narrow = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const run of runs) {
      const tokens = run.dataset.tokens.split(/\s+/);
      run.hidden = !words.every((word) =>
        word.includes("=") ? tokens.includes(word) : tokens.some((token) => token.includes(word)));
      left += !run.hidden;
    }
    document.getElementById("count").textContent =
      left === runs.length ? `${runs.length} runs` : `${left} of ${runs.length} runs`;
  };

  const follow = () => {
    const run = runs.find((candidate) => `#${candidate.id}` === location.hash);
    if (!run) return;
    filter.value = "";
    narrow();
    open(run, true);
    run.scrollIntoView({ block: "center" });
  };

  document.querySelectorAll("table.sortable > thead th").forEach((head) => {
    head.querySelector("button").addEventListener("click", () => {
      sort(head.closest("table"), head.cellIndex, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
    });
  });
  runs.forEach((run) => {
    open(run, false);
    run.querySelector(".opener").addEventListener("click", (event) => {
      open(run, event.currentTarget.getAttribute("aria-expanded") !== "true");
    });
  });
  document.querySelectorAll("[data-filter]").forEach((button) => {
    button.addEventListener("click", () => {
      filter.value = filter.value === button.dataset.filter ? "" : button.dataset.filter;
      narrow();
    });
  });
  filter.addEventListener("input", narrow);
  addEventListener("hashchange", follow);
  narrow();
  follow();
})();
