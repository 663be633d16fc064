"""Where a request runs. Decided once, before anything runs, and never changed after a failure."""

from __future__ import annotations

from coordinator.api.requests import OpenAIChatRequest, invalid
from coordinator.catalogue import Catalogue, Model
from coordinator.errors import ModelNotAvailable, ModelNotFound
from coordinator.lifecycle.order import Mode


def decide(request: OpenAIChatRequest, catalogue: Catalogue) -> Mode:
    """`auto` is direct where the model is offered there, else opengpu.

    Raises InvalidRequest (400) for what is well-formed but impossible, ModelNotFound, ModelNotAvailable.
    """
    _refuse_the_impossible(request)
    model = catalogue.models.get(request.model)
    if model is None:
        raise ModelNotFound("model: this relay has no such model. GET /v2/models lists those it has.")
    mode = _mode(request.mode or "auto", model)
    if request.stream and mode == "opengpu":
        raise _no_stream("this model runs in opengpu mode alone, which does not stream; set stream to false")
    return mode


def _mode(wanted: str, model: Model) -> Mode:
    if wanted == "auto":
        return "direct" if "direct" in model.modes else "opengpu"
    mode: Mode = "direct" if wanted == "direct" else "opengpu"
    if mode not in model.modes:
        offered = " and ".join(model.modes)
        raise ModelNotAvailable(f"mode: the model is not offered in {mode} mode, but in {offered}.")
    return mode


def _refuse_the_impossible(request: OpenAIChatRequest) -> None:
    if request.stream and request.asynchronous:
        raise _no_stream("cannot be combined with async; leave one of the two out")
    if request.stream and request.mode == "opengpu":
        raise _no_stream("is not possible with mode opengpu; use mode direct, or set stream to false")
    if request.stream_options is not None and not request.stream:
        raise invalid("stream_options", "needs_stream", "is allowed with stream: true alone", status=400)
    if request.webhook_url is not None:
        message = "this relay does not deliver webhooks yet; leave it out and poll the task"
        raise invalid("webhook_url", "not_offered", message, status=400)


def _no_stream(message: str) -> Exception:
    return invalid("stream", "impossible", message, status=400)
