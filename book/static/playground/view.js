// The page's side of the playground: controls, pictures, and a sentence that says what they show.
(function () {
  "use strict";
  const core = window.DiffnumPlayground;
  const here = document.currentScript.src.replace(/[^/]*$/, "");

  const VIEWS = {
    paths: "Paths", order: "Order", response: "Gaussian response", numbers: "Numbers", stability: "Stability",
  };
  const GRIDS = {
    uniform_half_log_snr: "uniform in log-SNR", uniform_time: "uniform in time", quadratic_time: "quadratic in time", karras: "Karras",
  };
  const peak = (x, y, std, weight, label) => ({ mean: [x, y], std, weight, label });
  const MIXTURES = {
    "Three peaks": [peak(-1.3, -0.7, 0.15, 0.35, "A"), peak(0.1, 1.3, 0.25, 0.4, "B"), peak(1.4, -0.5, 0.1, 0.25, "A")],
    "Two sharp peaks": [peak(-1, 0, 0.05, 0.5, "A"), peak(1, 0, 0.05, 0.5, "B")],
    "A ring": Array.from({ length: 8 }, (_, k) => {
      const turn = (k * Math.PI) / 4;
      return peak(1.4 * Math.cos(turn), 1.4 * Math.sin(turn), 0.15, 1 / 8, k % 2 ? "A" : "B");
    }),
    "One Gaussian": [peak(0.4, 0.2, 0.6, 1, "A")],
  };
  const STARTS = 128;
  const SHOWN = 40;
  const EXACT = 400;
  const SIZE = 480;
  const REACH = 3;

  const NS = "http://www.w3.org/2000/svg";
  function make(name, attributes, ...children) {
    const svg = ["svg", "g", "path", "circle", "line", "text", "image", "rect"].includes(name);
    const element = svg ? document.createElementNS(NS, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const loaded = {};
  function plansOf(method) {
    loaded[method] ||= new Promise((resolve, reject) => {
      const script = make("script", { src: `${here}plans/${method}.js` });
      script.onload = () => resolve(window.DiffnumPlans[method]);
      script.onerror = () => reject(new Error(`the plans of ${method} are not beside this page`));
      document.head.append(script);
    });
    return loaded[method];
  }

  const short = (v) => {
    if (v === 0 || !Number.isFinite(v)) return String(v);
    const size = Math.abs(v);
    return size >= 1e4 || size < 1e-3 ? v.toExponential(2) : v.toPrecision(3);
  };
  const shortest = (list, wanted) => list.reduce((best, v) => (Math.abs(v - wanted) < Math.abs(best - wanted) ? v : best));

  function playground(place) {
    const id = `playground-${[...document.querySelectorAll(".playground")].indexOf(place)}`;
    const wants = place.dataset;
    const state = {
      method: wants.method, grid: wants.grid || "uniform_time", evaluations: Number(wants.evaluations || 10), setting: wants.eta || "",
      view: wants.view || "paths", scale: Number(wants.guidance || 1), label: wants.guidance ? "A" : "", seed: 1, step: 1,
      components: structuredClone(MIXTURES["Three peaks"]), own: null,
    };
    const cache = { key: "", value: null };

    function control(name, element, hint) {
      element.id = `${id}-${name}`;
      const output = make("output", { for: element.id });
      const label = make("label", { for: element.id }, hint, " ", output);
      return { box: make("div", { class: "playground-control" }, label, element), element, output };
    }
    function select(name, hint, options, value, changed) {
      const element = make("select", {}, ...Object.entries(options).map(([key, text]) => make("option", { value: key }, text)));
      element.value = value;
      element.onchange = () => (changed(element.value), draw());
      return control(name, element, hint);
    }
    function range(name, hint, low, high, step, value, changed) {
      const element = make("input", { type: "range", min: low, max: high, step, value });
      element.oninput = () => (changed(Number(element.value)), draw());
      return control(name, element, hint);
    }

    const titles = Object.fromEntries(Object.entries(window.DiffnumMenu).map(([key, entry]) => [key, entry.title]));
    const budgets = () => {
      const data = state.data.plans[state.grid];
      return Object.keys(data).map(Number).sort((a, b) => a - b);
    };
    const method = select("method", "Method", titles, state.method, (v) => { state.method = v; state.setting = ""; state.own = null; });
    const grid = select("grid", "Grid", GRIDS, state.grid, (v) => { state.grid = v; state.own = null; });
    const budget = range("evaluations", "Evaluations", 0, 1, 1, 0, (v) => { state.evaluations = budgets()[v]; state.own = null; });
    const noise = range("eta", "Noise η", 0, 1, 1, 0, (v) => { state.setting = window.DiffnumMenu[state.method].settings[v][0]; });
    const label = select("class", "Class", { "": "none", A: "A", B: "B" }, state.label, (v) => { state.label = v; });
    const scale = range("guidance", "Guidance", 0, 10, 0.5, state.scale, (v) => { state.scale = v; });
    const data = select("data", "Data", Object.fromEntries(Object.keys(MIXTURES).map((k) => [k, k])), "Three peaks", (v) => {
      state.components = structuredClone(MIXTURES[v]);
    });
    const step = range("step", "Step h", 0, 1, 1, 0, (v) => { state.step = state.data.linear[v].h; });
    const again = make("button", { type: "button" }, "New noise");
    again.onclick = () => (state.seed++, draw());
    const file = control("file", make("input", { type: "file", accept: ".json,application/json" }), "Own plan");
    file.element.onchange = async () => {
      try {
        state.own = core.readPlan(await file.element.files[0].text());
        draw();
      } catch (error) {
        state.own = null;
        say(`That file cannot be run: ${error.message}`);
      }
    };
    const views = make("div", { class: "playground-views", role: "group", "aria-label": "What is shown" },
      ...Object.entries(VIEWS).map(([key, text]) => {
        const button = make("button", { type: "button", "data-view": key, "aria-pressed": "false" }, text);
        button.onclick = () => ((state.view = key), draw());
        return button;
      }));
    const stage = make("div", { class: "playground-stage" });
    const summary = make("p", { class: "playground-summary", "aria-live": "polite" });
    const controls = [method, budget, grid, noise, data, label, scale, step, file].map((c) => c.box);
    place.replaceChildren(views, stage, summary, make("div", { class: "playground-controls" }, ...controls, again));

    const say = (text) => { summary.textContent = text; };

    // data-shown names the picture that stands there, data-failed says why there is none.
    async function draw() {
      delete place.dataset.shown;
      delete place.dataset.failed;
      try {
        state.data = await settled();
        arrange();
        pictures[state.view]();
        place.dataset.shown = state.view;
      } catch (error) {
        say(`This cannot be shown: ${error.message}`);
        place.dataset.failed = error.message;
        console.error(error);
      }
    }

    async function settled() {
      const settings = window.DiffnumMenu[state.method].settings;
      const [setting, name] = settings.find((pair) => pair[0] === state.setting) || settings[0];
      state.setting = setting;
      return plansOf(name);
    }

    function arrange() {
      const settings = window.DiffnumMenu[state.method].settings.map((pair) => pair[0]);
      const counts = budgets();
      state.evaluations = shortest(counts, state.evaluations);
      budget.element.max = counts.length - 1;
      budget.element.value = counts.indexOf(state.evaluations);
      budget.element.setAttribute("aria-valuetext", `${state.evaluations} evaluations`);
      budget.output.textContent = state.evaluations;
      noise.element.max = settings.length - 1;
      noise.element.value = settings.indexOf(state.setting);
      noise.element.setAttribute("aria-valuetext", `η = ${state.setting || "fixed"}`);
      noise.output.textContent = state.setting;
      noise.box.hidden = settings.length < 2;
      scale.output.textContent = state.scale;
      scale.element.disabled = state.label === "";
      const linear = state.data.linear.find((one) => one.h === state.step);
      step.element.max = state.data.linear.length - 1;
      step.element.value = state.data.linear.indexOf(linear);
      step.output.textContent = linear.h || "→ 0";
      step.element.setAttribute("aria-valuetext", linear.h ? `h = ${linear.h}` : "the limit of small steps");
      step.box.hidden = state.view !== "stability";
      budget.box.hidden = ["order", "stability"].includes(state.view);
      grid.box.hidden = state.view === "stability";
      for (const one of [data, label, scale]) one.box.hidden = !["paths", "order"].includes(state.view);
      views.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.view === state.view)));
    }

    const plan = () => state.own || (state.checked ||= new Map(), readOnce(state.data.plans[state.grid][state.evaluations]));
    function readOnce(raw) {
      if (!state.checked.has(raw)) state.checked.set(raw, core.readPlan(raw));
      return state.checked.get(raw);
    }
    const named = (p) => (state.own ? `your plan (${p.method})` : `${titles[state.method]}${state.setting ? `, η = ${state.setting}` : ""}`);
    const model = () => core.guided(state.components, state.label || undefined, state.scale);

    function starts([alpha, sigma]) {
      const draw = core.normals(state.seed);
      const level = Math.hypot(alpha, sigma);
      return Array.from({ length: STARTS }, () => [level * draw(), level * draw()]);
    }
    function outcome(p) {
      const kick = core.normals(1000 + state.seed);
      return starts(core.ends(p)[0]).map((x) => core.run(p, model(), x, () => [kick(), kick()]));
    }
    function exact(p) {
      const [from, to] = core.ends(p);
      const key = JSON.stringify([state.components, state.label, state.scale, state.seed, from, to]);
      if (cache.key !== key) {
        cache.key = key;
        cache.value = starts(from).map((x) => core.flow(model(), from, to, x, EXACT));
      }
      return cache.value;
    }
    // Root mean square distance of the ends to the exact ones, and its standard error.
    function distance(ends, truth) {
      const squares = ends.map((x, i) => (x[0] - truth[i][0]) ** 2 + (x[1] - truth[i][1]) ** 2);
      const mean = squares.reduce((a, b) => a + b, 0) / squares.length;
      const spread = squares.reduce((a, b) => a + (b - mean) ** 2, 0) / (squares.length - 1);
      const rms = Math.sqrt(mean);
      return [rms, rms > 0 ? Math.sqrt(spread / squares.length) / (2 * rms) : 0];
    }

    function figure(text, width = SIZE, height = SIZE) {
      const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text });
      stage.replaceChildren(svg);
      return svg;
    }
    // Axes with ticks; x and y map data to the picture.
    function axes(svg, { x, y, xs, ys, xlabel, ylabel }) {
      const [l, r, t, b] = [62, SIZE - 12, 14, SIZE - 52];
      svg.append(make("rect", { x: l, y: t, width: r - l, height: b - t, class: "frame" }));
      const px = (v) => l + ((v - x[0]) / (x[1] - x[0])) * (r - l);
      const py = (v) => b - ((v - y[0]) / (y[1] - y[0])) * (b - t);
      xs.forEach(([v, text]) => svg.append(
        make("line", { x1: px(v), x2: px(v), y1: b, y2: b + 5, class: "tick" }),
        make("text", { x: px(v), y: b + 21, "text-anchor": "middle" }, text)));
      ys.forEach(([v, text]) => svg.append(
        make("line", { x1: l - 5, x2: l, y1: py(v), y2: py(v), class: "tick" }),
        make("text", { x: l - 8, y: py(v) + 5, "text-anchor": "end" }, text)));
      svg.append(
        make("text", { x: (l + r) / 2, y: SIZE - 10, "text-anchor": "middle" }, xlabel),
        make("text", { x: 14, y: (t + b) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(t + b) / 2})` }, ylabel));
      return [px, py];
    }
    const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`).join("");

    function raster(n, shade) {
      const canvas = make("canvas", { width: n, height: n });
      const context = canvas.getContext("2d");
      const image = context.createImageData(n, n);
      for (let i = 0; i < n * n; i++) {
        image.data.set([110, 130, 190, Math.round(255 * shade(i % n, Math.floor(i / n)))], 4 * i);
      }
      context.putImageData(image, 0, 0);
      return canvas.toDataURL();
    }

    const pictures = {
      paths() {
        const p = plan();
        const runs = outcome(p);
        const ends = runs.map((states) => states[states.length - 1]);
        const noisy = core.isNoisy(p);
        const truth = noisy ? null : exact(p);
        const [error, bar] = noisy ? [0, 0] : distance(ends, truth);
        const told = `${named(p)}, ${core.evaluations(p)} evaluations`;
        const text = noisy
          ? `${told}: a sampler with noise. ${law(ends)}`
          : `${told}: root mean square distance to the exact endpoints ${short(error)} ± ${short(bar)} over ${STARTS} starts.`;
        const svg = figure(`Paths from noise to data. ${text}`);
        const at = (v) => [((v[0] + REACH) / (2 * REACH)) * SIZE, ((REACH - v[1]) / (2 * REACH)) * SIZE];
        const n = 160;
        const density = (i, j) => {
          const [x, y] = [((i + 0.5) / n) * 2 * REACH - REACH, REACH - ((j + 0.5) / n) * 2 * REACH];
          return state.components.reduce((sum, c) => {
            const v = c.std * c.std + 0.003;
            return sum + (c.weight / v) * Math.exp(-((x - c.mean[0]) ** 2 + (y - c.mean[1]) ** 2) / (2 * v));
          }, 0);
        };
        svg.append(make("image", { href: raster(n, (i, j) => Math.min(0.85, Math.sqrt(density(i, j)) / 4)), width: SIZE, height: SIZE }));
        runs.slice(0, SHOWN).forEach((states, i) => {
          svg.append(make("path", { d: path(states.map(at)), class: "run" }));
          if (!noisy) {
            const [a, b] = [at(ends[i]), at(truth[i])];
            svg.append(make("line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], class: "miss" }),
              make("circle", { cx: b[0], cy: b[1], r: 4.5, class: "truth" }));
          }
        });
        ends.forEach((x) => {
          const [cx, cy] = at(x);
          svg.append(make("circle", { cx, cy, r: 2.2, class: "end" }));
        });
        handles(svg, at);
        say(text);
      },

      order() {
        const points = [];
        let noisy = false;
        for (const count of budgets()) {
          const p = readOnce((state.checked ||= new Map(), state.data.plans[state.grid][count]));
          noisy ||= core.isNoisy(p);
          if (noisy) break;
          points.push([count, ...distance(outcome(p).map((s) => s[s.length - 1]), exact(p))]);
        }
        if (noisy) return refuse("A sampler with noise has no error path by path; choose η = 0 or a method without noise.");
        const values = points.map((p) => Math.log10(p[1]));
        const low = Math.floor(Math.min(...values) - 0.3);
        const high = Math.ceil(Math.max(...values) + 0.3);
        const counts = points.map((p) => Math.log10(p[0]));
        const x = [counts[0] - 0.08, counts[counts.length - 1] + 0.08];
        const [a, b] = points.slice(-2);
        const slope = -Math.log(b[1] / a[1]) / Math.log(b[0] / a[0]);
        const text = `${titles[state.method]}, ${GRIDS[state.grid]}: between ${a[0]} and ${b[0]} evaluations the error falls like the power `
          + `${slope.toFixed(2)}; its order, proved, is ${state.data.order}. Error at ${b[0]}: ${short(b[1])}.`;
        const svg = figure(`Error against evaluations. ${text}`);
        const [px, py] = axes(svg, {
          x, y: [low, high], xlabel: "evaluations", ylabel: "error",
          xs: points.filter((p, i) => i % 2 === 0).map((p) => [Math.log10(p[0]), p[0]]),
          ys: Array.from({ length: high - low + 1 }, (_, i) => [low + i, `1e${low + i}`]),
        });
        const line = counts.map((c) => [c, values[values.length - 1] - state.data.order * (c - counts[counts.length - 1]) - 0.25])
          .filter((q) => q[1] >= low && q[1] <= high);
        svg.append(make("path", { d: path(line.map((q) => [px(q[0]), py(q[1])])), class: "guide" }));
        svg.append(make("path", { d: path(points.map((p, i) => [px(counts[i]), py(values[i])])), class: "curve" }));
        points.forEach((p, i) => svg.append(make("circle", { cx: px(counts[i]), cy: py(values[i]), r: 4.5, class: "point" })));
        if (line.length) {
          svg.append(make("text", { x: px(line[0][0]) + 6, y: py(line[0][1]) + 18, class: "note" }, `slope −${state.data.order}`));
        }
        say(text);
      },

      response() {
        const p = plan();
        if (core.isNoisy(p)) return refuse("A sampler with noise has no response; choose a method without.");
        const stds = Array.from({ length: 121 }, (_, i) => -2 + i / 40);
        const ratios = stds.map((s) => {
          const [got, wanted] = core.response(p, 100 ** s);
          return Math.log10(Math.abs(got / wanted));
        });
        const rms = Math.sqrt(ratios.reduce((t, r) => t + r * r, 0) / ratios.length);
        const reach = Math.max(0.02, Math.min(1, Math.max(...ratios.map(Math.abs)))) * 1.1;
        const text = `${named(p)}, ${core.evaluations(p)} evaluations: data of standard deviation .01 to 10 come out wrong by a factor of `
          + `${(10 ** rms).toFixed(3)} (root mean square of its logarithm).`;
        const svg = figure(`Factor by which each standard deviation of the data is missed. ${text}`);
        const ticks = [-1, -0.5, 0, 0.5, 1].map((v) => [v * reach, (10 ** (v * reach)).toFixed(2)]);
        const [px, py] = axes(svg, {
          x: [-2, 1], y: [-reach, reach], xlabel: "standard deviation of the data", ylabel: "got / wanted",
          xs: [[-2, "0.01"], [-1, "0.1"], [0, "1"], [1, "10"]], ys: ticks,
        });
        svg.append(make("line", { x1: px(-2), x2: px(1), y1: py(0), y2: py(0), class: "guide" }));
        const shown = stds.map((s, i) => [px(s), py(Math.max(-reach, Math.min(reach, ratios[i])))]);
        svg.append(make("path", { d: path(shown), class: "curve" }));
        say(text);
      },

      numbers() {
        const p = plan();
        const head = ["step", "time", "weights of the state", "weights of the evaluations"];
        const body = p.steps.map((s, i) => {
          const row = s.outputs.indexOf("x");
          const of = (names, weights) => names.map((n, k) => (weights[k] ? `${short(weights[k])} ${n}` : "")).filter(Boolean).join(" + ").replaceAll("+ -", "− ");
          const names = s.inputs;
          const isState = (n) => n.startsWith("x");
          const states = of(names, s.V[row].map((w, k) => (isState(names[k]) ? w : 0)));
          const old = of(names, s.V[row].map((w, k) => (isState(names[k]) ? 0 : w)));
          const now = of(s.stage_t.map((t, k) => (s.stage_t.length > 1 ? `new ${k + 1}` : "new")), s.B[row]);
          const kick = of(s.noises, s.noise[row]);
          return [i + 1, `${short(s.t_from)} → ${short(s.t_to)}`, states, [now, old, kick].filter(Boolean).join(" + ").replaceAll("+ -", "− ").replace(/^-/, "−")];
        });
        const cells = (row, tag) => make("tr", {}, ...row.map((c) => make(tag, {}, String(c))));
        const table = make("table", { class: "table" }, make("thead", {}, cells(head, "th")), make("tbody", {}, ...body.map((r) => cells(r, "td"))));
        stage.replaceChildren(make("div", { class: "playground-table", tabindex: 0, role: "region", "aria-label": "Numbers of the plan" }, table));
        say(`${named(p)}: the ${p.steps.length} steps, as numbers. The model predicts the ${p.prediction}; m1, m2 ... are its answers one, two ... steps ago.`);
      },

      stability() {
        const linear = state.data.linear.find((one) => one.h === state.step);
        const n = 120;
        const [left, right, top] = [-5.5, 1, 3.25];
        let real = 0;
        while (real < 20 && core.radius(linear, -(real + 0.01), 0) <= 1 + 1e-6) real += 0.01;
        const limit = real >= 20 ? "without limit up to 20" : `down to z = −${real.toFixed(2)}`;
        const text = `${titles[state.method]}${linear.step ? `, steps of ${linear.h} in half-log-SNR` : ""}: stable on the real axis ${limit}.`;
        const svg = figure(`Region of absolute stability in the complex plane. ${text}`);
        const [px, py] = axes(svg, {
          x: [left, right], y: [-top, top], xlabel: "Re z", ylabel: "Im z",
          xs: [-5, -4, -3, -2, -1, 0, 1].map((v) => [v, v]), ys: [-3, -2, -1, 0, 1, 2, 3].map((v) => [v, v]),
        });
        const shade = (i, j) => {
          const [x, y] = [left + ((i + 0.5) / n) * (right - left), top - ((j + 0.5) / n) * 2 * top];
          return core.radius(linear, x, y) <= 1 + 1e-6 ? 0.7 : 0;
        };
        svg.append(make("image", {
          href: raster(n, shade), x: px(left), y: py(top), width: px(right) - px(left), height: py(-top) - py(top), preserveAspectRatio: "none",
        }));
        svg.append(make("line", { x1: px(0), x2: px(0), y1: py(top), y2: py(-top), class: "guide" }));
        svg.append(make("line", { x1: px(left), x2: px(right), y1: py(0), y2: py(0), class: "guide" }));
        say(text);
      },
    };

    function refuse(text) {
      stage.replaceChildren(make("p", {}, text));
      say(text);
    }

    // Mean and mass nearest to each peak of the ends of a sampler with noise, beside those of the data.
    function law(ends) {
      const used = state.label ? state.components.filter((c) => c.label === state.label) : state.components;
      const nearest = (x) => used.reduce((best, c, k) => {
        const d = (x[0] - c.mean[0]) ** 2 + (x[1] - c.mean[1]) ** 2;
        return d < best[0] ? [d, k] : best;
      }, [Infinity, 0])[1];
      const counts = used.map(() => 0);
      ends.forEach((x) => counts[nearest(x)]++);
      const total = used.reduce((s, c) => s + c.weight, 0);
      return `Share of its ends nearest to each peak: ${counts.map((c) => (c / ends.length).toFixed(2)).join(", ")}; `
        + `of the data: ${used.map((c) => (c.weight / total).toFixed(2)).join(", ")}.`;
    }

    // Peaks can be dragged, or moved with the arrow keys; + and - change their width.
    function handles(svg, at) {
      state.components.forEach((c, k) => {
        const [cx, cy] = at(c.mean);
        const told = () => `Peak ${k + 1} of class ${c.label} at ${c.mean.map((v) => v.toFixed(1)).join(", ")}, width ${c.std.toFixed(2)}. `
          + "Arrow keys move it, plus and minus change its width.";
        const handle = make("circle", { cx, cy, r: 11, class: `handle class-${c.label}`, tabindex: 0, role: "button", "aria-label": told() });
        const move = (x, y) => {
          c.mean = [x, y].map((v) => Math.max(-2.5, Math.min(2.5, v)));
        };
        handle.onkeydown = (event) => {
          const by = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
          if (by) move(c.mean[0] + by[0], c.mean[1] + by[1]);
          else if (event.key === "+" || event.key === "=") c.std = Math.min(1, c.std * 1.2);
          else if (event.key === "-") c.std = Math.max(0.03, c.std / 1.2);
          else return;
          event.preventDefault();
          event.stopPropagation();
          draw().then(() => stage.querySelectorAll(".handle")[k].focus());
        };
        handle.onpointerdown = (event) => {
          event.preventDefault();
          let waiting = false;
          const follow = (e) => {
            const box = svg.getBoundingClientRect();
            move(((e.clientX - box.left) / box.width) * 2 * REACH - REACH, REACH - ((e.clientY - box.top) / box.height) * 2 * REACH);
            handle.setAttribute("cx", at(c.mean)[0]);
            handle.setAttribute("cy", at(c.mean)[1]);
            waiting = true;
          };
          const stop = () => {
            window.removeEventListener("pointermove", follow);
            window.removeEventListener("pointerup", stop);
            if (waiting) draw();
          };
          window.addEventListener("pointermove", follow);
          window.addEventListener("pointerup", stop);
        };
        svg.append(handle);
      });
      svg.setAttribute("role", "group");
    }

    place.addEventListener("keydown", (event) => event.stopPropagation());
    // A page with several of them computes those that are seen.
    const seen = new IntersectionObserver((entries) => {
      if (entries.some((e) => e.isIntersecting)) (seen.disconnect(), draw());
    });
    seen.observe(place);
  }

  document.querySelectorAll(".playground").forEach(playground);
})();
