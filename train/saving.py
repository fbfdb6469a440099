"""A model to a folder that lsr and sentence-transformers load, and back."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.errors import ConfigError
from lsr.model_folder import Activation, Pooling, TableSide, read_model_folder
from lsr.model_save import save_router, save_symmetric
from lsr.train.settings_model import SideSettings
from lsr.train.table import StaticSide

if TYPE_CHECKING:
    from torch import Tensor

    from lsr.train.model import SparseModel


def save_model(model: SparseModel, target: Path) -> None:
    """Write the model to a new folder: symmetric, or Router with a query table."""
    settings = model.settings
    with tempfile.TemporaryDirectory(dir=_parent(target)) as name:
        network = Path(name) / "network"
        model.document.backbone.network.save_pretrained(network)
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            if (model.folder / file).is_file():
                shutil.copyfile(model.folder / file, network / file)
        pooling: Pooling = "sum" if settings.document.pooling == "sum" else "max"
        if model.query is model.document:
            save_symmetric(
                network,
                target,
                pooling=pooling,
                activation=_activation(settings.document),
                max_seq_length=settings.document_length,
            )
            return
        if not isinstance(model.query, StaticSide):
            raise ConfigError(f"a query side of kind {settings.query.kind} cannot be saved")
        save_router(
            network,
            model.query.table().detach().cpu().numpy(),
            target,
            pooling=pooling,
            activation=_activation(settings.document),
            max_seq_length=settings.document_length,
        )


def read_table(folder: Path) -> Tensor | None:
    """Return the query table of a saved folder, None when it has none."""
    import torch

    from lsr.static_query import StaticTable

    if not (folder / "modules.json").is_file():
        return None
    side = read_model_folder(folder).query
    if not isinstance(side, TableSide):
        return None
    return torch.from_numpy(StaticTable(side).weights.copy())


def _activation(side: SideSettings) -> Activation:
    if side.activation == "relu" and side.logs in (1, 2):
        return "relu" if side.logs == 1 else "log1p_relu"
    raise ConfigError(f"{side.activation} with {side.logs} logarithms is not a layout of others")


def _parent(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.parent
