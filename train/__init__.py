"""Training: sparse encoders from pairs and teachers, by recipe."""
