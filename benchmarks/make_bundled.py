"""Write lsr/bundled from a run of `lsr train bundled`.

    python benchmarks/make_bundled.py RUN lsr/bundled

The model is the mean of where the run began and where it ended, in equal shares (`lsr soup`).
Weights become float16, files that only repeat others are left out, and texts are read up to 512
tokens. Same run, same bytes.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from lsr.train import Recipe, build_model
from lsr.train.checkpoints import checkpoints
from lsr.train.model import load_model
from lsr.train.prepared import Prepared
from lsr.train.run import corpus_idf
from lsr.train.soup import make_soup

#: BERT-tiny has so many positions.
LENGTH = 512

CARD = Path(__file__).with_name("bundled_card.md")

LICENSE = """MIT License

Copyright (c) 2025 rasyosef (https://huggingface.co/rasyosef), the model this one began with

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def main() -> None:
    run, target = Path(sys.argv[1]), Path(sys.argv[2])
    recipe = Recipe.model_validate(json.loads((run / "recipe.json").read_text("utf-8")))
    idf = corpus_idf(recipe, Prepared(run / "data"))
    with tempfile.TemporaryDirectory() as scratch:
        start, mean, made = (Path(scratch) / name for name in ("start", "mean", "bundled"))
        build_model(recipe, idf=idf).save(start)
        make_soup([start, checkpoints(run / "checkpoints")[-1]], mean)
        recipe.model.query_length = recipe.model.document_length = LENGTH
        load_model(mean, recipe).save(made, half=True)
        (made / "idf.json").unlink()  # the query table again
        for file in made.rglob("tokenizer.json"):
            content = json.loads(file.read_text("utf-8"))
            text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            file.write_text(text, "utf-8")
        for file in made.rglob("*.safetensors"):
            tensors = {name: part.astype(np.float16) for name, part in load_file(file).items()}
            save_file(tensors, file, metadata={"format": "pt"})
            file.chmod(0o644)
        shutil.copyfile(CARD, made / "README.md")
        (made / "LICENSE").write_text(LICENSE, "utf-8")
        for old in target.iterdir():
            if old.name != "__init__.py":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(made, target, dirs_exist_ok=True)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
