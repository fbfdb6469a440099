"""Any masked language model that transformers knows, without its vocabulary projection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.errors import ModelError
from lsr.tokens import Ids, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

#: How far the shortcut may be from the model's own logits on the probe.
_TOLERANCE = 1e-4


class MaskedLM:
    """Hidden states of several texts laid end to end, from a masked or causal language model.

    The output projection is taken out of the model when its own logits on a probe equal
    hidden @ decoder.T + bias; where they do not, `decoder` is None and `hidden_states` returns
    the logits themselves.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._model = _load(folder)
        self._pad = int(config.get("pad_token_id") or 0)
        self.vocab_size = int(self._model.config.get_text_config().vocab_size)
        self.decoder: Tensor | None = None
        self.bias: Tensor | None = None
        self._take_out_projection()

    def hidden_states(self, texts: Sequence[Ids]) -> Tensor:
        """Return (all tokens, hidden): the texts one after the other."""
        return pack(
            texts,
            self._pad,
            lambda tokens, mask: self._model(tokens, attention_mask=mask).logits,
        )

    def _take_out_projection(self) -> None:
        import torch

        model = self._model
        projection = model.get_output_embeddings()
        place = next((name for name, module in model.named_modules() if module is projection), None)
        if place is None or not isinstance(projection, torch.nn.Linear):
            return
        parent = model.get_submodule(place.rpartition(".")[0])
        attribute = place.rpartition(".")[2]
        weight = projection.weight.detach()
        bias = torch.zeros(len(weight)) if projection.bias is None else projection.bias.detach()
        with torch.inference_mode():
            probe = torch.arange(2, 10)[None] % self.vocab_size
            expected = model(probe).logits
            setattr(parent, attribute, torch.nn.Identity())
            try:
                found = model(probe).logits @ weight.T + bias
                same = found.shape == expected.shape and bool(
                    torch.allclose(found, expected, atol=_TOLERANCE, rtol=_TOLERANCE)
                )
            except RuntimeError:
                same = False
        if same:
            self.decoder, self.bias = weight, bias
        else:
            setattr(parent, attribute, projection)


def pack(texts: Sequence[Ids], pad: int, run: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
    """Return what `run` gives for each token, texts laid end to end; it gets them padded.

    `run` takes tokens (texts, longest) and their mask, None when nothing is padded.
    """
    import torch

    length = max(len(ids) for ids in texts)
    tokens = torch.full((len(texts), length), pad)
    mask = torch.zeros((len(texts), length), dtype=torch.long)
    for row, ids in enumerate(texts):
        tokens[row, : len(ids)] = torch.from_numpy(ids)
        mask[row, : len(ids)] = 1
    full = bool(mask.all())
    found = run(tokens, None if full else mask)
    return found.flatten(0, 1) if full else found[mask.bool()]


def _load(folder: Path) -> Any:
    names = read_json(folder / "config.json").get("architectures") or []
    causal = any(str(name).endswith("ForCausalLM") for name in names)
    model = load_language_model(folder, causal=causal)
    model.requires_grad_(False)
    return model.eval()


def load_pretrained(kind: Any, folder: Path, what: str) -> tuple[Any, dict[str, Any]]:
    """Return a model of transformers in a folder, in float32, and what its weights lacked.

    `kind` is an auto class, `what` names the model in the ModelError where it cannot be loaded.
    """
    import torch

    try:
        with quiet():
            model, info = kind.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # transformers, safetensors and torch each raise their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"transformers cannot load {what} in {folder} ({reason})",
            hint="check that the folder is complete and that transformers knows the architecture",
        ) from error
    return model, info


def load_language_model(folder: Path, *, causal: bool = False) -> Any:
    """Return the masked, or causal, language model of transformers in a folder, in float32.

    ModelError when it cannot be loaded, or when it has no head and would get a random one.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    what = "causal" if causal else "masked"
    kind: Any = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    model, info = load_pretrained(kind, folder, f"the {what} language model")
    missing = sorted(info["missing_keys"])
    if missing or info.get("mismatched_keys"):
        lacking = missing[0] if missing else str(sorted(info["mismatched_keys"])[0])
        raise ModelError(
            f"{folder} is not a complete {what} language model: its weights lack {lacking!r}, "
            "which transformers would fill with random numbers",
            hint=f"give the ...For{'CausalLM' if causal else 'MaskedLM'} checkpoint of the model",
        )
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing to the terminal meanwhile."""
    from transformers.utils import logging

    control: Any = logging
    level, bars = control.get_verbosity(), control.is_progress_bar_enabled()
    control.set_verbosity_error()
    control.disable_progress_bar()
    try:
        yield
    finally:
        control.set_verbosity(level)
        if bars:
            control.enable_progress_bar()
