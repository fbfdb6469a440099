"""CSR: k-sparse codes of dense vectors, learned by an autoencoder (arXiv:2503.01776, 2602.05735).

Codes are not negative, so the index serves them as it serves weights of terms: a latent is a
term. Queries and documents both go through dense encoder and coder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from lsr.errors import ConfigError, DataError, ModelError
from lsr.sparse import SparseVectors
from lsr.train.settings_csr import CsrSettings

Array = npt.NDArray[np.float32]
#: Vectors that are coded at a time.
_BATCH = 4096
#: Below this an activation is silence.
_SILENT = 1e-5
#: The file of a fit that goes on.
_FIT = "fit.safetensors"


class CsrLoss(NamedTuple):
    """The loss of a batch and its parts, already weighted."""

    total: Tensor
    reconstruction: Tensor
    auxiliary: Tensor
    contrastive: Tensor


class CsrCoder(nn.Module):
    """z = TopK(relu(W (x - b_pre) + b_lat)), x^ = W^T z + b_pre.

    Tensors have the names of sentence-transformers' SparseAutoEncoder. `silent` counts, for each
    latent, the batches since it was last above zero.
    """

    def __init__(self, n_dimensions: int, settings: CsrSettings) -> None:
        super().__init__()
        self.settings = settings
        self.n_dimensions = n_dimensions
        self.n_latents = settings.latents or 4 * n_dimensions
        if settings.k > self.n_latents:
            raise ConfigError(f"csr.k is {settings.k}, and there are {self.n_latents} latents")
        self.pre_bias = nn.Parameter(torch.zeros(n_dimensions))
        self.latent_bias = nn.Parameter(torch.zeros(self.n_latents))
        self.encoder = nn.Linear(n_dimensions, self.n_latents, bias=False)
        self.silent: Tensor
        self.register_buffer("silent", torch.zeros(self.n_latents, dtype=torch.long))

    def latents(self, vectors: Tensor) -> Tensor:
        """Return what each latent gets of each vector, before any is left out."""
        return functional.linear(vectors - self.pre_bias, self.encoder.weight, self.latent_bias)

    def forward(self, vectors: Tensor, k: int | None = None) -> Tensor:
        """Return the codes, float32 (n, latents), with at most k values above zero each."""
        return keep(self.latents(vectors), self.settings.k if k is None else k)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors that codes stand for."""
        return functional.linear(codes, self.encoder.weight.T) + self.pre_bias

    def loss(
        self,
        vectors: Tensor,
        k: int,
        *,
        positives: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> CsrLoss:
        """Return the loss of a batch: L_k + L_4k / 8 + beta L_aux + gamma L_CL.

        `positives` (n, dimensions) belong to the vectors row by row; without them a vector is its
        own positive, and with `labels` int64 (n,) all vectors of its label are.
        """
        settings = self.settings
        latents = self.latents(vectors)
        codes = keep(latents, k)
        decoded = self.decode(codes)
        wider = self.decode(keep(latents, min(4 * k, self.n_latents)))
        reconstruction = relative_error(decoded, vectors) + relative_error(wider, vectors) / 8
        auxiliary = settings.auxiliary * self._revive(latents, (vectors - decoded).detach())
        others = codes if positives is None else self(positives, k)
        contrastive = settings.contrastive * contrast(
            codes, others, settings.temperature, labels if settings.supervised else None
        )
        with torch.no_grad():
            heard = (codes > _SILENT).any(0)
            self.silent.add_(1).masked_fill_(heard, 0)
        return CsrLoss(
            reconstruction + auxiliary + contrastive, reconstruction, auxiliary, contrastive
        )

    def _revive(self, latents: Tensor, residual: Tensor) -> Tensor:
        """Return how badly the strongest dead latents explain what the living ones leave."""
        dead = self.silent > self.settings.dead_batches
        count = min(self.settings.k_aux, int(dead.sum()))
        if count == 0:
            return latents.new_zeros(())
        codes = keep(latents.masked_fill(~dead, -torch.inf), count)
        return relative_error(functional.linear(codes, self.encoder.weight.T), residual)

    def encode(self, vectors: Array) -> SparseVectors:
        """Return the codes of dense vectors (n, dimensions); latents are the terms."""
        check_vectors(vectors, self.n_dimensions)
        if len(vectors) == 0:
            return SparseVectors.empty(self.n_latents)
        indptr, terms, weights = [0], [], []
        with torch.inference_mode():
            for start in range(0, len(vectors), _BATCH):
                codes = self(torch.from_numpy(vectors[start : start + _BATCH]))
                rows, columns = codes.nonzero(as_tuple=True)
                counts = torch.bincount(rows, minlength=len(codes))
                indptr += (counts.cumsum(0) + indptr[-1]).tolist()
                terms.append(columns.numpy())
                weights.append(codes[rows, columns].numpy())
        return SparseVectors.from_arrays(
            np.array(indptr, np.int64),
            np.concatenate(terms),
            np.concatenate(weights),
            vocab_size=self.n_latents,
        )

    def save(self, folder: str | Path, *, dense: str | Path | None = None) -> None:
        """Write the coder to a new folder, as sentence-transformers' SparseAutoEncoder.

        With `dense`, a model folder, that encoder goes with it: the outcome is a whole encoder.
        """
        from lsr.dense_folder import read_dense_folder
        from lsr.model_files import find_model
        from lsr.model_save import save_code_encoder, save_codes

        tensors = {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()}
        settings = {"k": self.settings.k, "dead": self.settings.dead_batches}
        if dense is None:
            save_codes(Path(folder), tensors, **settings)
        else:
            encoder = read_dense_folder(find_model(dense))
            save_code_encoder(encoder, tensors, Path(folder), **settings)


def load_coder(folder: str | Path, settings: CsrSettings | None = None) -> CsrCoder:
    """Return the coder in a folder that `CsrCoder.save` or sentence-transformers wrote."""
    from lsr.model_save import CODE_NAMES
    from lsr.tokens import read_json
    from lsr.weights import WeightFiles

    place = Path(folder)
    config = read_json(place / "config.json")
    if config.get("normalize"):
        raise ModelError(f"{place} normalises its input, which this version does not")
    k, latents = int(config["k"]), int(config["hidden_dim"])
    given = settings or CsrSettings()
    coder = CsrCoder(
        int(config["input_dim"]),
        given.model_copy(update={"k": k, "latents": latents, "k_start": None}),
    )
    files = WeightFiles(place)
    names = dict(CODE_NAMES)
    if names["encoder.weight"] not in files.names:  # tied weights are stored under either name
        names["encoder.weight"] = "decoder.linear.weight"
    state = {own: torch.from_numpy(np.array(files.tensor(name))) for own, name in names.items()}
    coder.load_state_dict({**state, "silent": state["silent"].long()})
    return coder


class CoderFit(NamedTuple):
    """A coder after `step` steps, with what its optimiser remembers."""

    step: int
    coder: CsrCoder
    optimiser: torch.optim.Adam

    def save(self, folder: Path) -> None:
        """Write what `fit_coder` needs to go on behind this step."""
        tensors = {f"coder.{name}": part for name, part in self.coder.state_dict().items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": part for name, part in state.items()}
        save_file(tensors, str(folder / _FIT), metadata={"step": str(self.step)})

    def going_on(self, folder: Path) -> CoderFit:
        """Return this fit as it was when a folder was written."""
        with safe_open(str(folder / _FIT), framework="pt") as file:
            step = int(file.metadata()["step"])
        coder, moments = {}, dict[int, dict[str, Tensor]]()
        for name, part in load_file(str(folder / _FIT)).items():
            owner, rest = name.split(".", 1)
            if owner == "coder":
                coder[rest] = part
            else:
                number, moment = rest.split(".", 1)
                moments.setdefault(int(number), {})[moment] = part
        self.coder.load_state_dict(coder)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        return self._replace(step=step)


def fit_coder(
    vectors: Array,
    settings: CsrSettings,
    *,
    steps: int,
    batch_size: int = 4096,
    lr: float = 4e-4,
    seed: int = 42,
    positives: Array | None = None,
    labels: npt.NDArray[np.int64] | None = None,
    on_step: Callable[[int, CsrLoss], None] | None = None,
    on_fit: Callable[[CoderFit], bool] | None = None,
    start: Path | None = None,
) -> CsrCoder:
    """Return a coder learned from dense vectors (n, dimensions).

    `positives`, of the same shape, belong to the vectors row by row (queries and their documents);
    `labels` int64 (n,) are what `supervised` needs. Same input and seed, same coder. `on_fit` may
    save the state after each step, and ends the fit when it returns True; with `start`, a folder
    with such a state, the outcome is bit for bit that of a fit that was not interrupted. Raises
    DataError for vectors that are not finite or do not fit, LsrError when the loss is not finite.
    """
    check_vectors(vectors, vectors.shape[1] if vectors.ndim == 2 else 0)
    if positives is not None:
        check_vectors(positives, vectors.shape[1])
        if len(positives) != len(vectors):
            raise DataError(f"{len(vectors)} vectors have {len(positives)} positives")
    if settings.supervised and labels is None:
        raise ConfigError("csr.supervised needs labels", hint="--set csr.supervised=false")
    if len(vectors) < 2:
        raise DataError(f"{len(vectors)} vectors are too few to learn codes from")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        coder = CsrCoder(vectors.shape[1], settings)
    with torch.no_grad():
        coder.pre_bias.copy_(torch.from_numpy(vectors.mean(0)))
    optimiser = torch.optim.Adam(coder.parameters(), lr=lr, eps=6.25e-10)
    fit = CoderFit(0, coder, optimiser)
    if start is not None:
        fit = fit.going_on(start)
    batches = enumerate(_batches(len(vectors), batch_size, steps, generator))
    for step, rows in islice(batches, fit.step, None):
        batch = torch.from_numpy(vectors[rows])
        loss = coder.loss(
            batch,
            annealed(settings, step, steps),
            positives=None if positives is None else torch.from_numpy(positives[rows]),
            labels=None if labels is None else torch.from_numpy(labels[rows]),
        )
        if not bool(torch.isfinite(loss.total)):
            raise DataError(
                f"step {step + 1}: the loss is {loss.total.item()}", hint="--set train.lr=1e-4"
            )
        optimiser.zero_grad()
        torch.autograd.backward(loss.total)
        optimiser.step()
        if on_step is not None:
            on_step(step, CsrLoss(*(part.detach() for part in loss)))
        if on_fit is not None and on_fit(fit._replace(step=step + 1)):
            break
    return coder


def keep(latents: Tensor, k: int) -> Tensor:
    """Return relu of each row's k largest values, zero elsewhere."""
    values, places = latents.topk(k, dim=1)
    return torch.zeros_like(latents).scatter(1, places, functional.relu(values))


def relative_error(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean of |decoded - wanted|^2 over |wanted|^2."""
    errors = (decoded - wanted).square().sum(1)
    return (errors / wanted.square().sum(1).clamp(min=1e-12)).mean()


def contrast(codes: Tensor, others: Tensor, temperature: float, labels: Tensor | None) -> Tensor:
    """Return the contrastive loss of codes (n, latents) and others, made to length 1.

    Row i of `others` is the positive of row i; with labels every row of the same label is, and
    the logarithms of their shares are averaged.
    """
    first, second = functional.normalize(codes, dim=1), functional.normalize(others, dim=1)
    shares = functional.log_softmax(first @ second.T / temperature, 1)
    if labels is None:
        return -shares.diagonal().mean()
    same = (labels[:, None] == labels[None, :]).to(shares.dtype)
    return -((shares * same).sum(1) / same.sum(1)).mean()


def annealed(settings: CsrSettings, step: int, steps: int) -> int:
    """Return k at a step: from `k_start` down to `k` in a straight line, then constant."""
    if settings.k_start is None:
        return settings.k
    done = min(step / max(1.0, settings.anneal * steps), 1.0)
    return round(settings.k_start * (1 - done) + settings.k * done)


def check_vectors(vectors: Array, n_dimensions: int) -> None:
    """Raise DataError unless vectors are float32 (n, dimensions) and finite."""
    if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape[1] != n_dimensions:
        raise DataError(
            f"dense vectors are {vectors.dtype} of shape {vectors.shape}; "
            f"float32 (n, {n_dimensions or 'dimensions'}) is expected"
        )
    wrong = ~np.isfinite(vectors).all(axis=1)
    if wrong.any():
        raise DataError(f"dense vector {int(wrong.argmax())} holds a value that is not finite")


def _batches(
    n: int, size: int, steps: int, generator: torch.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield row numbers of `steps` batches; every row once before any comes again."""
    size = min(size, n)
    order, at = torch.empty(0, dtype=torch.long), 0
    for _ in range(steps):
        if at + size > len(order):
            order, at = torch.randperm(n, generator=generator), 0
        yield order[at : at + size].numpy()
        at += size
