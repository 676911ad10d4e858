// On a phone a table that is wider than the screen is set smaller, or becomes a list of rows: each cell then stands
// behind its column's head, but for the row's name; sentences below each other, numbers in columns as far as there is room.
(() => {
  const phone = window.matchMedia("(max-width: 576px)");
  const SENTENCE = 40; // letters: what show.py counts as one
  const NUMBER = 12;
  const LETTER = 7.2; // pixels, a digit among signs and small exponents
  const GAP = 16; // pixels around a number
  const BESIDE = 24; // a longer cell stands below its head
  const TABLES = ".bd-content table.table:not(.indextable)";

  const wide = (table) => table.scrollWidth > table.parentElement.clientWidth;
  const length = (cell) => (cell.querySelector(".shade, td > p") || cell).textContent.trim().length;

  // What is drawn as blocks is no table to a screen reader any more, unless its parts say what they are.
  const say = (table) => {
    const roles = { thead: "rowgroup", tbody: "rowgroup", tr: "row", "thead th": "columnheader", td: "cell", "tbody th": "rowheader" };
    table.setAttribute("role", "table");
    for (const [which, role] of Object.entries(roles)) {
      for (const part of table.querySelectorAll(which)) part.setAttribute("role", role);
    }
  };

  const name = (table) => {
    const heads = [...table.querySelectorAll("thead th")];
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, k) => {
        const named = k === 0 && !/^[−\d][−.\d]*(\s|$)/.test(cell.textContent.trim()); // a number alone says nothing
        if (named || !heads[k] || !heads[k].textContent.trim()) return;
        const head = document.createElement("span");
        head.className = length(cell) > BESIDE ? "head above" : "head";
        head.setAttribute("aria-hidden", "true"); // the head itself is read with the cell
        head.append(...heads[k].cloneNode(true).childNodes);
        for (const strut of head.querySelectorAll(".strut")) strut.remove();
        for (const part of head.querySelectorAll("[tabindex]")) part.removeAttribute("tabindex");
        cell.prepend(head);
      });
    }
  };

  // Four numbers beside each other, or three where that leaves fewer gaps.
  const full = (count) => ((4 - (count % 4)) % 4 <= (3 - (count % 3)) % 3 ? 4 : 3);

  const stack = (table) => {
    const cells = [...table.tBodies[0].rows].flatMap((row) => [...row.cells].slice(1));
    if (!table.querySelector("span.head")) {
      const longest = Math.max(...cells.map(length));
      const room = Math.floor(table.parentElement.clientWidth / (LETTER * longest + GAP)); // a number stays on its line
      const beside = longest > NUMBER ? 2 : Math.min(full(table.rows[0].cells.length - 1), room);
      table.style.setProperty("--columns", Math.max(2, beside));
      table.dataset.lists = cells.some((cell) => length(cell) > SENTENCE) ? "sentences" : "numbers";
      say(table);
      name(table);
    }
    table.classList.add("stacked", table.dataset.lists);
  };

  const mend = () => {
    for (const table of document.querySelectorAll(TABLES)) {
      if (!table.tHead || !table.tBodies.length) continue;
      table.classList.remove("small", "stacked", "sentences", "numbers");
      if (!phone.matches || !table.offsetWidth || !wide(table)) continue; // what is folded has no width yet
      table.classList.add("small");
      if (!wide(table)) continue;
      table.classList.remove("small");
      stack(table);
    }
  };

  window.addEventListener("load", () => {
    const typeset = window.MathJax && MathJax.startup && MathJax.startup.promise;
    (typeset || Promise.resolve()).then(mend);
    window.addEventListener("resize", mend);
    document.addEventListener("toggle", mend, true);
    document.addEventListener("click", (event) => {
      if (event.target.closest(".toggle, .toggle-button")) setTimeout(mend, 50); // when it has unfolded
    });
  });
})();
