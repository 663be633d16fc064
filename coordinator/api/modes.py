"""Where a request may run. The gate takes the first that the caller may use; a failure never changes it."""

from __future__ import annotations

from coordinator.api.requests import GeneratingRequest, RelayRequest, invalid
from coordinator.catalogue import Catalogue, Model
from coordinator.errors import ModelNotAvailable, ModelNotFound
from coordinator.lifecycle.order import Mode


def choices(request: RelayRequest, catalogue: Catalogue) -> dict[Mode, str]:
    """The modes that the request may run in, the preferred one first, each with its scope.

    `auto` is direct where the model is offered there and the caller may use it there, else opengpu.

    Raises InvalidRequest (400) for what is well-formed but impossible, ModelNotFound, ModelNotAvailable.
    """
    _refuse_the_impossible(request)
    model = catalogue.models.get(request.model)
    if model is None:
        raise ModelNotFound("model: this relay has no such model. GET /v2/models lists those it has.")
    if not model.serves(request.endpoint):
        offered = " and ".join(model.endpoints)
        raise ModelNotAvailable(f"model: not offered at /{request.endpoint}, but for {offered}.")
    modes = _modes(request.mode or "auto", model)
    if request.streamed:
        modes = [mode for mode in modes if mode == "direct"]
        if not modes:
            raise _no_stream("this model runs in opengpu mode alone, which does not stream; set stream to false")
    return {mode: model.scope(mode) for mode in modes}


def _modes(wanted: str, model: Model) -> list[Mode]:
    if wanted == "auto":
        return sorted(model.modes)  # direct comes first
    mode: Mode = "direct" if wanted == "direct" else "opengpu"
    if mode not in model.modes:
        offered = " and ".join(model.modes)
        raise ModelNotAvailable(f"mode: the model is not offered in {mode} mode, but in {offered}.")
    return [mode]


def _refuse_the_impossible(request: RelayRequest) -> None:
    if request.streamed and request.asynchronous:
        raise _no_stream("cannot be combined with async; leave one of the two out")
    if request.streamed and request.mode == "opengpu":
        raise _no_stream("is not possible with mode opengpu; use mode direct, or set stream to false")
    options = request.stream_options if isinstance(request, GeneratingRequest) else None
    if options is not None and not request.streamed:
        raise invalid("stream_options", "needs_stream", "is allowed with stream: true alone", status=400)


def _no_stream(message: str) -> Exception:
    return invalid("stream", "impossible", message, status=400)
