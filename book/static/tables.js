// On a phone a table of sentences that is wider than the screen becomes a list: a row is a block, and every cell but the
// first says under which head it stood. Tables of numbers stay tables, and scroll.
(() => {
  const phone = window.matchMedia("(max-width: 576px)");
  const SENTENCE = 40; // letters: what show.py counts as one

  const name = (table) => {
    const heads = [...table.querySelectorAll("thead th")];
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, k) => {
        if (k === 0 || !heads[k] || !heads[k].textContent.trim()) return;
        const head = document.createElement("span");
        head.className = "head";
        head.append(...heads[k].cloneNode(true).childNodes);
        for (const strut of head.querySelectorAll(".strut")) strut.remove();
        cell.prepend(head);
      });
    }
  };

  const mend = () => {
    for (const table of document.querySelectorAll(".bd-content table.table:not(.indextable)")) {
      if (!table.tHead || !table.tBodies.length) continue;
      table.classList.remove("stacked");
      if (!phone.matches) continue;
      const wide = !table.offsetWidth || table.scrollWidth > table.parentElement.clientWidth; // what is folded has no width
      const sentences = [...table.tBodies[0].querySelectorAll("td")].some((cell) => cell.textContent.length > SENTENCE);
      if (!wide || !sentences) continue;
      if (!table.querySelector("span.head")) name(table);
      table.classList.add("stacked");
    }
  };

  window.addEventListener("load", () => {
    const typeset = window.MathJax && MathJax.startup && MathJax.startup.promise;
    (typeset || Promise.resolve()).then(mend);
    phone.addEventListener("change", mend);
  });
})();
