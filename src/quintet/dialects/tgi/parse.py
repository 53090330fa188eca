"""/generate bodies → domain requests, with TGI's rules, defaults and error texts."""

from __future__ import annotations

from collections.abc import Sequence

from quintet.core.content import Image, Part
from quintet.core.errors import ContextTooLong, InvalidRequest, Unsupported
from quintet.core.requests import Detail, Limits, Sampling, TextRequest
from quintet.dialects.base import Call, Incoming
from quintet.dialects.conversation import check_length
from quintet.dialects.grammar import to_grammar
from quintet.dialects.tgi.markup import split_pictures
from quintet.dialects.tgi.render import GenerateRenderer
from quintet.dialects.tgi.wire import GenerateBody, Parameters
from quintet.dialects.validation import check

DEFAULT_NEW_TOKENS = 100
MAX_NEW_TOKENS = 250_000
MAX_BEST_OF = 2
MAX_STOPS = 4
MAX_TOP_TOKENS = 5
MAX_TOP_K = 99_999
MAX_REPETITION_PENALTY = 5
MAX_TEMPERATURE = 100
MAX_MODEL_CHARACTERS = 256


def parse_generate(incoming: Incoming) -> Call:
    """POST /generate: one object; `stream` is honoured, as Hugging Face's client expects."""
    return _parse(incoming, as_list=False, stream=None)


def parse_generate_stream(incoming: Incoming) -> Call:
    """POST /generate_stream: always a stream."""
    return _parse(incoming, as_list=False, stream=True)


def parse_compatible(incoming: Incoming) -> Call:
    """POST / and the gpu routes: a list with one object; `stream` is honoured."""
    return _parse(incoming, as_list=True, stream=None)


def model_name(incoming: Incoming, prompt: Sequence[Part] = ()) -> str:
    """The model that the path names, or else the one for such a prompt."""
    name = incoming.path.get("alias") or incoming.path.get("model") or incoming.unnamed_model(prompt)
    if len(name) > MAX_MODEL_CHARACTERS:
        raise InvalidRequest(
            f"The model's name in the path may have at most {MAX_MODEL_CHARACTERS} characters.", param="model"
        )
    return name


def check_inputs(inputs: str) -> None:
    """Refuse a prompt that is empty or beyond all measure."""
    if not inputs:
        raise InvalidRequest("`inputs` cannot be empty", param="inputs")


def _parse(incoming: Incoming, *, as_list: bool, stream: bool | None) -> Call:
    body = check(GenerateBody, incoming.body)
    check_inputs(body.inputs)
    prompt = split_pictures(body.inputs, "inputs")
    check_length(sum(len(part) for part in prompt if isinstance(part, str)), "inputs")
    streams = bool(body.stream) if stream is None else stream
    if body.add_special_tokens is False:
        raise Unsupported(
            "`add_special_tokens` can't be switched off here. Leave it out.", param="add_special_tokens"
        )
    # TGI samples when `parameters` is left out altogether, and is greedy when it is empty.
    parameters = body.parameters or Parameters(do_sample=body.parameters is None)
    request = _to_request(model_name(incoming, prompt), prompt, parameters, streams)
    full_text = parameters.return_full_text
    if full_text is None:
        # As in TGI, whose default is of models for text alone; megabytes of pictures would wait for the answer's end.
        full_text = as_list and not any(isinstance(part, Image) for part in prompt)
    renderer = GenerateRenderer(
        request=request,
        inputs=body.inputs,
        as_list=as_list,
        details=bool(parameters.details or parameters.decoder_input_details),
        full_text=full_text,
        samples=request.sampling.temperature > 0,
    )
    return Call(requests=(request,), renderer=renderer, stream=streams)


def _to_request(model: str, prompt: tuple[Part, ...], parameters: Parameters, streams: bool) -> TextRequest:
    _check_ranges(parameters)
    samples = _samples(parameters)
    best_of = _best_of(parameters, samples, streams)
    if parameters.decoder_input_details and streams:
        raise _refuse("decoder_input_details", "== true is not supported when streaming tokens")
    grammar = parameters.grammar
    details = bool(parameters.details or parameters.decoder_input_details)
    max_new_tokens = _max_new_tokens(parameters, best_of)
    return TextRequest(
        model=model,
        prompt=prompt,
        sampling=_sampling(parameters, samples),
        limits=Limits(
            max_new_tokens=max_new_tokens,
            stop=tuple(parameters.stop or ()),
            keep_stop=True,
            truncate=parameters.truncate,
        ),
        detail=Detail(
            logprobs=details or streams,
            top_logprobs=(parameters.top_n_tokens or 0) if details or streams else 0,
            prefill=bool(parameters.decoder_input_details),
        ),
        grammar=to_grammar(grammar.type, grammar.value, "grammar") if grammar is not None else None,
        adapter=parameters.adapter_id or "",
        # All of them, not the best alone: the details list the others too.
        n=best_of,
        best_of=best_of,
        # The token list shows special tokens; the renderer leaves them out of the text.
        skip_special_tokens=False,
    )


def _samples(parameters: Parameters) -> bool:
    return bool(
        parameters.do_sample
        or parameters.temperature not in (None, 1.0)
        or parameters.top_k is not None
        or parameters.top_p is not None
        or parameters.typical_p is not None
    )


def _check_ranges(given: Parameters) -> None:
    """TGI's rules in TGI's words; upper ends that TGI leaves open are ours."""
    for name in ("temperature", "repetition_penalty", "top_k", "max_new_tokens", "truncate"):
        value = getattr(given, name)
        if value is not None and value <= 0:
            raise _refuse(name, "must be strictly positive")
    for name, most in (
        ("temperature", MAX_TEMPERATURE),
        ("repetition_penalty", MAX_REPETITION_PENALTY),
        ("top_k", MAX_TOP_K),
        ("truncate", 10_000_000),
    ):
        value = getattr(given, name)
        if value is not None and value > most:
            raise _refuse(name, f"must be <= {most}")
    if given.frequency_penalty is not None and not -2 <= given.frequency_penalty <= 2:
        raise _refuse("frequency_penalty", "must be >= -2.0 and <= 2.0")
    for name in ("top_p", "typical_p"):
        value = getattr(given, name)
        if value is not None and not 0 < value < 1:
            raise _refuse(name, "must be > 0.0 and < 1.0")
    if given.stop is not None and len(given.stop) > MAX_STOPS:
        raise _refuse("stop", f"supports up to {MAX_STOPS} stop sequences. Given: {len(given.stop)}")
    if given.top_n_tokens is not None and not 0 <= given.top_n_tokens <= MAX_TOP_TOKENS:
        raise _refuse("top_n_tokens", f"must be >= 0 and <= {MAX_TOP_TOKENS}")


def _best_of(given: Parameters, samples: bool, streams: bool) -> int:
    best_of = 1 if given.best_of is None else given.best_of
    if not 0 < best_of <= MAX_BEST_OF:
        raise _refuse("best_of", f"must be > 0 and <= {MAX_BEST_OF}")
    if best_of == 1:
        return 1
    if not samples:
        raise InvalidRequest("you must use sampling when `best_of` is > 1", param="best_of")
    if given.seed is not None:
        raise InvalidRequest("`seed` must not be set when `best_of` > 1", param="seed")
    if streams:
        raise _refuse("best_of", "!= 1 is not supported when streaming tokens")
    return best_of


def _max_new_tokens(given: Parameters, best_of: int) -> int:
    if given.max_new_tokens is None:
        return DEFAULT_NEW_TOKENS
    if given.max_new_tokens > MAX_NEW_TOKENS:
        raise ContextTooLong(
            f"`max_new_tokens` must be <= {MAX_NEW_TOKENS:,}, more than any model's context here",
            param="max_new_tokens",
        )
    if best_of * given.max_new_tokens * ((given.top_n_tokens or 0) + 1) > MAX_NEW_TOKENS:
        raise InvalidRequest(
            "The answer could get too large: `best_of` × `max_new_tokens` × (`top_n_tokens` + 1) must be <= "
            f"{MAX_NEW_TOKENS:,}. Lower one of them.",
            param="max_new_tokens",
            code="budget_exceeded",
        )
    return given.max_new_tokens


def _sampling(given: Parameters, samples: bool) -> Sampling:
    temperature = 1.0 if given.temperature is None else given.temperature
    return Sampling(
        temperature=float(temperature) if samples else 0.0,
        top_k=given.top_k or 0,
        top_p=1.0 if given.top_p is None else float(given.top_p),
        typical_p=1.0 if given.typical_p is None else float(given.typical_p),
        repetition_penalty=1.0 if given.repetition_penalty is None else float(given.repetition_penalty),
        frequency_penalty=0.0 if given.frequency_penalty is None else float(given.frequency_penalty),
        seed=given.seed,
    )


def _refuse(field: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"`{field}` {rule}", param=field)
