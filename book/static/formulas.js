// A formula inside a sentence that is wider than its column becomes a line of its own that scrolls, as displayed ones do.
(() => {
  const mend = () => {
    for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
      formula.classList.remove("wide");
      const column = formula.closest("p, li, td, dd, figcaption, div");
      const drawing = formula.querySelector("svg");
      if (column && drawing) formula.classList.toggle("wide", drawing.getBoundingClientRect().width > column.clientWidth);
    }
  };
  window.addEventListener("load", () => {
    const typeset = window.MathJax && MathJax.startup && MathJax.startup.promise;
    if (!typeset) return;
    typeset.then(mend);
    window.addEventListener("resize", mend);
  });
})();
