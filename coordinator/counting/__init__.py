"""Counts tokens with the models' own tokenizers, so that nobody is paid by his own word."""
