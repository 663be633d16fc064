"""A text completion, as OpenAI's clients still send it: POST /v2/openai/v1/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from coordinator.api.requests import GeneratingRequest
from coordinator.protocol.shapes import inputs

Token = Annotated[int, Field(ge=0, le=2**31 - 1)]
# Each is a prompt of its own, with choices of its own.
Prompts = Annotated[list[str], Field(min_length=1, max_length=128)]
TokenPrompts = Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1, max_length=128)]
Prompt = str | Prompts | Annotated[list[Token], Field(min_length=1)] | TokenPrompts


class OpenAICompletionRequest(GeneratingRequest):
    """A text completion with the relay's `mode` and `async`."""

    endpoint = "completions"

    prompt: Prompt
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    suffix: str | None = None

    @property
    def most_choices(self) -> int:
        return max(self.n or 1, self.best_of or 1) * inputs(self.prompt)

    @field_validator("prompt", mode="wrap")
    @classmethod
    def _prompt(cls, value: Any, check: Any) -> Any:
        """One complaint instead of one for each form that a prompt may have."""
        return one_of_four(value, check)

    @field_validator("best_of")
    @classmethod
    def _enough(cls, best_of: int | None, known: ValidationInfo) -> int | None:
        if best_of is not None and best_of < (known.data.get("n") or 1):
            raise ValueError("must be at least n")
        if best_of is not None and best_of > 1 and known.data.get("stream"):
            raise ValueError("can't be more than 1 in a stream")
        return best_of


def one_of_four(value: Any, check: Any) -> Any:
    """Raises ValueError with the forms that there are, and not one complaint for each of a thousand items."""
    try:
        return check(value)
    except ValueError:
        raise ValueError(
            "must be a text, a list of texts, a list of tokens or a list of such lists; none of the lists empty or "
            "too long"
        ) from None


class OpenAICompletionResponse(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str | None = None
    object: str = "text_completion"
    created: int | None = None
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    system_fingerprint: str | None = None
    task_id: str | None = None
    task_address: str | None = None
    mode: str | None = None
