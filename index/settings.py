"""IndexSettings: what is decided when an index is made, kept in its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lsr.encoder import Encoder
from lsr.errors import ConfigError, IndexFormatError
from lsr.passages import PassageSettings

from .blocks import SETTING as BLOCKS
from .blocks import BlockSettings, block_settings
from .columns import FieldType
from .halves import DTYPES, Dtype, checked_dtype
from .halves import SETTING as DTYPE
from .legs import SPARSE, leg_settings
from .manifest import LEGS


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """The encoder, the vocabulary, the passages and the declared field types of an index.

    `encoder_name` is None for an index of vectors made elsewhere, `blocks` for one without them.
    `legs` has the settings of each leg by its name; those of `sparse` are the index's own.
    `dtype` is the type that weights are rounded to.
    """

    vocab_size: int
    encoder_name: str | None
    encoder_fingerprint: str | None
    encoder_licence: str | None
    passages: PassageSettings | None
    field_types: Mapping[str, str]
    blocks: BlockSettings | None = None
    legs: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {SPARSE: {}})
    dtype: Dtype = DTYPES[0]

    @classmethod
    def make(
        cls,
        encoder: Encoder | None,
        vocab_size: int | None,
        passages: PassageSettings | None,
        field_types: Mapping[str, str],
        blocks: BlockSettings | None = None,
        legs: Mapping[str, Mapping[str, Any]] | None = None,
        dtype: str = DTYPES[0],
    ) -> IndexSettings:
        """Return the settings of a new index, or raise ConfigError where they contradict."""
        kind = checked_dtype(dtype)
        kept = {SPARSE: {}} if legs is None else dict(legs)
        for name, declared in field_types.items():
            if declared not in set(FieldType):
                known = ", ".join(FieldType)
                raise ConfigError(f"field {name!r} is declared {declared!r}; types are {known}")
        if SPARSE not in kept:
            return cls._without_sparse(passages, field_types, kept)
        if encoder is None:
            if vocab_size is None:
                raise ConfigError(
                    "an index without an encoder needs vocab_size, the number of terms"
                )
            if passages is not None:
                raise ConfigError("an index without an encoder cannot split into passages")
            return cls(vocab_size, None, None, None, None, dict(field_types), blocks, kept, kind)
        if vocab_size not in (None, encoder.vocab_size):
            raise ConfigError(
                f"vocab_size is {vocab_size}, but the encoder has {encoder.vocab_size} terms"
            )
        return cls(
            encoder.vocab_size,
            encoder.name,
            encoder.fingerprint,
            encoder.licence,
            passages,
            dict(field_types),
            blocks,
            kept,
            kind,
        )

    @classmethod
    def _without_sparse(
        cls,
        passages: PassageSettings | None,
        field_types: Mapping[str, str],
        legs: Mapping[str, Mapping[str, Any]],
    ) -> IndexSettings:
        """Return the settings of an index whose segments hold documents and empty vectors."""
        if not legs:
            raise ConfigError("an index has one leg at least: sparse, bm25 or dense")
        if passages is not None:
            raise ConfigError("passages are the sparse leg's, which this index is to be without")
        return cls(1, None, None, None, None, dict(field_types), None, legs)

    def with_encoder_name(self, name: str | Path) -> IndexSettings:
        """Return the same settings for a model that is found under another name."""
        return replace(self, encoder_name=str(name))

    def to_json(self) -> dict[str, Any]:
        """Return the settings as the manifest keeps them."""
        encoder = None
        if self.encoder_name is not None:
            encoder = {
                "name": self.encoder_name,
                "fingerprint": self.encoder_fingerprint,
                "licence": self.encoder_licence,
            }
        found: dict[str, Any] = {
            "vocab_size": self.vocab_size,
            "encoder": encoder,
            "passages": None if self.passages is None else self.passages.to_json(),
            "field_types": dict(self.field_types),
            BLOCKS: None if self.blocks is None else self.blocks.to_json(),
        }
        if self.dtype != DTYPES[0]:
            found[DTYPE] = self.dtype
        # Left out where nothing but `sparse` is there: such an index is as it always was.
        return found if set(self.legs) == {SPARSE} else {**found, LEGS: dict(self.legs)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> IndexSettings:
        """Return the settings that a manifest holds."""
        try:
            encoder = found["encoder"] or {"name": None, "fingerprint": None, "licence": None}
            passages = found["passages"]
            return cls(
                vocab_size=int(found["vocab_size"]),
                encoder_name=encoder["name"],
                encoder_fingerprint=encoder["fingerprint"],
                encoder_licence=encoder["licence"],
                passages=None if passages is None else PassageSettings.from_json(passages),
                field_types=dict(found["field_types"]),
                blocks=block_settings(found),
                legs=leg_settings(found),
                dtype=checked_dtype(found.get(DTYPE, DTYPES[0])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IndexFormatError(
                f"the manifest's settings are not those of an lsr index: {error!r}",
                hint="lsr check DIR",
            ) from error
