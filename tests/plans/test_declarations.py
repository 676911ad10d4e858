"""Printed headers: types of the schema, numbers of the table; compiled engines give its bits.

The texts are always read here; where a compiler is at hand a whole engine in C and one in Rust are built of them, as
strictly as the language allows, and run the conformance vectors.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffnum.coefficients.catalogue import method
from diffnum.conformance.engines import engine_inputs
from diffnum.plans import HostTable, declarations, schema
from diffnum.plans.declarations import LANGUAGES, SCHEMAS, code

METHODS = ("ddim", "dpmpp_2m", "unipc_2_bh2")


@cache
def vectors() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    return [(f"{name}/{i}", given, out) for name in METHODS for i, given, out in engine_inputs(method(name))]


def fields(text: str, language: str) -> dict[str, list[str]]:
    """Struct -> names of its fields, read from a printed text."""
    if language == "c":
        found = re.findall(r"struct diffnum_\w+? ?\{(.*?)\n\};", text, re.DOTALL)
        names = re.findall(r"struct (diffnum_\w+) \{", text)
        listed = [re.findall(r"(\w+);", body) for body in found]
        return {n: [f for f in fs if not f.endswith("count")] for n, fs in zip(names, listed, strict=True)}
    found = re.findall(r"pub struct (\w+) \{(.*?)\n\}", text, re.DOTALL)
    return {name: re.findall(r"pub (?:r#)?(\w+):", body) for name, body in found}


def pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SCHEMAS)
def test_structs_have_the_fields_of_the_schema(name: str, language: str) -> None:
    root, found = schema(name), fields(declarations(language, name), language)
    objects = {key: node for key, node in root["$defs"].items() if "properties" in node} | {name: root}
    for key, node in objects.items():
        printed = pascal(key) if language == "rust" else f"diffnum_{name}" + ("" if key == name else f"_{key}")
        assert found[printed] == list(node["properties"]), key


def read_numbers(text: str, language: str) -> list[list[float]]:
    """Scalars of each step, read from a printed table."""
    if language == "c":
        rows = re.findall(r"static const float \w+_scalars\[\] = \{(.*?)\};", text)
        return [[float(np.float32(float(w.removesuffix("f")))) for w in row.split(", ")] for row in rows]
    rows = re.findall(r"scalars: &\[(.*?)\]", text)
    return [[float(np.float32(float(w))) for w in row.split(", ")] for row in rows]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("index", range(len(METHODS)))
def test_printed_numbers_and_operations_are_those_of_the_table(language: str, index: int) -> None:
    table = HostTable.from_json(json.dumps(vectors()[2 * index][1]["table"]))
    text = table.code(language)
    assert read_numbers(text, language) == [list(step.scalars) for step in table.steps]
    kinds = re.findall(r"\{DIFFNUM_HOST_TABLE_KIND_(\w+), (\d+), (\d+), (\d+)\}", text)
    if language == "rust":
        kinds = re.findall(r"Operation \{ kind: Kind::(\w+), target: (\d+), left: (\d+), right: (\d+) \}", text)
    wanted = [(o.kind, str(o.target), str(o.left), str(o.right)) for step in table.steps for o in step.operations]
    assert [(kind.lower(), *places) for kind, *places in kinds] == wanted


def test_another_number_in_the_print_would_be_seen() -> None:
    table = HostTable.from_json(json.dumps(vectors()[2][1]["table"]))
    text = table.code("c")
    first = repr(float(table.steps[0].scalars[0]))[:4]
    wrong = text.replace("scalars[] = {", "scalars[] = {1", 1)
    assert wrong != text, first
    assert read_numbers(wrong, "c") != [list(step.scalars) for step in table.steps]


def test_numbers_that_are_not_finite_and_languages_that_are_unknown_are_refused() -> None:
    data = vectors()[0][1]["table"]
    with pytest.raises(ValueError, match="not finite"):
        code({**data, "steps": [{**data["steps"][0], "t": float("inf")}]}, "c")
    with pytest.raises(ValueError, match="language='go'"):
        declarations("go")
    with pytest.raises(ValueError, match="name='tableau'"):
        declarations("c", "tableau")


# -- compiled engines --------------------------------------------------------------------------------------

C_MAIN = """
#include <stdio.h>
#include <string.h>

#define SIZE {size}

/* Half precision: the numbers of a bfloat16 as floats, rounded after each operation, ties to even. */
static float rounded(float value, int half)
{{
    uint32_t bits;
    if (!half)
        return value;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7FFFu + (bits >> 16 & 1u)) & 0xFFFF0000u;
    memcpy(&value, &bits, sizeof bits);
    return value;
}}

static void step(const struct diffnum_host_table_step *s, float held[][SIZE], int *half, int table_half)
{{
    for (size_t n = 0; n < s->operations_count; n++) {{
        const struct diffnum_host_table_operation *o = &s->operations[n];
        for (int i = 0; i < SIZE; i++) {{
            volatile float a = held[o->left][i];
            volatile float b = 0.0f;
            int is_half = half[o->left];
            if (o->kind == DIFFNUM_HOST_TABLE_KIND_SCALE || o->kind == DIFFNUM_HOST_TABLE_KIND_DIVIDE) {{
                b = s->scalars[o->right];
            }} else if (o->kind == DIFFNUM_HOST_TABLE_KIND_ADD || o->kind == DIFFNUM_HOST_TABLE_KIND_SUBTRACT) {{
                b = held[o->right][i];
                is_half = half[o->left] && half[o->right];
            }}
            switch (o->kind) {{
            case DIFFNUM_HOST_TABLE_KIND_SCALE: a = b * a; break;
            case DIFFNUM_HOST_TABLE_KIND_DIVIDE: a = a / b; break;
            case DIFFNUM_HOST_TABLE_KIND_ADD: a = a + b; break;
            case DIFFNUM_HOST_TABLE_KIND_SUBTRACT: a = a - b; break;
            case DIFFNUM_HOST_TABLE_KIND_WIDEN: is_half = 0; break;
            case DIFFNUM_HOST_TABLE_KIND_NARROW: is_half = table_half; break;
            case DIFFNUM_HOST_TABLE_KIND_COPY: break;
            }}
            held[o->target][i] = rounded(a, is_half);
            if (i == SIZE - 1)
                half[o->target] = is_half;
        }}
    }}
}}

int main(void)
{{
    static const float x[SIZE] = {{{x}}};
    static const float outputs[][SIZE] = {{{outputs}}};
    static float held[{registers}][SIZE];
    int table_half = diffnum_table.dtype == DIFFNUM_HOST_TABLE_DTYPE_BFLOAT16;
    int half[{registers}] = {{0}};
    half[0] = half[1] = table_half;
    memcpy(held[0], x, sizeof x);
    for (size_t n = 0; n < diffnum_table.steps_count; n++) {{
        memcpy(held[1], outputs[n], sizeof x);
        step(&diffnum_table.steps[n], held, half, table_half);
        for (int i = 0; i < SIZE; i++)
            printf("%a ", (double)held[0][i]);
        printf("\\n");
    }}
    return 0;
}}
"""


def c_array(values: Any) -> str:
    return ", ".join(f"{np.float32(v):.9e}f" for v in values)


def test_an_engine_in_c_of_the_printed_header_gives_the_bits(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: the printed text is read by the tests above")
    for n, (name, given, expected) in enumerate(vectors()):
        table = HostTable.from_json(json.dumps(given["table"]))
        main = C_MAIN.format(
            size=len(given["x"]),
            x=c_array(given["x"]),
            outputs=", ".join(f"{{{c_array(row)}}}" for row in given["outputs"]),
            registers=len(table.registers),
        )
        source, program = tmp_path / f"engine{n}.c", tmp_path / f"engine{n}"
        source.write_text(table.code("c") + declarations("c", "plan") + main, encoding="utf-8")
        strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wshadow", "-Wdouble-promotion", "-Werror"]
        command = ["gcc", *strict, "-O2", "-ffp-contract=off", str(source), "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:2000]
        told = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.splitlines()
        assert [[float.fromhex(word) for word in line.split()] for line in told] == expected["x"][1:], name


RUST_MAIN = """
fn rounded(value: f32, half: bool) -> f32 {
    if !half { return value; }
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
}

fn run(table: &HostTable, x: &[f32], outputs: &[Vec<f32>]) {
    let narrow = table.dtype == Dtype::Bfloat16;
    let mut held = vec![vec![0f32; x.len()]; table.registers.len()];
    let mut half = vec![narrow; table.registers.len()];
    held[0] = x.to_vec();
    for (step, output) in table.steps.iter().zip(outputs) {
        held[1] = output.clone();
        half[1] = narrow;
        for o in step.operations {
            let (left, right) = (held[o.left as usize].clone(), o.right as usize);
            let here = half[o.left as usize];
            let (made, kept): (Vec<f32>, bool) = match o.kind {
                Kind::Scale => (left.iter().map(|a| step.scalars[right] * a).collect(), here),
                Kind::Divide => (left.iter().map(|a| a / step.scalars[right]).collect(), here),
                Kind::Add => (left.iter().zip(&held[right]).map(|(a, b)| a + b).collect(), here && half[right]),
                Kind::Subtract => (left.iter().zip(&held[right]).map(|(a, b)| a - b).collect(), here && half[right]),
                Kind::Widen => (left, false),
                Kind::Narrow => (left, narrow),
                Kind::Copy => (left, here),
            };
            held[o.target as usize] = made.iter().map(|v| rounded(*v, kept)).collect();
            half[o.target as usize] = kept;
        }
        println!("{}", held[0].iter().map(|v| v.to_bits().to_string()).collect::<Vec<_>>().join(" "));
    }
}
"""


def rust_array(values: Any) -> str:
    return "vec![" + ", ".join(f"{np.float32(v):.9e}" for v in values) + "]"


def test_an_engine_in_rust_of_the_printed_module_gives_the_bits(tmp_path: Path) -> None:
    if shutil.which("rustc") is None:
        pytest.skip("no rustc: the printed text is read by the tests above")
    (tmp_path / "plan.rs").write_text(declarations("rust", "plan"), encoding="utf-8")
    for n, (name, given, expected) in enumerate(vectors()):
        table = HostTable.from_json(json.dumps(given["table"]))
        rows = ", ".join(rust_array(row) for row in given["outputs"])
        main = f"fn main() {{ run(&TABLE, &{rust_array(given['x'])}, &vec![{rows}]); }}\n"
        source, program = tmp_path / f"engine{n}.rs", tmp_path / f"engine{n}"
        module = "#![allow(dead_code)]\n" + table.code("rust") + RUST_MAIN + main
        source.write_text(module + "pub mod plan;\n", encoding="utf-8")
        command = ["rustc", "--edition", "2021", "-D", "warnings", "-o", str(program), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:2000]
        told = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.splitlines()
        found = [np.array(line.split(), dtype=np.uint32).view(np.float32).tolist() for line in told]
        assert found == expected["x"][1:], name
