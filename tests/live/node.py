"""Runs the live page's modules in node, on arrays from Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools import live

READER = live.SITE / "live" / "reader"
DATA = live.OUT  # made by `python -m tools.live`
TYPES = {"uint8": "Uint8Array", "float32": "Float32Array", "float64": "Float64Array", "int32": "Int32Array"}
PRELUDE = """\
import { readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
const types = { Uint8Array, Float32Array, Float64Array, Int32Array };
const given = JSON.parse(readFileSync(new URL("given.json", import.meta.url), "utf8"));
const arrays = {};
for (const [name, type] of Object.entries(given.types)) {
  const bytes = readFileSync(new URL(`${name}.bin`, import.meta.url));
  arrays[name] = new types[type](new Uint8Array(bytes).buffer);
}
const data = pathToFileURL(given.data + "/");
const readBytes = async (url) => new Uint8Array(await readFile(url));
const done = (value) => writeFileSync(new URL("result.json", import.meta.url), JSON.stringify(value));
"""

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
needs_data = pytest.mark.skipif(
    not (DATA / "about.json").is_file(), reason="the page's data is not made (python -m tools.live makes it)"
)


def run(folder: Path, imports: str, code: str, values: object = None, **arrays: np.ndarray) -> Any:
    """Run JavaScript that calls ``done(result)``; the result.

    Args:
        folder: an empty one, for the script and its arrays.
        imports: "Haar, FaceTracker from haar.js; median from resample.js".
        code: sees ``arrays.NAME`` as flat typed arrays and ``given.values``.

    Raises:
        AssertionError: node failed; its message.
    """
    types = {name: TYPES[str(array.dtype)] for name, array in arrays.items()}
    for name, array in arrays.items():
        (folder / f"{name}.bin").write_bytes(np.ascontiguousarray(array).tobytes())
    given = {"types": types, "values": values, "data": str(DATA)}
    (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")
    lines = []
    for part in imports.split(";"):
        names, module = part.strip().rsplit(" from ", 1)
        lines.append(f'import {{ {names} }} from "{(READER / module).as_uri()}";')
    script = folder / "script.mjs"
    script.write_text("\n".join([*lines, PRELUDE, code]), encoding="utf-8")
    ran = subprocess.run(["node", str(script)], capture_output=True, encoding="utf-8", timeout=600)
    assert ran.returncode == 0, ran.stderr
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))
