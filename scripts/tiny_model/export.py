"""The trained model as a GGUF file that llama.cpp runs: weights, vocabulary, chat template, licence."""

from pathlib import Path

import gguf
import numpy as np

from scripts.tiny_model.model import Shape, TinyChat
from scripts.tiny_model.tokenizer import CONTROL, END_OF_TEXT, PRE_TOKENIZER, TURN_CLOSE, VISIBLE, Tokenizer

CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text().rstrip("\n")
MODEL_NAME = "Tiny Chat"


def write_gguf(path: Path, model: TinyChat, tokenizer: Tokenizer) -> int:
    """Write the file and return the number of parameters. Matrices are F16, norms F32."""
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, model.shape)
    _vocabulary(writer, tokenizer)
    tensors = _tensors(model)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sum(tensor.size for tensor in tensors.values())


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(MODEL_NAME)
    writer.add_author("opengpu-relay")
    writer.add_description(
        "A very small chat model for trying the relay; it talks about the relay and does small sums."
    )
    writer.add_license("apache-2.0")
    writer.add_languages(["en"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    kinds = {**dict.fromkeys(CONTROL, gguf.TokenType.CONTROL), **dict.fromkeys(VISIBLE, gguf.TokenType.USER_DEFINED)}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokenizer.tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.ids[END_OF_TEXT])
    writer.add_eos_token_id(tokenizer.ids[TURN_CLOSE])
    writer.add_eot_token_id(tokenizer.ids[TURN_CLOSE])
    writer.add_pad_token_id(tokenizer.ids[END_OF_TEXT])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _tensors(model: TinyChat) -> dict[str, np.ndarray]:
    """Tensors under ggml's names. The output layer is left out: llama.cpp then uses the embedding, which is tied."""
    names = {
        "attention_norm.weight": "attn_norm", "attention.q": "attn_q", "attention.k": "attn_k", "attention.v": "attn_v",
        "attention.out": "attn_output", "feed_norm.weight": "ffn_norm", "feed.gate": "ffn_gate", "feed.up": "ffn_up",
        "feed.down": "ffn_down",
    }  # fmt: skip
    state = {name: weight.detach().numpy() for name, weight in model.state_dict().items()}
    tensors = {"token_embd.weight": state["embedding.weight"], "output_norm.weight": state["norm.weight"]}
    for layer in range(model.shape.layers):
        for ours, ggml in names.items():
            tensor = state[f"blocks.{layer}.{ours}"]
            paired = ggml in ("attn_q", "attn_k")
            tensors[f"blk.{layer}.{ggml}.weight"] = _as_neighbours(tensor, model.shape.heads) if paired else tensor
    return {name: tensor.astype(np.float16 if tensor.ndim == 2 else np.float32) for name, tensor in tensors.items()}


def _as_neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k reordered from pairs of halves to pairs of neighbours, as ggml's llama turns them."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
