"""A sampler library in miniature that knows nothing of diffnum: it reads test vectors and writes answers.

``python port.py FOLDER ANSWERS.json``. Only the standard library; its formulas are those of the exported README.
"""

import json
import math
import struct
import sys
from fractions import Fraction
from pathlib import Path


def phi(k, z):
    """By the defining series in exact arithmetic where it is short, by the recurrence upward elsewhere."""
    if abs(z) > 2 * k + 2:
        value = Fraction(math.exp(z)) if z < 700 else Fraction(0)
        for j in range(k):
            value = (value - Fraction(1, math.factorial(j))) / Fraction(z)
        return float(value)
    exact, total, term = Fraction(z).limit_denominator(10**12), Fraction(0), Fraction(1, math.factorial(k))
    for j in range(60):
        total += term
        term = term * exact / (k + j + 1)
    return float(total)


def schedule(record, t):
    if record["schedule"] == "vp-linear":
        low, high = record["beta_min"], record["beta_max"]
        log_alpha = -low * t / 2 - (high - low) * t * t / 4
        return math.exp(log_alpha), math.sqrt(-math.expm1(2 * log_alpha))
    return (1.0, t) if record["schedule"] == "edm" else (1.0 - t, t)


def model(mixture, alpha, sigma, x, kind):
    """One prediction of a mixture of round Gaussians at one state."""
    logs, centres = [], []
    for weight, mean, variance in zip(mixture["weights"], mixture["means"], mixture["variances"], strict=True):
        v = alpha * alpha * variance + sigma * sigma
        away = [a - alpha * m for a, m in zip(x, mean, strict=True)]
        logs.append(math.log(weight) - len(x) / 2 * math.log(v) - sum(a * a for a in away) / (2 * v))
        centres.append([m + alpha * variance * a / v for m, a in zip(mean, away, strict=True)])
    top = max(logs)
    p = [math.exp(value - top) for value in logs]
    data = [sum(q * c[i] for q, c in zip(p, centres, strict=True)) / sum(p) for i in range(len(x))]
    noise = [(a - alpha * d) / sigma for a, d in zip(x, data, strict=True)]
    return {"data": data, "noise": noise, "velocity": [e - d for e, d in zip(noise, data, strict=True)]}[kind]


def trajectory(given, plan):
    """Run a plan: rows in order, one model call a stage."""
    states = [given["x"]]
    for index, x in enumerate(given["x"]):
        vectors, path = {"x": x, "one": [1.0] * len(x)}, []
        for n, step in enumerate(plan["expected"]["steps"]):
            values = dict(vectors)
            for j, draw in enumerate(given["noise"][n] if "noise" in given else []):
                values[f"z{j + 1}"] = draw[index]
            made = {}
            for target, row in step["rows"].items():
                value = [sum(w * values[s][i] for s, w in row.items()) for i in range(len(x))]
                if target[0] == "k":
                    at = int(target[1:]) - 1
                    levels = step["stage_alpha"][at], step["stage_sigma"][at]
                    values[target] = model(given["mixture"], *levels, value, plan["input"]["prediction"])
                else:
                    made[target] = value
            vectors = {**made, "one": vectors["one"]}
            path.append(made["x"])
        for n, state in enumerate(path, start=1):
            if len(states) <= n:
                states.append([])
            states[n] = [*states[n], state]
    return {"x": states}


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def rounded(value, dtype):
    """Nearest number of a dtype; of two float32 numbers a double holds enough for one rounding."""
    value = single(value)
    if dtype == "bfloat16":
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        value = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value


def engine(given):
    table, half = given["table"], given["table"]["dtype"]
    held = {0: (given["x"], half)}
    states = [given["x"]]
    for step, output in zip(table["steps"], given["outputs"], strict=True):
        held[1] = (output, half)
        for operation in step["operations"]:
            kind, target, left, right = (operation[name] for name in ("kind", "target", "left", "right"))
            values, dtype = held[left]
            if kind in ("scale", "divide"):
                s = step["scalars"][right]
                values = [rounded(s * v if kind == "scale" else v / s, dtype) for v in values]
            elif kind in ("add", "subtract"):
                others, other = held[right]
                dtype = dtype if dtype == other else "float32"
                sign = 1.0 if kind == "add" else -1.0
                values = [rounded(v + sign * o, dtype) for v, o in zip(values, others, strict=True)]
            elif kind in ("widen", "narrow"):
                dtype = "float32" if kind == "widen" else half
                values = [rounded(v, dtype) for v in values]
            held[target] = (values, dtype)
        states.append(held[0][0])
    return {"x": states}


def answer(vector, plans):
    kind, given = vector["kind"], vector["input"]
    if kind == "phi":
        return phi(given["k"], given["z"])
    if kind == "schedule":
        levels = [schedule(given["schedule"], t) for t in given["t"]]
        alphas, sigmas = [a for a, _ in levels], [s for _, s in levels]
        return {"alpha": alphas, "sigma": sigmas, "half_log_snr": [math.log(a) - math.log(s) for a, s in levels]}
    if kind == "model":
        kinds = ("data", "noise", "velocity")
        levels = given["alpha"], given["sigma"]
        return {k: [model(given["mixture"], *levels, x, k) for x in given["x"]] for k in kinds}
    if kind == "trajectory":
        return trajectory(given, plans[given["plan"]])
    if kind == "engine":
        return engine(given)
    return None


def main(folder, out):
    answers = []
    index = json.loads((Path(folder) / "index.json").read_text())
    for subject in index["subjects"]:
        vectors = json.loads((Path(folder) / subject["file"]).read_text())["vectors"]
        plans = {v["id"]: v for v in vectors if v["kind"] == "plan"}
        found = [(v["id"], answer(v, plans)) for v in vectors]
        answers += [{"id": name, "value": value} for name, value in found if value is not None]
    Path(out).write_text(json.dumps({"format": "diffnum-answers-v1", "port": "miniature", "answers": answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
