"""The winner made into a release, and scored once on test: the float model, and the folder as it will be served."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from asr import compute, story
from asr.corpus.audio import RATE
from asr.corpus.shards import SpeechDataset
from asr.release import averaging, engine, examples, folder, gate, ggml
from asr.scoring import diagnostics, hotwords, intervals, rates, report, robustness
from asr.scoring.report import Evaluation
from asr.settings import Settings
from asr.training import hearing, models
from asr.training.batches import by_length, evenly
from asr.training.examples import Clips, Sounds
from asr.training.search import Outcome

if TYPE_CHECKING:
    from datasets import Dataset

AT_ONCE = 256  # sounds in memory
WORST, SOUND_BYTES = 9, 1_800_000  # of the worst clips to hear: base64 takes a third more, and a card stays below 3 MB
LOADED = 3  # clips that each format is to hear before it counts
LICENCES = {"sample": "CC0-1.0", "common_voice": "CC0-1.0"}  # of the kinds of sources that have one
COMPARED = 100  # clips that are heard once more for their times, or under noise, or whose loudness is looked at
AT_30_SECONDS = 50  # clips that are heard once more at 30 s of context: ten times the work of their own length


def facts(
    settings: Settings, run_id: str, created: str, code_version: str, corpus: dict[str, Any], board: pd.DataFrame,
    winner: Outcome, hardware: tuple[str, int],
) -> dict[str, Any]:  # fmt: skip
    """What a release tells of the run that made it, as JSON holds it."""
    release = settings.release
    return {
        "format": models.FORMATS[-1],
        "name": settings.name,
        "run_id": run_id,
        "created": created,
        "program": f"whisper-flow {code_version}",
        "language": settings.corpus.language,
        "scoring": settings.text.scoring,
        "base": settings.model.base,
        "license": release.license,
        "repo_id": release.repo_id,
        "hours": corpus["hours"],
        "split_hours": corpus["split_hours"],
        "clips_of": corpus["clips"],
        "corpus_speakers": corpus["speakers"],
        "speakers_crossing": corpus["speakers_crossing"],
        "sources": {shown(name, settings): hours for name, hours in corpus["sources"].items()},
        "retained_sources": {shown(name, settings): language for name, language in settings.corpus.retained.items()},
        "licences": {shown(source.called, settings): source.licence or LICENCES.get(source.source, "not stated")
                     for source in settings.corpus.mixed},
        "fingerprint": corpus["fingerprint"],
        "trials": len(board),
        "steps": winner.steps,
        "hyperparameters": {
            "learning_rate": winner.trial.learning_rate, "weight_decay": winner.trial.weight_decay,
            **dict(winner.trial.others),
        },
        "leaderboard": json.loads(board.to_json(orient="records", double_precision=12)),
        "curve": [asdict(point) for point in winner.curve],
        "training_seconds": float(board["seconds"].sum()),
        "hardware": hardware[0],
        "watts": hardware[1],
        "forced": [],
    }  # fmt: skip


def taught(settings: Settings, train: Sounds) -> dict[str, float]:
    """What a model that began from nothing knows alone, and the engine therefore keeps to.

    `longest_seconds` that it can hear at once: those of its longest training clip. 60 joined clips of the sample were
    heard with a WER of 28 % in windows of 30 s, and of 6 % in windows of 5 s. `peak`, of full scale: the loudness of
    its training clips, in the middle. The sample's were heard with 48 % at a tenth of it, and with 5 % at any once they
    were brought to it. A published Whisper, and what is fine-tuned from one, knows all of that; a release keeps to what
    the one it was fine-tuned from did.
    """
    base = settings.model.base
    known = _known(base) if base else {}
    if base and not known:
        return {}
    some = evenly(len(train), COMPARED)
    peaks = [float(np.abs(train.sound(clip)).max()) for clip in some]
    told = {"peak": round(float(np.median(peaks)), 3)}
    if settings.training.context != "packed":
        own = max(train.seconds) + settings.training.quiet_seconds
        told["longest_seconds"] = max(own, known.get("longest_seconds", 0.0))
    return told


def _known(source: str | Path) -> dict[str, float]:
    """What a release's record tells of it."""
    told = _record(source)
    return {name: told[name] for name in ("peak", "longest_seconds") if told.get(name)}


def _record(source: str | Path) -> dict[str, Any]:
    """A release's record; empty where the model is no release of ours."""
    record = Path(source, folder.RECORD)
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}


def _first(language: str, known: Mapping[str, float]) -> dict[str, Any]:
    """What the engine needs of the record before there is anything to tell."""
    return {"format": models.FORMATS[-1], "language": language, **known}


def make(
    ready: Path, settings: Settings, winner: Path, corpus: SpeechDataset, space: dict[str, str], about: dict[str, Any],
    say: Callable[[str], None] = print,
) -> Evaluation:  # fmt: skip
    """Build the release in `ready` from the winner's folder, averaged with its base, and examine it.

    What it tells `about` itself goes into its record and card. The report gains what `report.retained` tells where the
    corpus has languages that are not to be forgotten.
    """
    speech, baseline = corpus.split("test"), None
    base, retained = settings.model.base, corpus.retained("test")
    # At the length it knows: an untouched whisper-base hears digits with 25 % at 30 s and 124 % at their own.
    known_context = _record(base).get("context", "full") if base else ""
    if base:
        say("the base hears the test clips")
        baseline = _heard(base, settings, speech, known_context, say, exact=False)
    known = taught(settings, Sounds(corpus.split("train")))
    with tempfile.TemporaryDirectory() as scratch:
        model, averaged = averaging.release(winner, settings, corpus, Path(scratch), say)
        exam = examine(ready, settings, model, speech, space, baseline, known, say, corpus.split("validation"))
        exam.report.update(averaged, speakers_crossing=about["speakers_crossing"])
        if base and retained:
            say(f"both hear what is not to be forgotten: {', '.join(retained)}")
            theirs = _retained(base, settings, retained, known_context, say)
            ours = _retained(model, settings, retained, exam.report["context"], say)
            speakers = {
                language: [clips["speaker"][at] for at in hearing.some(clips)] for language, clips in retained.items()
            }
            exam.report.update(report.build_retained_report(ours, theirs, speakers))
    faults = gate.faults(gate.checks(exam.report, settings.release))
    folder.write(ready / folder.COUNTS, gate.counts(exam.scores, settings.text.scoring))
    by_source = {shown(name, settings): wer for name, wer in exam.report["wer_by_source"].items()}
    licences = [about["licences"][shown(source, settings)] for source in speech["source"]]
    carried = {"examples": examples.add(ready, Sounds(speech), licences)}
    folder.describe(ready, {**about, **known, **carried, **exam.report, "wer_by_source": by_source, "faults": faults})
    return exam


def shown(name: str, settings: Settings) -> str:
    """A source's name as strangers know it: its id, where it is a data set of the Hub without a name of its own."""
    of = next(source for source in settings.corpus.mixed if source.called == name)
    return of.id if of.source == "hub" and of.id and not of.name and not Path(of.id).is_absolute() else name


def examine(
    ready: Path, settings: Settings, source: str | Path, speech: Dataset, space: dict[str, str],
    baseline: Sequence[str] | None = None, known: Mapping[str, float] | None = None,
    say: Callable[[str], None] = print, validation: Dataset | None = None,
) -> Evaluation:  # fmt: skip
    """Score the model of `source`, a folder or a Hub id, on the clips of `speech`, and as served: a release in `ready`.

    `baseline` is what its base heard in them, `known` what `taught` tells of it, by default what its own record does.
    The context that it is heard and served at is chosen on `validation` where there is such. There is one model in
    memory at a time.
    """
    language, half = settings.corpus.language, settings.release.weights == "fp16"
    say("the release is built")
    folder.build(ready, source, language, half)
    folder.write(ready / folder.RECORD, _first(language, _known(source) if known is None else known))
    formats = _formats(ready, settings, say)
    served_by = engine.load(space)
    context = _context(served_by.Transcriber(ready), Sounds(validation or speech), settings)
    say("the model hears the test clips")
    heard = {"heard": _heard(source, settings, speech, context["context"], say)}
    test = Sounds(speech)
    some = evenly(len(test), LOADED)
    told_of = [heard["heard"][at] for at in some]
    loads = folder.faults(ready, [test.sound(at) for at in some], told_of, language, _frames(context["context"]))
    say("and as it is served")
    transcriber = served_by.Transcriber(ready)
    transcriber.context = context["context"]
    served = _served(transcriber, test, say)
    heard["served"] = served.texts
    if baseline is not None:
        heard["baseline"] = list(baseline)
    said = pd.DataFrame({name: speech[name][:] for name in ("clip", "source", "speaker", "seconds")})
    said = said.assign(decibels=served.decibels, sound=served.hashes, reference=test.texts)
    table = report.score_clips(said, heard, settings)
    say("and under noise and in a room")
    seconds = sum(test.seconds)
    told = {
        **report.build_report(table, settings),
        **context,
        **_beside(transcriber, test, served.texts, settings),
        **_hinted(transcriber, served_by, test, served.texts, settings, say),
        **_by_whisper_cpp(ready, test, settings, say),
        "loads": loads,
        "formats": formats,
        "vocabulary": folder.vocabulary(ready),
        "parameters": folder.parameters(ready),
        "test_hours": seconds / 3600,
        "real_time_factor": served.took / seconds,
        "threads": compute.cores(),
    }
    return Evaluation(table, told, report.build_breakdown(table), _sounds(speech, table))


def rival(
    source: str | Path, settings: Settings, speech: Dataset, space: dict[str, str], say: Callable[[str], None]
) -> list[int]:
    """The words that another model, made a release for it, gets wrong in each test clip as served."""
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch)
        folder.build(ready, source, settings.corpus.language)
        folder.write(ready / folder.RECORD, _first(settings.corpus.language, _known(source)))
        test = Sounds(speech)
        texts = _served(engine.load(space).Transcriber(ready), test, say).texts
    errors = rates.count_errors(test.texts, texts, settings.text.scoring, settings.corpus.language)
    return [one.word_errors for one in errors]


def _heard(
    source: str | Path, settings: Settings, speech: Dataset, context: str, say: Callable[[str], None],
    exact: bool = True,
) -> list[str]:  # fmt: skip
    """What a model hears, in floats unless it need not be exact."""
    model, processor = models.load(source)
    models.speak(model, processor, settings.corpus.language)
    clips = Clips(speech, processor, room=0)
    return hearing.transcripts(model, processor, clips, range(len(speech)), say, _frames(context), exact)


def _retained(
    source: str | Path, settings: Settings, speech: Mapping[str, Dataset], context: str, say: Callable[[str], None]
) -> dict[str, list[rates.ErrorCounts]]:
    """What a model gets wrong in the languages that are not to be forgotten."""
    model, processor = models.load(source)
    clips = {language: Clips(dataset, processor, room=0) for language, dataset in speech.items()}
    return hearing.by_language(model, processor, clips, settings, say, _frames(context))


def _frames(context: str) -> int:
    """At least so many are heard in that context."""
    return models.WINDOW_FRAMES if context == "full" else 0


def _sounds(speech: Dataset, table: pd.DataFrame) -> dict[str, bytes]:
    """The worst clips to hear, as many as a card holds."""
    sounds, room = dict[str, bytes](), SOUND_BYTES
    for row in report.worst_clips(table, WORST):
        clip = speech[row]
        flac = clip["audio"]["bytes"]
        if len(flac) <= room:
            sounds[clip["clip"]], room = flac, room - len(flac)
    return sounds


@dataclass(frozen=True)
class _Served:
    texts: list[str]
    decibels: list[float]  # of speech over noise
    hashes: list[str]  # of the sounds
    took: float  # seconds to write the texts


def _served(transcriber: Any, test: Sounds, say: Callable[[str], None], **asked: Any) -> _Served:
    """What is heard in all clips as served, so many at once as memory holds; `asked` is the engine's decoding."""
    texts, decibels, hashes, took = [""] * len(test), [0.0] * len(test), [""] * len(test), 0.0
    for batch in story.told(by_length(test, range(len(test)), AT_ONCE), len(test), say):
        sounds = [test.sound(clip) for clip in batch]
        began = time.perf_counter()
        found = transcriber.transcribe_batch(sounds, **asked)
        took += time.perf_counter() - began
        for clip, text, sound in zip(batch, found, sounds, strict=True):
            texts[clip], decibels[clip] = text, diagnostics.estimate_snr(sound)
            hashes[clip] = hashlib.sha256(sound.tobytes()).hexdigest()[:16]
    return _Served(texts, decibels, hashes, took)


def _context(transcriber: Any, test: Sounds, settings: Settings) -> dict[str, Any]:
    """The context to serve at, "trimmed" unless it loses by more than chance in some clips heard at their own length
    and at 30 s: a base that was always fed 30 s may not know short ones."""
    some = evenly(len(test), AT_30_SECONDS)
    sounds, said = [test.sound(clip) for clip in some], [test.texts[clip] for clip in some]
    wrong = {}
    for context in ("full", "trimmed"):
        transcriber.context = context
        errors = rates.count_errors(
            said, transcriber.transcribe_batch(sounds), settings.text.scoring, settings.corpus.language
        )
        wrong[context] = [one.word_errors for one in errors]
    words, speakers = [one.words for one in errors], [test.speakers[clip] for clip in some]
    found = intervals.compare_models(wrong["trimmed"], wrong["full"], words, speakers)
    loses = found.difference > 0 and found.p < intervals.SIGNIFICANCE
    return {
        "context": "full" if loses else "trimmed",
        "trimmed_context_wer": rates.error_rate(sum(wrong["trimmed"]), sum(words)),
        "full_context_wer": rates.error_rate(sum(wrong["full"]), sum(words)),
        "full_context_p": found.p,
        "context_clips": len(some),
    }


def _hinted(
    transcriber: Any, served_by: Any, test: Sounds, served: Sequence[str], settings: Settings,
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """How the profile's hotwords are heard, and how with the engine told of them; nothing without any."""
    if not settings.text.hotwords:
        return {}
    say("and once more with the hotwords as a hint")
    texts = _served(transcriber, test, say, decoding=served_by.Decoding(hotwords=tuple(settings.text.hotwords))).texts
    return hotwords.score_hotwords(test.texts, served, texts, test.speakers, settings)


def _formats(ready: Path, settings: Settings, say: Callable[[str], None]) -> list[str]:
    """Build the formats that the profile asks for beside the one that serves; those that there are."""
    made = [folder.SERVED]
    if ggml.FOLDER in settings.release.formats:
        if why := ggml.unfit(folder.vocabulary(ready)):
            say(why)
        else:
            ggml.build(ready)
            made.append(ggml.FOLDER)
    return made


def _by_whisper_cpp(ready: Path, test: Sounds, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """How the release is heard by whisper.cpp, at 30 s, in as many clips as that length is measured on; nothing where
    it is not built for it or, which the gate tells, does not load."""
    if not (kinds := ggml.built(ready)):
        return {}
    some, told = evenly(len(test), AT_30_SECONDS), dict[str, Any]()
    sounds, said = [test.sound(clip) for clip in some], [test.texts[clip] for clip in some]
    for kind in kinds:
        say(f"and by whisper.cpp, in {kind}")
        try:
            heard = ggml.listen(ready, kind, sounds, settings.corpus.language)
        except RuntimeError:
            continue
        errors = rates.count_errors(said, heard, settings.text.scoring, settings.corpus.language)
        wrong, words = [one.word_errors for one in errors], [one.words for one in errors]
        found = intervals.confidence_interval(wrong, words, [test.speakers[clip] for clip in some])
        told.setdefault("ggml_wer", {})[kind] = rates.wer(errors)
        told.setdefault("ggml_wer_ci", {})[kind] = found.low, found.high
    return {**told, "ggml_clips": len(some)} if told else {}


def _beside(transcriber: Any, test: Sounds, served: Sequence[str], settings: Settings) -> dict[str, Any]:
    """What a WER of the clips as they are does not tell of the release: what it hears where nobody speaks, how far its
    times are off, and what noise and rooms cost."""
    probes = diagnostics.non_speech_probes()
    invented = diagnostics.hallucinated_words_per_minute(
        transcriber.transcribe_batch(probes), sum(map(len, probes)) / RATE
    )
    timed, off = [clip for clip in range(len(test)) if test.segments(clip)], list[float]()
    for clip in (timed[at] for at in evenly(len(timed), COMPARED)):
        told = [(one.start, one.end) for one in transcriber.transcribe(test.sound(clip)).segments]
        off += diagnostics.timestamp_errors([(one.start, one.end) for one in test.segments(clip)], told)
    some = evenly(len(test), COMPARED)
    sounds, speakers = [test.sound(clip) for clip in some], [test.speakers[clip] for clip in some]
    said, heard = ([texts[clip] for clip in some] for texts in (test.texts, served))
    return {
        "invented_words_per_minute": invented,
        "timestamp_error": float(np.median(off)) if off else None,
        **robustness.measure_robustness(transcriber.transcribe_batch, sounds, said, heard, speakers, settings),
    }
