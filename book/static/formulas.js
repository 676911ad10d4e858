// Formulas on a narrow screen. One that is a little wider than its column is drawn as much smaller; one that is much wider
// scrolls, inside a sentence too. And no line begins with the full stop or comma that belongs to the formula before it.
(() => {
  const LEAST = 0.72; // of the usual size: exponents of eight pixels

  const block = (element) => {
    let column = element.parentElement; // what stands in a line has no width of its own
    while (column && !column.clientWidth) column = column.parentElement;
    return column;
  };

  const mend = () => {
    const formulas = [...document.querySelectorAll("mjx-container")]
      .map((box) => ({ box, drawing: box.querySelector("svg"), displayed: box.hasAttribute("display") }))
      .filter(({ drawing }) => drawing);
    for (const { box, drawing } of formulas) {
      box.classList.remove("wide");
      drawing.style.removeProperty("font-size");
    }
    const shares = formulas.map(({ box, drawing, displayed }) => {
      const column = displayed ? box : block(box);
      const width = drawing.getBoundingClientRect().width;
      return width && column ? (column.clientWidth - 1) / width : 1; // what is folded has no width yet
    });
    formulas.forEach(({ box, drawing, displayed }, k) => {
      if (shares[k] >= 1) return;
      if (shares[k] >= LEAST) drawing.style.fontSize = `${shares[k]}em`;
      else if (!displayed) box.classList.add("wide");
    });
  };

  const glue = () => {
    for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
      const word = formula.closest("span.math") || formula;
      const [before, after] = [word.previousSibling, word.nextSibling];
      const opening = before instanceof Text && /\($/.test(before.data);
      const closing = after instanceof Text && /^[.,;:!?)’”]+/.exec(after.data);
      if (!opening && !closing) continue;
      const whole = document.createElement("span");
      whole.className = "unbroken";
      word.replaceWith(whole);
      if (opening) {
        before.data = before.data.slice(0, -1);
        whole.append("(");
      }
      whole.append(word);
      if (closing) {
        after.data = after.data.slice(closing[0].length);
        whole.append(closing[0]);
      }
    }
  };

  window.addEventListener("load", () => {
    const typeset = window.MathJax && MathJax.startup && MathJax.startup.promise;
    if (!typeset) return;
    typeset.then(glue).then(mend);
    window.addEventListener("resize", mend);
    document.addEventListener("toggle", mend, true);
    document.addEventListener("click", (event) => {
      if (event.target.closest(".toggle, .toggle-button")) setTimeout(mend, 50); // when it has unfolded
    });
  });
})();
