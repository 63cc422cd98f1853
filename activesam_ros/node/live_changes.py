"""What changes while frames are segmented: live parameters and the vocabulary.

A request for live parameters comes through LiveParameters, which checks it, to
:meth:`LiveChanges.apply_parameters`. If the new values affect segmenters, new segmenters are made
on the same network and prompts. A request for a vocabulary compiles and warms up its prompts
while frames are segmented with the one in use.

Both end in FrameProcessor.change, between two batches of frames. A change that fails changes
nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from activesam_ros.errors import UsageError
from activesam_ros.node.budget.out_of_memory import is_out_of_memory
from activesam_ros.node.dropped_frames import FrameReporter
from activesam_ros.node.engine import CompiledVocabulary, Engine, release_memory, warm_up
from activesam_ros.node.frame_processor import FrameProcessor, VocabularyInUse
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.ros.camera import Camera
from activesam_ros.prompts.vocabulary import Vocabulary, keep_ids, vocabulary_from_names
from activesam_ros.prompts.vocabulary_files import load_offered_vocabulary
from activesam_ros.sam3.tokenizer import Tokenizer

T = TypeVar("T")

# Of one request: far more than a vocabulary has, and few enough to be compiled in minutes.
MAX_REQUESTED_NAMES = 10_000
MAX_REQUESTED_CHARACTERS = 1_000_000


class LiveChanges:
    """Applies live parameters and swaps vocabularies; safe to use from any thread."""

    def __init__(
        self,
        engine: Engine,
        processor: FrameProcessor,
        cameras: Mapping[str, Camera],
        reporter: FrameReporter,
        tokenizer: Tokenizer,
    ) -> None:
        """``tokenizer`` checks requested vocabularies."""
        self._engine = engine
        self._processor = processor
        self._cameras = cameras
        self._reporter = reporter
        self._tokenizer = tokenizer
        self._swapping = threading.Lock()
        self._closed = threading.Event()

    def apply_parameters(self, parameters: NodeParameters) -> None:
        """Use other live parameters from the next frame on.

        Active sets of streaming stay. Cameras take ``enabled`` and their rate limits at once.
        Raises an ActiveSamError when the parameters cannot be used or memory runs out.
        """

        def apply() -> None:
            with self._swapping:
                self._refuse_when_closed()
                in_use = self._processor.in_use
                compiled = self._with_parameters(in_use, parameters)
                self._processor.change(replace(in_use, compiled=compiled, parameters=parameters))
                for source in parameters.inputs:
                    self._cameras[source.name].apply(source, parameters.options)

        _refuse_without_memory(apply)

    def swap_vocabulary(self, preset: str, names: Sequence[str]) -> tuple[VocabularyInUse, int]:
        """Compile another vocabulary, warm it up and use it from the next frame on.

        Returns what is in use now and the stamp from which on it holds [ns]; see
        FrameProcessor.change. Raises an ActiveSamError when the request cannot be used, memory runs
        out, or the session closes.
        """

        def swap() -> tuple[VocabularyInUse, int]:
            before = self._processor.in_use
            vocabulary = requested_vocabulary(
                preset,
                names,
                before.compiled.vocabulary,
                self._tokenizer,
                before.parameters.options.vocabulary_folders,
            )
            compiled = self._engine.compile_for_swap(
                vocabulary, before.parameters, self._refuse_when_closed
            )
            self._warm_up(compiled, before.parameters)
            with self._swapping:
                now = self._processor.in_use
                # Parameters may have changed while the vocabulary was compiled.
                if _segmenter_parameters(now.parameters) != _segmenter_parameters(
                    before.parameters
                ):
                    compiled = self._engine.with_parameters(compiled, now.parameters)
                    self._warm_up(compiled, now.parameters)
                self._refuse_when_closed()
                in_use = replace(now, compiled=compiled, version=now.version + 1)
                return in_use, self._processor.change(in_use)

        return _refuse_without_memory(swap)

    def refuse(self) -> None:
        """Refuse changes from here on; what warms up ends after its pass."""
        self._closed.set()

    def close(self) -> None:
        """Refuse changes from here on; returns when a swap that has begun is done."""
        self.refuse()
        with self._swapping:
            pass

    def _with_parameters(
        self, in_use: VocabularyInUse, parameters: NodeParameters
    ) -> CompiledVocabulary:
        """The vocabulary in use with other parameters, warmed up where a latency budget begins."""
        if _segmenter_parameters(parameters) == _segmenter_parameters(in_use.parameters):
            return in_use.compiled
        compiled = self._engine.with_parameters(in_use.compiled, parameters)
        if parameters.options.max_latency_ms > 0 >= in_use.parameters.options.max_latency_ms:
            self._warm_up(compiled, parameters)
        return compiled

    def _warm_up(self, compiled: CompiledVocabulary, parameters: NodeParameters) -> None:
        """Warm up what is to be used next, while frames are segmented with what is in use.

        Without memory for both, the vocabulary is used without warm-up and the log says so.
        """
        if not parameters.options.warm_up:
            return
        try:
            warm_up(compiled, parameters, self._refuse_when_closed)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            text = str(error)
        else:
            return
        release_memory()  # after the error, whose traceback keeps tensors alive
        self._reporter.warn(
            f"There is not enough memory to warm up the vocabulary {compiled.vocabulary.name} "
            f"beside the one in use: {text} It is used all the same; its first images may take "
            "longer."
        )

    def _refuse_when_closed(self) -> None:
        if self._closed.is_set():
            raise UsageError(
                "The node was cleaned up or shut down before this was ready; nothing has changed."
            )


def _refuse_without_memory(change: Callable[[], T]) -> T:
    """What ``change`` returns; raises UsageError and frees memory where it runs out of it."""
    try:
        return change()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        text = str(error)
    release_memory()  # after the error, whose traceback keeps tensors alive
    raise UsageError(
        f"There is not enough memory: {text} Nothing has changed; free memory on the device or "
        "ask for less."
    )


def _segmenter_parameters(parameters: NodeParameters) -> tuple[object, ...]:
    """The parameters that segmenters are made from; the others need no new ones."""
    options = parameters.options
    return (
        parameters.settings,
        options.max_latency_ms > 0,
        options.budget_preview_interval,
        options.budget_max_active,
    )


def requested_vocabulary(
    preset: str,
    names: Sequence[str],
    previous: Vocabulary,
    tokenizer: Tokenizer,
    folders: Sequence[str] = (),
) -> Vocabulary:
    """The vocabulary of a request; a class whose name is in ``previous`` keeps its id and colour.

    ``tokenizer`` checks the length of prompts. folders: below which the file of a preset must lie.

    Raises UsageError unless exactly one of preset and names is given, and for more than a request
    may have; VocabularyError when the vocabulary cannot be used.
    """
    if bool(preset) == bool(names):
        raise UsageError("The request must give either a preset or names, not both or neither.")
    count = sum(text.count(",") + 1 for text in names)
    if count > MAX_REQUESTED_NAMES:
        raise UsageError(
            f"The request has {count:,} names and aliases, more than the {MAX_REQUESTED_NAMES:,} "
            "allowed; give fewer."
        )
    characters = len(preset) + sum(map(len, names))
    if characters > MAX_REQUESTED_CHARACTERS:
        raise UsageError(
            f"The request has {characters:,} characters, more than the "
            f"{MAX_REQUESTED_CHARACTERS:,} allowed; give fewer or shorter names."
        )
    if preset:
        return keep_ids(load_offered_vocabulary(preset, folders, tokenizer), previous)
    return vocabulary_from_names(names, previous, tokenizer=tokenizer)
