"""How the relay's own small chat model is made: text, tokenizer, training, GGUF, evaluation, model card."""
