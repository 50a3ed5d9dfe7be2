"""``HuggingFaceGenerator``: answers from a transformers model in this process, in batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError, MissingExtraError
from sage.lib.adapt import as_prompt, message_dict
from sage.lib.contracts import GenerationFunction, PromptLike
from sage.lib.errors import ItemError
from sage.lib.types import Answer, Prompt, Usage

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class HuggingFaceGenerator(GenerationFunction):
    """Runs a causal language model of transformers; items that wait are answered as one batch.

    Messages go through the model's chat template if it has one; else their texts are joined by
    empty lines. torch and transformers load in ``open``. The same batch gives the same answers:
    without ``temperature`` decoding is greedy, else sampling starts from ``seed`` for every batch
    (which items share a batch depends on what waits, so sampled answers are reproducible one by
    one only with the step option ``batch_size=1``).

    ``Answer.cost`` is ``None``: nobody sent a bill. ``latency`` is that of the item's batch.

    Example:
        >>> stream.map(HuggingFaceGenerator, {"model": "/models/qwen"}, batch_size=8)
    """

    effect = True

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            model: Directory of the model, or its name on the hub (downloaded by transformers).
            max_tokens: Most tokens of the answer.
            temperature: Sampling temperature; ``None`` or 0: greedy decoding.
            top_p: Nucleus sampling, with ``temperature``.
            top_k: Sample from this many tokens, with ``temperature``.
            seed: Seed of the sampling, for every batch.
            stop: Text or texts that end the answer; they are left out of it.
            max_input_tokens: Most tokens of a prompt; a longer one is an error. Default: what the
                model can take.
            device: As torch names it, such as ``cpu`` or ``cuda:0``; default: ``cuda`` if there is
                one.
            dtype: Number format such as ``bfloat16``; default: the model's.
            revision: Of a model on the hub.
            local_files_only: Download nothing.
        """

        model: str
        max_tokens: int = attrs.field(default=256, validator=attrs.validators.ge(1))
        temperature: float | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
        )
        top_p: float | None = None
        top_k: int | None = None
        seed: int = 0
        stop: Any = None
        max_input_tokens: int | None = None
        device: str | None = None
        dtype: str | None = None
        revision: str | None = None
        local_files_only: bool = False

    _model: Any
    _tokenizer: Any
    _torch: Any

    def open(self, ctx: RuntimeContext) -> None:
        """Load the model.

        Raises:
            MissingExtraError: torch or transformers is not installed.
            ConfigError: There is no such model, or no such number format.
        """
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError(
                error.name or "transformers", "hf", "HuggingFaceGenerator"
            ) from error
        settings = self.config
        where: dict[str, Any] = {
            "revision": settings.revision,
            "local_files_only": settings.local_files_only,
        }
        dtype = "auto" if settings.dtype is None else getattr(torch, settings.dtype, None)
        if dtype is None:
            raise ConfigError(f"HuggingFaceGenerator: torch has no dtype {settings.dtype!r}")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(settings.model, **where)
            model: Any = AutoModelForCausalLM.from_pretrained(settings.model, dtype=dtype, **where)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"HuggingFaceGenerator cannot load the model {settings.model!r}: {error}"
            ) from error
        self._torch = torch
        self._device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()
        # A decoder goes on from the last token: the padding must be before the prompt.
        self._tokenizer.padding_side = "left"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.unk_token
        window = getattr(self._model.config, "max_position_embeddings", None)
        self._limit = settings.max_input_tokens or (
            None if window is None else window - settings.max_tokens
        )
        if self._limit is not None and self._limit < 1:
            raise ConfigError(
                f"HuggingFaceGenerator: the model takes {window} tokens, which leaves none for "
                f"the prompt with max_tokens={settings.max_tokens}"
            )

    def execute(self, item: PromptLike) -> Answer:
        """Answer one prompt.

        Raises:
            ItemError: The item is no prompt, or one longer than the model takes.
        """
        return self.execute_batch([item])[0]

    def execute_batch(self, items: list[Any]) -> list[Answer]:
        """Answer prompts together.

        Raises:
            ItemError: An item is no prompt, or one longer than the model takes.
        """
        started = time.perf_counter()
        settings = self.config
        prompts = [as_prompt(item) for item in items]
        rows = [self._encode(prompt) for prompt in prompts]
        batch = self._tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self._device)
        sampled = bool(settings.temperature)
        options: dict[str, Any] = {"do_sample": sampled}
        if sampled:
            options |= {"temperature": settings.temperature}
            options |= {} if settings.top_p is None else {"top_p": settings.top_p}
            options |= {} if settings.top_k is None else {"top_k": settings.top_k}
        with self._torch.inference_mode(), self._torch.random.fork_rng():
            self._torch.manual_seed(settings.seed)
            produced = self._model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=settings.max_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
                **options,
            )
        width = batch["input_ids"].shape[1]
        seconds = time.perf_counter() - started
        return [
            self._answer(prompt, len(row), tokens[width:].tolist(), seconds)
            for prompt, row, tokens in zip(prompts, rows, produced, strict=True)
        ]

    def close(self) -> None:
        """Let the model go."""
        self._model = self._tokenizer = None

    def _encode(self, prompt: Prompt) -> list[int]:
        tokenizer = self._tokenizer
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(
                [message_dict(message) for message in prompt.messages],
                tokenize=False,
                add_generation_prompt=True,
            )
            # The template has written the special tokens already.
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = tokenizer("\n\n".join(m.content for m in prompt.messages))["input_ids"]
        if self._limit is not None and len(ids) > self._limit:
            raise ItemError(
                f"the prompt has {len(ids)} tokens, more than the {self._limit} the model takes "
                f"beside max_tokens={self.config.max_tokens}; give the promptor a smaller budget"
            )
        return list(ids)

    def _answer(self, prompt: Prompt, read: int, tokens: list[int], seconds: float) -> Answer:
        ends = self._model.generation_config.eos_token_id
        ended = set(ends if isinstance(ends, list) else [ends])
        cut = next((n for n, token in enumerate(tokens) if token in ended), None)
        said = tokens if cut is None else tokens[:cut]
        text = self._tokenizer.decode(said, skip_special_tokens=True)
        reason = "length" if cut is None else "stop"
        stops = [self.config.stop] if isinstance(self.config.stop, str) else self.config.stop or []
        found = [place for place in (text.find(stop) for stop in stops) if place >= 0]
        if found:
            text, reason = text[: min(found)], "stop"
        return Answer(
            text=text.strip(),
            query=prompt.query,
            prompt=prompt,
            passages=prompt.passages,
            model=self.config.model,
            usage=Usage(input_tokens=read, output_tokens=len(said) + (cut is not None)),
            finish_reason=reason,
            latency=seconds,
        )
