// Numerics of the playground: it runs plans that the package wrote. Vectors are arrays of numbers; nothing here touches a page.
(function (root) {
  "use strict";

  const FORMAT = "diffnum-plan-v1";
  const PREDICTIONS = ["data", "noise", "v"];

  // Signal and noise levels at a time, for the schedules that the playground understands.
  const SCHEDULES = {
    "vp-linear": (p) => (t) => {
      const exponent = p.beta_min * t + ((p.beta_max - p.beta_min) * t * t) / 2;
      return [Math.exp(-exponent / 2), Math.sqrt(-Math.expm1(-exponent))];
    },
    flow: (p) => (t) => {
      const shifted = (p.shift * t) / (1 + (p.shift - 1) * t);
      return [1 - shifted, shifted];
    },
    edm: () => (t) => [1, t],
  };

  function fail(message) {
    throw new Error(message);
  }

  // A plan as the package wrote it, checked: what is understood is listed, the rest refused.
  function readPlan(data) {
    const plan = typeof data === "string" ? JSON.parse(data) : data;
    if (!plan || plan.format !== FORMAT) fail(`not a plan: its "format" is not ${FORMAT}; write one with plan.to_json()`);
    if (!PREDICTIONS.includes(plan.prediction)) {
      fail(`prediction "${plan.prediction}": the playground runs ${PREDICTIONS.join(", ")}; write plan.for_prediction("data")`);
    };
    if (Object.keys(plan.history || {}).length) fail("the plan needs evaluations from its caller; plan without start=\"exact\"");
    if (!plan.steps || !plan.steps.length) fail("the plan has no steps");
    levels(plan.schedule);
    plan.steps.forEach((step, i) => {
      const known = i ? plan.steps[i - 1].outputs : ["x"];
      step.inputs.forEach((name) => known.includes(name) || fail(`step ${i + 1} asks for "${name}", which no step before it made`));
      if (step.outputs[0] !== "x") fail(`step ${i + 1} does not end in a state`);
      const shape = (rows, n, m, what) => {
        const right = rows.length === n && rows.every((r) => r.length === m && r.every(Number.isFinite));
        if (!right) fail(`step ${i + 1}: ${what} is not ${n} x ${m} finite numbers`);
      };
      const [k, s, o, z] = [step.inputs.length, step.stage_t.length, step.outputs.length, step.noises.length];
      shape(step.U, s, k, "U");
      shape(step.A, s, s, "A");
      shape(step.V, o, k, "V");
      shape(step.B, o, s, "B");
      shape(step.stage_noise, s, z, "stage_noise");
      shape(step.noise, o, z, "noise");
    });
    return plan;
  }

  function levels(schedule) {
    const make = Object.hasOwn(SCHEDULES, schedule.schedule) ? SCHEDULES[schedule.schedule] : null;
    if (!make) fail(`schedule "${schedule.schedule}": the playground knows ${Object.keys(SCHEDULES).join(", ")}`);
    return make(schedule);
  }

  // Prediction of what a plan asks for, from that of the data: all are linear in state and data.
  function predict(kind, x, data, alpha, sigma, out) {
    for (let j = 0; j < x.length; j++) {
      const noise = (x[j] - alpha * data[j]) / sigma;
      out[j] = kind === "data" ? data[j] : kind === "noise" ? noise : alpha * noise - sigma * data[j];
    }
  }

  // Posterior mean of the data: components {weight, mean, std, label}, all of them or those of one label.
  function denoise(components, x, alpha, sigma, out, label) {
    const used = label === undefined ? components : components.filter((c) => c.label === label);
    const logs = used.map((c) => {
      const v = alpha * alpha * c.std * c.std + sigma * sigma;
      let square = 0;
      for (let j = 0; j < x.length; j++) square += (x[j] - alpha * c.mean[j]) ** 2;
      return Math.log(c.weight) - (x.length / 2) * Math.log(v) - square / (2 * v);
    });
    const top = Math.max(...logs);
    let total = 0;
    out.fill(0);
    used.forEach((c, k) => {
      const w = Math.exp(logs[k] - top);
      const v = alpha * alpha * c.std * c.std + sigma * sigma;
      const gain = (alpha * c.std * c.std) / v;
      const keep = (sigma * sigma) / v;
      total += w;
      for (let j = 0; j < x.length; j++) out[j] += w * (gain * x[j] + keep * c.mean[j]);
    });
    for (let j = 0; j < x.length; j++) out[j] /= total;
    return out;
  }

  // Denoiser of a mixture under classifier-free guidance towards a label; scale 1 is the conditional model.
  function guided(components, label, scale) {
    if (label === undefined) return (x, a, s, out) => denoise(components, x, a, s, out);
    return (x, a, s, out) => {
      const free = denoise(components, x, a, s, new Float64Array(x.length));
      denoise(components, x, a, s, out, label);
      for (let j = 0; j < x.length; j++) out[j] = free[j] + scale * (out[j] - free[j]);
      return out;
    };
  }

  // The states of a run, the start among them. normals(step, k) gives the vector of the k-th noise of a step.
  function run(plan, model, start, normals) {
    let memory = { x: Float64Array.from(start) };
    const states = [memory.x];
    const n = start.length;
    plan.steps.forEach((step, at) => {
      const noises = step.noises.map((_, index) => normals(at, index));
      const values = step.inputs.map((name) => memory[name]);
      const answers = [];
      const sum = (weights, rest, kicks) => {
        const total = new Float64Array(n);
        const add = (w, v) => {
          if (w !== 0) for (let j = 0; j < n; j++) total[j] += w * v[j];
        };
        weights.forEach((w, k) => add(w, values[k]));
        rest.forEach((w, k) => k < answers.length && add(w, answers[k]));
        kicks.forEach((w, k) => add(w, noises[k]));
        return total;
      };
      step.stage_t.forEach((_, i) => {
        const x = sum(step.U[i], step.A[i], step.stage_noise[i]);
        const [a, s] = [step.stage_alpha[i], step.stage_sigma[i]];
        const data = model(x, a, s, new Float64Array(n));
        const answer = new Float64Array(n);
        predict(plan.prediction, x, data, a, s, answer);
        answers.push(answer);
      });
      const next = {};
      step.outputs.forEach((name, i) => {
        next[name] = sum(step.V[i], step.B[i], step.noise[i]);
      });
      memory = next;
      states.push(memory.x);
    });
    return states;
  }

  // Where the flow itself takes a state: classical Runge-Kutta for y = x / alpha in log(sigma / alpha), with a step of the user's.
  function flow(model, from, to, start, steps) {
    const n = start.length;
    if (to[1] === 0) {
      // The last piece, from a noise too small to matter, is the data prediction.
      const near = flow(model, from, [to[0], 1e-5 * to[0]], start, steps);
      return Array.from(model(near, to[0], 1e-5 * to[0], new Float64Array(n)), (v) => v * to[0]);
    }
    const [first, last] = [Math.log(from[1] / from[0]), Math.log(to[1] / to[0])];
    const h = (last - first) / steps;
    // alpha and sigma enter the denoiser through their ratio alone, once the state is scaled.
    const slope = (y, u) => {
      const rho = Math.exp(u);
      const data = model(y, 1, rho, new Float64Array(n));
      return y.map((v, j) => v - data[j]);
    };
    let y = Float64Array.from(start, (v) => v / from[0]);
    for (let i = 0; i < steps; i++) {
      const u = first + i * h;
      const shifted = (k, c) => y.map((v, j) => v + c * h * k[j]);
      const k1 = slope(y, u);
      const k2 = slope(shifted(k1, 0.5), u + h / 2);
      const k3 = slope(shifted(k2, 0.5), u + h / 2);
      const k4 = slope(shifted(k3, 1), u + h);
      y = y.map((v, j) => v + (h / 6) * (k1[j] + 2 * k2[j] + 2 * k3[j] + k4[j]));
    }
    return y.map((v) => v * to[0]);
  }

  function ends(plan) {
    const at = levels(plan.schedule);
    return [at(plan.steps[0].t_from), at(plan.steps[plan.steps.length - 1].t_to)];
  }

  const evaluations = (plan) => plan.steps.reduce((n, step) => n + step.stage_t.length, 0);
  const isNoisy = (plan) => plan.steps.some((step) => step.noises.length > 0);

  // What a plan does to one Gaussian direction of the data, and what the flow does: factors of a state.
  function response(plan, variance) {
    const model = (x, a, s, out) => {
      out[0] = ((a * variance) / (a * a * variance + s * s)) * x[0];
      return out;
    };
    const [from, to] = ends(plan);
    const states = run(plan, model, [1], () => fail("a plan with noise has no response"));
    const level = ([a, s]) => Math.sqrt(a * a * variance + s * s);
    return [states[states.length - 1][0], level(to) / level(from)];
  }

  // Spectral radius of one step on y' = -s y at z = -s h (complex): matrices of diffnum's LinearStep.
  function radius(linear, re, im) {
    const { U, A, V, B, rate, step } = linear;
    const [zr, zi] = [re - step * Math.min(rate, 0), im];
    const frame = Math.exp(-step * Math.max(rate, 0));
    const k = V.length;
    const stages = [];
    U.forEach((row, i) => {
      // Explicit rules: a stage knows those before it.
      const total = row.map((u) => [u, 0]);
      for (let j = 0; j < i; j++) stages[j].forEach(([r, m], c) => {
        total[c][0] += A[i][j] * r;
        total[c][1] += A[i][j] * m;
      });
      stages.push(total.map(([r, m]) => [zr * r - zi * m, zr * m + zi * r]));
    });
    let re1 = V.map((row, i) => row.map((v, c) => frame * (v + B[i].reduce((s, b, j) => s + b * stages[j][c][0], 0))));
    let im1 = V.map((_, i) => stages[0].map((_, c) => frame * B[i].reduce((s, b, j) => s + b * stages[j][c][1], 0)));
    // Gelfand: ||M^n||^(1/n), by repeated squaring; the logarithm of the scale is kept apart.
    let log = 0;
    let power = 1;
    const squarings = 12;
    for (let q = 0; ; q++) {
      let norm = 0;
      for (let i = 0; i < k; i++) for (let c = 0; c < k; c++) norm = Math.max(norm, Math.hypot(re1[i][c], im1[i][c]));
      if (norm === 0) return 0;
      log += Math.log(norm) / power;
      if (q === squarings) return Math.exp(log);
      const next = [[], []];
      for (let i = 0; i < k; i++) {
        next[0].push(new Array(k).fill(0));
        next[1].push(new Array(k).fill(0));
        for (let l = 0; l < k; l++) {
          const [ar, ai] = [re1[i][l] / norm, im1[i][l] / norm];
          for (let c = 0; c < k; c++) {
            const [br, bi] = [re1[l][c] / norm, im1[l][c] / norm];
            next[0][i][c] += ar * br - ai * bi;
            next[1][i][c] += ar * bi + ai * br;
          }
        }
      }
      [re1, im1] = next;
      power *= 2;
    }
  }

  // The same normals in every browser: mulberry32, Box and Muller.
  function normals(seed) {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  root.DiffnumPlayground = {
    readPlan, levels, ends, denoise, guided, run, flow, response, radius, normals, evaluations, isNoisy,
  };
})(typeof module === "object" && module.exports ? module.exports : window);
