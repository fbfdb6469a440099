"""What a recipe may say about data, teachers, the loop and the dev set."""

from __future__ import annotations

from pydantic import ConfigDict

from lsr.train.settings_model import Settings


class DataSettings(Settings):
    """What the model learns from."""

    model_config = ConfigDict(extra="allow")


class TeacherSettings(Settings):
    """Whose scores the model learns from."""

    model_config = ConfigDict(extra="allow")


class TrainSettings(Settings):
    """How the loop runs."""

    model_config = ConfigDict(extra="allow")


class DevSettings(Settings):
    """What the model is measured on meanwhile."""

    model_config = ConfigDict(extra="allow")
