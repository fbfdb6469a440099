"""A language model of one layer, and texts to learn from, for the tests of training."""

from __future__ import annotations

from pathlib import Path

QUERIES = (
    "why do cats purr",
    "what do dogs bark at",
    "where do cows graze",
    "how is bread baked",
    "who drives fast cars",
    "when do birds sing",
)
POSITIVES = (
    "cats purr when they are happy and warm",
    "dogs bark at strangers and at the moon",
    "cows graze in the green meadow all day",
    "bread is baked in a hot oven for an hour",
    "racing drivers drive the fast cars on sunday",
    "birds sing in the early morning of spring",
)
NEGATIVES = (
    "cats sleep on the warm sofa at noon",
    "dogs eat meat and bury bones",
    "cows moo when the farmer comes",
    "bread is cut with a sharp knife",
    "cars need oil and four wheels",
    "birds build nests in the old tree",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def words() -> list[str]:
    """Every word of the texts, in order."""
    return sorted({word for text in (*QUERIES, *POSITIVES, *NEGATIVES) for word in text.split()})


def write_tokenizer(folder: Path) -> int:
    """Write a tokenizer of whole words; return the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: at for at, token in enumerate((*SPECIAL, *words()))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=32,
    ).save_pretrained(folder)
    return len(vocabulary)


def write_masked(folder: Path, *, seed: int = 0) -> Path:
    """Write a masked language model of one layer, with random weights and no dropout."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=write_tokenizer(folder),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
        pad_token_id=0,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def shifted(model: Path, folder: Path, by: float) -> Path:
    """Write the model again with `by` added to every logit, and none for special tokens.

    Our trainer keeps those out of vectors; others do where the model itself does.
    """
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    tensors = load_file(str(folder / "model.safetensors"))
    bias = next(name for name in tensors if name.endswith("predictions.bias"))
    tensors[bias] = tensors[bias] + by
    tensors[bias][:5] = -1e4
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def write_causal(folder: Path) -> Path:
    """Write a causal language model of one layer, in the manner of Qwen2."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=write_tokenizer(folder) + 3,  # padded, as such models often are
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.2,
        pad_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder
