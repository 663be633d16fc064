"""Embeddings: POST /v2/openai/v1/embeddings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from coordinator.api.completions import Token, one_of_four
from coordinator.api.requests import RelayRequest

Text = Annotated[str, Field(min_length=1)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=2048)]
TokenTexts = Annotated[list[Tokens], Field(min_length=1, max_length=2048)]
Input = Text | Texts | Tokens | TokenTexts


class OpenAIEmbeddingRequest(RelayRequest):
    """Embeddings of one or more texts, with the relay's `mode` and `async`."""

    endpoint = "embeddings"

    input: Input
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    encoding_format: Literal["float", "base64"] | None = "float"

    @field_validator("input", mode="wrap")
    @classmethod
    def _input(cls, value: Any, check: Any) -> Any:
        return one_of_four(value, check)


class OpenAIEmbeddingResponse(BaseModel):
    """`data` holds an object `embedding` for each input: numbers, or base64 of little-endian 32-bit floats."""

    model_config = ConfigDict(extra="allow")

    object: str = "list"
    model: str
    data: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    task_id: str | None = None
    task_address: str | None = None
    mode: str | None = None
