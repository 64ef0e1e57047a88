"""The release is built from the winner and evaluated once on test: the float model, and the folder as it is served."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from asr import hardware, terminal
from asr.corpus.audio import RATE
from asr.corpus.shards import SpeechDataset
from asr.release import averaging, engine, examples, folder, gate, ggml
from asr.release.record import base_record, initial_record, known_limits, model_limits, source_name
from asr.scoring import diagnostics, hotwords, intervals, rates, report, robustness
from asr.scoring.report import Evaluation
from asr.settings import Settings
from asr.training import decoding, models
from asr.training.batches import batches_by_length, evenly_spaced
from asr.training.dataset import ClipDataset, FeatureDataset

if TYPE_CHECKING:
    from datasets import Dataset

BATCH_CLIPS = 256  # in memory
WORST_CLIPS, MAX_AUDIO_BYTES = 9, 1_800_000  # for the card: base64 adds a third, and a card stays below 3 MB
LOAD_TEST_CLIPS = 3  # that each format has to transcribe
SAMPLED_CLIPS = 100  # for timestamps and robustness
FULL_CONTEXT_CLIPS = 50  # transcribed at 30 s of context as well, which takes ten times as long


def build_and_evaluate(
    target: Path, settings: Settings, winner: Path, corpus: SpeechDataset, space: dict[str, str],
    run: dict[str, Any], log: Callable[[str], None] = print,
) -> Evaluation:  # fmt: skip
    """Build the release from the winner, averaged with its base, and evaluate it on test.

    The report also has the fields of `report.build_retained_report` if the corpus has retained languages.

    Args:
        target: an empty folder for the release.
        settings: the profile.
        winner: the folder of the winning trial's model.
        corpus: the clips.
        space: the Space's files, name to text.
        run: `record.run_record`; becomes part of the release's record and model card.
        log: prints a line of progress.
    """
    test, baseline = corpus.split("test"), None
    base, retained = settings.model.base, corpus.retained("test")
    base_context = base_record(base).get("context", "full") if base else ""  # a published Whisper needs 30 s
    if base:
        log("the base transcribes the test clips")
        baseline = _transcribe(base, settings, test, base_context, log, exact=False)
    limits = model_limits(settings, ClipDataset(corpus.split("train")))
    with tempfile.TemporaryDirectory() as scratch:
        model, average_fields = averaging.choose_average(winner, settings, corpus, Path(scratch), log)
        evaluation = evaluate_model(
            target, settings, model, test, space, baseline, limits, log, corpus.split("validation")
        )
        evaluation.report.update(average_fields, speakers_crossing=run["speakers_crossing"])
        if base and retained:
            log(f"both transcribe the retained languages: {', '.join(retained)}")
            base_errors = _score_retained(base, settings, retained, base_context, log)
            model_errors = _score_retained(model, settings, retained, evaluation.report["context"], log)
            speakers = {
                language: [clips["speaker"][index] for index in decoding.choose_retained_clips(clips)]
                for language, clips in retained.items()
            }
            evaluation.report.update(report.build_retained_report(model_errors, base_errors, speakers))
    faults = gate.failures(gate.run_checks(evaluation.report, settings.release))
    folder.write_json(target / folder.COUNTS, gate.error_counts(evaluation.scores, settings.text.scoring))
    licences = [run["licences"][source_name(source, settings)] for source in test["source"]]
    record = {
        **run,
        **limits,
        "examples": examples.write_examples(target, ClipDataset(test), licences),
        **evaluation.report,
        "wer_by_source": {source_name(name, settings): wer for name, wer in evaluation.report["wer_by_source"].items()},
        "faults": faults,
    }
    folder.write_description(target, record)
    return evaluation


def evaluate_model(
    target: Path, settings: Settings, source: str | Path, test: Dataset, space: dict[str, str],
    baseline: Sequence[str] | None = None, limits: Mapping[str, float] | None = None,
    log: Callable[[str], None] = print, validation: Dataset | None = None,
) -> Evaluation:  # fmt: skip
    """Build a release from a model and evaluate it on the test clips, in float weights and as served.

    One model is in memory at a time.

    Args:
        target: an empty folder for the release.
        settings: the profile.
        source: the model's folder or Hub id.
        test: the clips.
        space: the Space's files, name to text.
        baseline: the base model's transcripts of the clips, if there is a base.
        limits: `record.model_limits`; by default from the model's own record.
        log: prints a line of progress.
        validation: clips on which to choose the context; by default the test clips.
    """
    language, half = settings.corpus.language, settings.release.weights == "fp16"
    log("building the release")
    folder.build_release(target, source, language, half)
    model_limits = known_limits(source) if limits is None else dict(limits)
    folder.write_json(target / folder.RECORD, initial_record(language, model_limits))
    formats = _build_formats(target, settings, log)
    transcriber_module = engine.load_engine(space)
    context = _choose_context(transcriber_module.Transcriber(target), ClipDataset(validation or test), settings)
    log("the model transcribes the test clips")
    hypotheses = {"hypothesis": _transcribe(source, settings, test, context["context"], log)}
    sounds = ClipDataset(test)
    load_clips = evenly_spaced(len(sounds), LOAD_TEST_CLIPS)
    load_problems = folder.check_formats(
        target, [sounds.sound(clip) for clip in load_clips], [hypotheses["hypothesis"][clip] for clip in load_clips],
        language, _min_frames(context["context"]),
    )  # fmt: skip
    log("and as served")
    transcriber = transcriber_module.Transcriber(target)
    transcriber.context = context["context"]
    served = _transcribe_served(transcriber, sounds, log)
    hypotheses["served"] = served.texts
    if baseline is not None:
        hypotheses["baseline"] = list(baseline)
    clips = pd.DataFrame({name: test[name][:] for name in ("clip", "source", "speaker", "seconds")})
    clips = clips.assign(decibels=served.decibels, sound=served.hashes, reference=sounds.texts)
    table = report.score_clips(clips, hypotheses, settings)
    log("and with noise and in a room")
    seconds = sum(sounds.seconds)
    fields = {
        **report.build_report(table, settings),
        **context,
        **_run_diagnostics(transcriber, sounds, served.texts, settings),
        **_score_hotwords(transcriber, transcriber_module, sounds, served.texts, settings, log),
        **_score_whisper_cpp(target, sounds, settings, log),
        "loads": load_problems,
        "formats": formats,
        "vocabulary": folder.vocabulary_size(target),
        "parameters": folder.count_parameters(target),
        "test_hours": seconds / 3600,
        "real_time_factor": served.seconds / seconds,
        "threads": hardware.cores(),
    }
    return Evaluation(table, fields, report.build_breakdown(table), _worst_audio(test, table))


def score_published_model(
    source: str | Path, settings: Settings, test: Dataset, space: dict[str, str], log: Callable[[str], None]
) -> list[int]:
    """The word errors of another model in each test clip, as served."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch)
        folder.build_release(target, source, settings.corpus.language)
        record = initial_record(settings.corpus.language, known_limits(source))
        folder.write_json(target / folder.RECORD, record)
        sounds = ClipDataset(test)
        texts = _transcribe_served(engine.load_engine(space).Transcriber(target), sounds, log).texts
    errors = rates.count_errors(sounds.texts, texts, settings.text.scoring, settings.corpus.language)
    return [clip.word_errors for clip in errors]


def _transcribe(
    source: str | Path, settings: Settings, dataset: Dataset, context: str, log: Callable[[str], None],
    exact: bool = True,
) -> list[str]:  # fmt: skip
    """A model's transcripts, in float weights if they have to be exact."""
    model, processor = models.load(source)
    models.set_language(model, processor, settings.corpus.language)
    clips = FeatureDataset(dataset, processor, room=0)
    return decoding.transcribe_clips(model, processor, clips, range(len(dataset)), log, _min_frames(context), exact)


def _score_retained(
    source: str | Path, settings: Settings, datasets: Mapping[str, Dataset], context: str, log: Callable[[str], None]
) -> dict[str, list[rates.ErrorCounts]]:
    """A model's errors in the retained languages."""
    model, processor = models.load(source)
    clips = {language: FeatureDataset(dataset, processor, room=0) for language, dataset in datasets.items()}
    return decoding.errors_by_language(model, processor, clips, settings, log, _min_frames(context))


def _min_frames(context: str) -> int:
    """The smallest number of encoder frames in that context."""
    return models.WINDOW_FRAMES if context == "full" else 0


def _worst_audio(test: Dataset, table: pd.DataFrame) -> dict[str, bytes]:
    """The audio of the worst clips, as many as fit on a card."""
    audio, bytes_left = dict[str, bytes](), MAX_AUDIO_BYTES
    for row in report.worst_clips(table, WORST_CLIPS):
        clip = test[row]
        flac = clip["audio"]["bytes"]
        if len(flac) <= bytes_left:
            audio[clip["clip"]], bytes_left = flac, bytes_left - len(flac)
    return audio


@dataclass(frozen=True)
class _ServedResult:
    texts: list[str]
    decibels: list[float]  # signal-to-noise ratio
    hashes: list[str]  # of the audio
    seconds: float  # of transcribing


def _transcribe_served(
    transcriber: Any, sounds: ClipDataset, log: Callable[[str], None], **options: Any
) -> _ServedResult:
    """The served engine's transcripts of all clips, in batches; `options` go to the engine."""
    count = len(sounds)
    texts, decibels, hashes, seconds = [""] * count, [0.0] * count, [""] * count, 0.0
    for batch in terminal.with_progress(batches_by_length(sounds, range(count), BATCH_CLIPS), count, log):
        audio = [sounds.sound(clip) for clip in batch]
        start = time.perf_counter()
        results = transcriber.transcribe_batch(audio, **options)
        seconds += time.perf_counter() - start
        for clip, text, samples in zip(batch, results, audio, strict=True):
            texts[clip], decibels[clip] = text, diagnostics.estimate_snr(samples)
            hashes[clip] = hashlib.sha256(samples.tobytes()).hexdigest()[:16]
    return _ServedResult(texts, decibels, hashes, seconds)


def _choose_context(transcriber: Any, sounds: ClipDataset, settings: Settings) -> dict[str, Any]:
    """The context to serve at: "trimmed", unless it is significantly worse than "full" on some clips.

    A base that was always padded to 30 s may not handle shorter input.
    """
    clips = evenly_spaced(len(sounds), FULL_CONTEXT_CLIPS)
    audio, references = [sounds.sound(clip) for clip in clips], [sounds.texts[clip] for clip in clips]
    wrong = {}
    for context in ("full", "trimmed"):
        transcriber.context = context
        hypotheses = transcriber.transcribe_batch(audio)
        errors = rates.count_errors(references, hypotheses, settings.text.scoring, settings.corpus.language)
        wrong[context] = [clip.word_errors for clip in errors]
    words, speakers = [clip.words for clip in errors], [sounds.speakers[clip] for clip in clips]
    comparison = intervals.compare_models(wrong["trimmed"], wrong["full"], words, speakers)
    is_worse = comparison.difference > 0 and comparison.p < intervals.SIGNIFICANCE
    return {
        "context": "full" if is_worse else "trimmed",
        "trimmed_context_wer": rates.error_rate(sum(wrong["trimmed"]), sum(words)),
        "full_context_wer": rates.error_rate(sum(wrong["full"]), sum(words)),
        "full_context_p": comparison.p,
        "context_clips": len(clips),
    }


def _score_hotwords(
    transcriber: Any, transcriber_module: Any, sounds: ClipDataset, served: Sequence[str], settings: Settings,
    log: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Recall of the profile's hotwords with and without a hint; empty without hotwords."""
    if not settings.text.hotwords:
        return {}
    log("and once more with the hotwords as a hint")
    options = transcriber_module.DecodingOptions(hotwords=tuple(settings.text.hotwords))
    hinted = _transcribe_served(transcriber, sounds, log, options=options).texts
    return hotwords.score_hotwords(sounds.texts, served, hinted, sounds.speakers, settings)


def _build_formats(target: Path, settings: Settings, log: Callable[[str], None]) -> list[str]:
    """Build the formats that the profile lists in addition to the served format; returns all formats of the release."""
    formats = [folder.SERVED]
    if ggml.FOLDER in settings.release.formats:
        if reason := ggml.unsupported_reason(folder.vocabulary_size(target)):
            log(reason)
        else:
            ggml.write_models(target)
            formats.append(ggml.FOLDER)
    return formats


def _score_whisper_cpp(
    target: Path, sounds: ClipDataset, settings: Settings, log: Callable[[str], None]
) -> dict[str, Any]:
    """WERs in whisper.cpp, padded to 30 s; empty if the release is not built for it or does not load."""
    if not (kinds := ggml.list_kinds(target)):
        return {}
    clips, fields = evenly_spaced(len(sounds), FULL_CONTEXT_CLIPS), dict[str, Any]()
    audio, references = [sounds.sound(clip) for clip in clips], [sounds.texts[clip] for clip in clips]
    for kind in kinds:
        log(f"and in whisper.cpp, {kind}")
        try:
            hypotheses = ggml.transcribe(target, kind, audio, settings.corpus.language)
        except RuntimeError:  # the gate reports it
            continue
        errors = rates.count_errors(references, hypotheses, settings.text.scoring, settings.corpus.language)
        wrong, words = [clip.word_errors for clip in errors], [clip.words for clip in errors]
        interval = intervals.confidence_interval(wrong, words, [sounds.speakers[clip] for clip in clips])
        fields.setdefault("ggml_wer", {})[kind] = rates.wer(errors)
        fields.setdefault("ggml_wer_ci", {})[kind] = interval.low, interval.high
    return {**fields, "ggml_clips": len(clips)} if fields else {}


def _run_diagnostics(
    transcriber: Any, sounds: ClipDataset, served: Sequence[str], settings: Settings
) -> dict[str, Any]:
    """What the WER does not show: hallucinations, timestamp errors, and the WER with noise and reverberation."""
    probes = diagnostics.non_speech_probes()
    probe_seconds = sum(map(len, probes)) / RATE
    hallucinated = diagnostics.hallucinated_words_per_minute(transcriber.transcribe_batch(probes), probe_seconds)
    timed, errors = [clip for clip in range(len(sounds)) if sounds.segments(clip)], list[float]()
    for clip in (timed[index] for index in evenly_spaced(len(timed), SAMPLED_CLIPS)):
        predicted = [(segment.start, segment.end) for segment in transcriber.transcribe(sounds.sound(clip)).segments]
        reference = [(segment.start, segment.end) for segment in sounds.segments(clip)]
        errors += diagnostics.timestamp_errors(reference, predicted)
    clips = evenly_spaced(len(sounds), SAMPLED_CLIPS)
    audio, speakers = [sounds.sound(clip) for clip in clips], [sounds.speakers[clip] for clip in clips]
    references, hypotheses = ([texts[clip] for clip in clips] for texts in (sounds.texts, served))
    return {
        "invented_words_per_minute": hallucinated,
        "timestamp_error": float(np.median(errors)) if errors else None,
        **robustness.measure_robustness(
            transcriber.transcribe_batch, audio, references, hypotheses, speakers, settings
        ),
    }
