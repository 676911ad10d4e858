// What a reader of the page could not read, as JSON: content that sticks out of its column, or is cut off.
(async () => {
  await document.fonts.ready;
  if (window.MathJax && MathJax.startup && MathJax.startup.promise) await MathJax.startup.promise;
  window.dispatchEvent(new Event("resize"));
  document.querySelectorAll("img").forEach((image) => { image.loading = "eager"; });
  await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));

  // Playgrounds draw when they are seen, and say when that is done.
  const places = [...document.querySelectorAll(".playground")].filter((e) => e.getClientRects().length > 0);
  const done = (place) => new Promise((resolve) => {
    const settled = () => ("shown" in place.dataset || "failed" in place.dataset) && (observer.disconnect(), resolve());
    const observer = new MutationObserver(settled);
    observer.observe(place, { attributes: true });
    place.scrollIntoView();
    settled();
  });
  const scripted = places.filter((place) => place.querySelector(".playground-stage"));
  for (const place of scripted) await done(place);
  window.scrollTo(0, 0);

  const article = document.querySelector("article") || document.body;
  const edge = article.getBoundingClientRect().right + 1;
  const ancestors = (element) => {
    const found = [];
    for (let e = element.parentElement; e && e !== article; e = e.parentElement) found.push(e);
    return found;
  };
  const shown = (e) => e.getClientRects().length > 0;
  const overflow = (e) => getComputedStyle(e).overflowX;
  const runsOver = (e) => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 2;
  const name = (e) => `${e.localName}.${e.classList[0] || ""} "${(e.textContent || e.alt || "").trim().slice(0, 50)}"`;

  const all = [...article.querySelectorAll("*")].filter(shown);
  const content = "p, pre, table, img, li, dt, h1, h2, h3, code, mjx-container, figure, a";
  const seen = all.filter((e) => e.matches(content) && !e.closest("mjx-assistive-mml, .headerlink"));
  const scrolls = (e) => ancestors(e).some((p) => ["auto", "scroll"].includes(overflow(p)));
  const outside = new Set(seen.filter((e) => e.getBoundingClientRect().right > edge && !scrolls(e)));
  const paper = matchMedia("print").matches;

  return JSON.stringify({
    height: document.scrollingElement.scrollHeight,
    sideways: document.scrollingElement.scrollWidth - window.innerWidth,
    outside: [...outside].filter((e) => !ancestors(e).some((p) => outside.has(p))).map(name),
    cut: seen.filter((e) => runsOver(e) && ["hidden", "clip"].includes(overflow(e))).map(name),
    lost: paper ? all.filter((e) => runsOver(e) && ["auto", "scroll"].includes(overflow(e))).map(name) : [],
    empty: places.filter((place) => !("shown" in place.dataset)).map((place) => place.dataset.failed || "its script did not run"),
    images: [...article.querySelectorAll("img")].filter((e) => shown(e) && e.src.endsWith(".svg"))
      .map((e) => [e.src, e.getBoundingClientRect().width]),
  });
})();
