"""The encoder that comes with lsr."""
