"""Write lsr/bundled from a checkout of rasyosef/splade-tiny.

    python benchmarks/make_bundled.py PATH_TO_SPLADE_TINY lsr/bundled

Weights become float16 (8.8 MB); tokenizer and settings stay as they are. Same input, same bytes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from lsr.model_save import save_symmetric

CARD = """---
license: mit
base_model: rasyosef/splade-tiny
language: en
tags: [splade, sparse-encoder, sparse, feature-extraction]
pipeline_tag: feature-extraction
---

# The encoder that comes with lsr

This is [rasyosef/splade-tiny](https://huggingface.co/rasyosef/splade-tiny) as published
by its author, rasyosef, under the MIT licence: a SPLADE model on BERT-tiny (2 layers,
hidden size 128, 4.4 million parameters, WordPiece vocabulary of 30,522), trained on MS MARCO by
distillation from cross-encoder/ms-marco-MiniLM-L6-v2. Its card reports MRR@10 30.9 on the MS MARCO
dev set.

What was changed here: the weights are stored as float16 instead of float32 (they are computed
with in float32), and the files are laid out as a SparseEncoder folder with the module names that
sentence-transformers 5 and 6 both know. Nothing was trained or pruned. The weights of terms
differ from the original by less than 0.01.

It is small and English only. For better rankings name another model:
`lsr index ... --model naver/splade-v3`.
"""

LICENSE = """MIT License

Copyright (c) 2025 rasyosef (https://huggingface.co/rasyosef)

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
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "bundled"
        save_symmetric(source, made, max_seq_length=512, half=True)
        (made / "README.md").write_text(CARD, "utf-8")
        (made / "LICENSE").write_text(LICENSE, "utf-8")
        shutil.copytree(made, target, dirs_exist_ok=True)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
