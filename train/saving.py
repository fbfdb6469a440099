"""A model to a folder that lsr and sentence-transformers load, and back."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lsr.errors import ModelError
from lsr.masked_lm import quiet
from lsr.model_folder import HEAD_FILE, HEAD_TENSORS, QUERY_NETWORK, QUERY_TABLE, TableSide
from lsr.model_save import (
    add_head,
    save_network,
    save_router,
    save_symmetric,
    save_two_networks,
)
from lsr.static_query import StaticTable
from lsr.tokens import read_json
from lsr.train.settings_model import SideSettings
from lsr.train.sides import NetworkSide, TokenSide
from lsr.train.table import StaticSide

if TYPE_CHECKING:
    from lsr.model_folder import Activation, Pooling
    from lsr.train.backbone import Backbone
    from lsr.train.model import SparseModel

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
#: What `sparse_head.json` says of a side, beside where it is.
_FIELDS = (
    "kind",
    "activation",
    "logs",
    "pooling",
    "scope",
    "duplicates",
    "literal",
    "frequency",
    "window",
    "norm",
    "importance",
    "quality",
    "prune",
)


def save_model(model: SparseModel, target: Path, *, half: bool = False) -> None:
    """Write the model to a new folder; `half` stores its networks as float16.

    Sides that stock modules can express are written as such. Otherwise a valid base folder is
    written, as near as stock modules come, and `sparse_head.json` beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".saving-") as temporary:
        document = _write_network(model.document.backbone, Path(temporary) / "document")
        query = None
        if isinstance(model.query, NetworkSide | TokenSide) and not model.settings.shared:
            query = _write_network(model.query.backbone, Path(temporary) / "query")
        _write_base(model, document, query, target, half=half)
        if not is_stock(model):
            _write_head(model, query, target)


def is_stock(model: SparseModel) -> bool:
    """Return whether sentence-transformers' own modules give exactly this model's vectors."""
    sides = model.settings.query, model.settings.document
    if model.settings.shared and isinstance(model.query, NetworkSide) and sides[0] != sides[1]:
        return False
    return all(_is_stock(side) for side in sides)


def start_of(folder: Path) -> dict[str, Any]:
    """Return the settings of a model that begins with the networks of a saved folder."""
    own = folder / QUERY_NETWORK
    query = str(own) if own.is_dir() else None
    return {"init": str(folder), "query_init": query, "head_scale": 1.0, "table_scale": 1.0}


def read_table(folder: Path) -> Tensor | None:
    """Return the query table of a saved folder, None when it has none."""
    table = folder / QUERY_TABLE
    if not table.is_dir():
        return None
    return torch.from_numpy(StaticTable(TableSide(table, 512)).weights.copy())


def read_extras(model: SparseModel, folder: Path) -> None:
    """Load what the sides learned beside their networks; ModelError when they are others."""
    from safetensors.torch import load_file

    file = folder / HEAD_FILE
    if not file.is_file():
        if not is_stock(model):
            raise ModelError(f"{folder} has no {HEAD_FILE}, which a model of this recipe needs")
        return
    saved, wanted = read_json(file), _description(model)
    for side in ("query", "document"):
        differs = [
            name for name in _FIELDS if saved.get(side, {}).get(name) != wanted[side].get(name)
        ]
        if differs:
            raise ModelError(
                f"{folder} has a {side} side with {differs[0]} "
                f"{saved.get(side, {}).get(differs[0])!r}; "
                f"the recipe has {wanted[side].get(differs[0])!r}",
                hint="give the recipe the model was trained with",
            )
    if (folder / HEAD_TENSORS).is_file():
        tensors = load_file(folder / HEAD_TENSORS)
        for name, module in _with_extras(model).items():
            own = {
                key.removeprefix(f"{name}."): value
                for key, value in tensors.items()
                if key.startswith(f"{name}.")
            }
            module.extras.load_state_dict(own)


def _write_network(backbone: Backbone, place: Path) -> Path:
    with quiet():
        backbone.network.save_pretrained(place)
    for file in _TOKENIZER:
        if (backbone.folder / file).is_file():
            shutil.copyfile(backbone.folder / file, place / file)
    return place


def _write_base(
    model: SparseModel, document: Path, query: Path | None, target: Path, *, half: bool
) -> None:
    settings = model.settings
    side = settings.document
    if side.kind != "mlm" or not _has_stock_head(side):
        save_network(document, target, half=half)
        return
    pooling, activation = _stock_head(side)
    length = settings.document_length
    if isinstance(model.query, StaticSide):
        table = model.query.table().detach().cpu().numpy()
        save_router(
            document, table, target,
            pooling=pooling, activation=activation, max_seq_length=length, half=half,
        )  # fmt: skip
    elif query is not None and settings.query.kind == "mlm" and _has_stock_head(settings.query):
        own = _stock_head(settings.query)
        save_two_networks(
            query,
            document,
            target,
            pooling=(own[0], pooling),
            activation=(own[1], activation),
            max_seq_length=(settings.query_length, length),
            half=half,
        )
    else:
        save_symmetric(
            document, target,
            pooling=pooling, activation=activation, max_seq_length=length, half=half,
        )  # fmt: skip


def _write_head(model: SparseModel, query: Path | None, target: Path) -> None:
    described = _description(model)
    tensors = {
        f"{name}.{key}": value.detach().cpu().float().numpy()
        for name, side in _with_extras(model).items()
        for key, value in side.extras.state_dict().items()
    }
    table = None
    if isinstance(model.query, StaticSide):
        table = model.query.table().detach().cpu().numpy()
    add_head(
        target,
        described["query"],
        described["document"],
        tensors,
        query_network=query,
        query_table=table,
    )


def _description(model: SparseModel) -> dict[str, dict[str, Any]]:
    settings = model.settings
    document = {name: getattr(settings.document, name) for name in _FIELDS}
    length = settings.document_length
    described = {"folder": "", "max_seq_length": length, "extras": "document", **document}
    if isinstance(model.query, StaticSide):
        query = {
            "folder": QUERY_TABLE,
            "max_seq_length": settings.query_length,
            "kind": "table",
            "counts": settings.query.duplicates == "sum",
            "unit": settings.query.norm == "l2",
        }
    else:
        query = {
            "folder": "" if settings.shared else QUERY_NETWORK,
            "max_seq_length": settings.query_length,
            "extras": "query" if "query" in _with_extras(model) else "document",
            **{name: getattr(settings.query, name) for name in _FIELDS},
        }
    return {"query": query, "document": described}


def _with_extras(model: SparseModel) -> dict[str, NetworkSide | TokenSide]:
    """Return the sides with extras of their own, by the name their tensors begin with."""
    sides = {"document": model.document}
    query = model.query
    if isinstance(query, NetworkSide | TokenSide) and query.extras is not model.document.extras:
        sides["query"] = query
    return sides


def _is_stock(side: SideSettings) -> bool:
    if side.kind in ("binary", "table"):
        return side.duplicates != "sum" and side.norm == "none"
    more = side.literal or side.frequency or side.importance or side.quality
    plain = not (more or side.window or side.prune)
    whole = side.scope == "all" and side.norm == "none"
    return side.kind == "mlm" and plain and whole and _has_stock_head(side)


def _has_stock_head(side: SideSettings) -> bool:
    return side.activation == "relu" and side.logs in (1, 2) and side.pooling in ("max", "sum")


def _stock_head(side: SideSettings) -> tuple[Pooling, Activation]:
    pooling: Pooling = "sum" if side.pooling == "sum" else "max"
    return pooling, "relu" if side.logs == 1 else "log1p_relu"
