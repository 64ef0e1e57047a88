"""The profile of an experiment: every knob, its unit and its default, checked once.

A profile is a TOML file that gives only what differs from the defaults below, which are the
sample's. `load` turns its text into frozen `Settings`, or refuses it in one line.
"""

from __future__ import annotations

import difflib
import os
import re
import reprlib
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from asr import Refused

MOST_BYTES = 1 << 18  # of a profile
LISTED_BYTES = 1 << 26  # of a file with a list of names
DEEPEST = 16  # tables within tables; `tomllib` takes hours for a key of a hundred thousand dots
MOST = 10**9  # that a number may be, where nothing below says less


def _not_beyond(number: float) -> float:
    if number > MOST:
        raise ValueError(f"{_shown(number)} is beyond {MOST:,}")
    return number


# Strict, so that "900" or true is not taken for a number.
Whole = Annotated[int, Field(ge=0, strict=True), AfterValidator(_not_beyond)]
Positive = Annotated[int, Field(gt=0, strict=True), AfterValidator(_not_beyond)]
Real = Annotated[float, Field(ge=0, strict=True), AfterValidator(_not_beyond)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]  # NumPy takes no larger one
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Yes = Annotated[bool, Field(strict=True)]
Rate = Annotated[float, Field(gt=0, lt=1, strict=True)]
Word = Annotated[str, Field(max_length=4_096, pattern=r"^[^\x00]*$")]  # a path has no more letters on Linux
Place = Annotated[Word, Field(min_length=1)]
Repo = Annotated[str, Field(pattern=r"^([\w.-]+/)?[\w.-]{1,96}$", max_length=200)]
Name = Annotated[str, AfterValidator(lambda name: unicodedata.normalize("NFC", name.strip()))]

# Whisper's codes; the last one came with large-v3.
LANGUAGES = frozenset(
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue".split()
)
MISTAKEN = {  # countries and names for languages
    "se": "sv", "dk": "da", "nb": "no", "cn": "zh", "jp": "ja", "kr": "ko", "gr": "el", "cz": "cs", "ua": "uk",
    "swe": "sv", "swedish": "sv", "english": "en", "german": "de", "danish": "da", "norwegian": "no", "finnish": "fi",
    "iw": "he",
}  # fmt: skip

Writing = Literal["unicode", "quotes", "dashes", "asides", "abbreviations", "numbers", "lower", "unpunctuated"]


def _language(code: str) -> str:
    if code not in LANGUAGES:
        likely = MISTAKEN.get(code.lower())
        raise ValueError(f"Whisper has no language {code!r}" + (f"; did you mean {likely}?" if likely else ""))
    return code


def _folder(place: Path) -> Path:
    if "\0" in str(place) or len(str(place)) > 4_096:
        raise ValueError(f"no folder can be called {str(place)[:80]!r}")
    return place


Language = Annotated[str, AfterValidator(_language)]  # Whisper's code for it


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Splits(Table):
    """What a source calls its splits."""

    train: Word | None = None
    validation: Word | None = None
    test: Word | None = None


class Columns(Table):
    """What a data set of the Hub calls its columns; those left out are found by their usual names."""

    audio: Word | None = None
    text: Word | None = None
    speaker: Word | None = None
    clip: Word | None = None  # a clip's own name


class Source(Table):
    """One place that speech comes from; KEYS says which of its keys go with which kind."""

    KEYS: ClassVar[dict[str, set[str]]] = {
        "sample": set(),
        "folder": {"path"},
        "common_voice": {"path", "id", "splits"},
        "hub": {"id", "config", "revision", "splits", "columns"},
    }

    source: Literal["sample", "folder", "common_voice", "hub"] = "sample"
    name: str | None = Field(None, pattern=r"^[^/\s\x00]+$", max_length=100)  # in every report; None: by its id or kind
    # Of its speech, for the model card; None: the kind's, where it has one. Where it is open (CC0, CC BY, CC BY-SA),
    # a release carries a few of its test clips
    licence: Word | None = None
    language: Language | None = None  # of its speech; None: the corpus'; else see flows/docs/training.md
    weight: Real = 1.0  # times an epoch that each of its training clips is drawn
    limit_clips: Positive | None = None  # the first so many of each split, to try a profile out
    limit_hours: Annotated[float, Field(gt=0, strict=True)] | None = None  # at most so many of each split
    path: Place | None = None  # a folder here or in a bucket (gs://); of common_voice, or its .tar.gz
    id: Place | None = None  # on the Hub, or a folder of Parquet; of common_voice, Mozilla Data Collective's
    config: Word | None = None
    revision: Word | None = None
    splits: Splits = Splits()
    columns: Columns = Columns()

    @model_validator(mode="after")
    def _keys_go_with_the_kind(self) -> Source:
        given = {key for key in Source.KEYS["hub"] | {"path"} if getattr(self, key) != Source.model_fields[key].default}
        for key in sorted(given - Source.KEYS[self.source]):
            kinds = " or ".join(f'"{kind}"' for kind, keys in Source.KEYS.items() if key in keys)
            raise ValueError(f"{key} goes with source = {kinds}, and only with it")
        needed = {"folder": ("path",), "common_voice": ("path", "id"), "hub": ("id",)}.get(self.source, ())
        if needed and len(given & set(needed)) != 1:
            raise ValueError(f'source = "{self.source}" needs {" or ".join(needed)}')
        return self

    @property
    def called(self) -> str:
        """The source's name in reports. A folder's place is no part of it: it may move."""
        known = self.id if self.id and not Path(self.id).is_absolute() else self.source
        return self.name or re.sub(r"[^\w.-]+", "-", known)


class Corpus(Source):
    """Where speech comes from, and which clips are fit to use; the others are set aside, each with its reason."""

    sources: Annotated[tuple[Source, ...], Field(max_length=1_000)] = ()  # several places, in the stead of one
    language: Language = "sv"  # that the model is tuned for
    min_seconds: Annotated[float, Field(ge=0.1, strict=True)] = 0.3
    max_seconds: Real = Field(30.0, gt=0, le=30)  # Whisper hears no more at once
    min_peak: Share = 0.001  # of full scale: a clip that stays below it is silent
    max_clipped: Share = 0.01  # of the samples: a clip with more of them at full scale was recorded too loud
    max_words_per_second: Annotated[float, Field(gt=0, strict=True)] = 8.0  # nobody speaks faster
    max_foreign_letters: Whole = 0  # see [text] alphabet
    duplicates_may_stay: Yes = False  # the same sound twice in a split; never in two
    speakers_may_cross: Yes = False  # from split to split; the report then says how many do
    exclude: tuple[Name, ...] | Place = ()  # speakers and clips to leave out for good, or a file with one a line
    shard_clips: Positive = Field(500, le=1_000_000)

    @model_validator(mode="after")
    def _sources_and_seconds(self) -> Corpus:
        if self.sources:
            keys = Source.model_fields.items()
            alone = sorted(key for key, field in keys if key != "language" and getattr(self, key) != field.default)
            if alone:
                raise ValueError(f"{alone[0]} stands beside a list of sources; it goes into each of them")
            twice = [name for name, times in Counter(one.called for one in self.sources).items() if times > 1]
            if twice:
                raise ValueError(f"two sources are called {twice[0]}; give one a name of its own")
            if len(self.retained) == len(self.sources):
                raise ValueError(f"no source is in {self.language}, the language that the model is tuned for")
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds} is not below max_seconds {self.max_seconds}")
        return self

    @property
    def mixed(self) -> tuple[Source, ...]:
        """Every source: those listed, or the one that stands here."""
        return self.sources or (self,)

    @property
    def retained(self) -> dict[str, str]:
        """The names of the sources in other languages, which the model is not to forget, and those languages."""
        return {one.called: one.language for one in self.sources if one.language and one.language != self.language}

    def spoken(self, source: str) -> str:
        """The language of a source, by its name."""
        return self.retained.get(source, self.language)


class Text(Table):
    """What the model should write, and what counts as the same word."""

    # Done to the transcripts that a model learns from:
    writing: tuple[Writing, ...] = ("unicode", "quotes", "dashes")
    # Done to both texts before they are compared. basic: Whisper's basic normaliser, as published figures use, but with
    # the vowel signs of Devanagari and the like; whisper: the very same, which makes spaces of those; lenient: basic,
    # and 23 is tjugotre
    scoring: Literal["basic", "whisper", "lenient", "verbatim"] = "basic"
    # Names and terms that matter: the report tells how many of them are heard, with and without telling the engine of
    # them. A list, or a file with one a line
    hotwords: tuple[Name, ...] | Place = ()
    alphabet: str | None = None  # the letters a transcript of the corpus' language may hold; None: those that it has


class Model(Table):
    """A base to fine-tune, or the shape of a Whisper to train from nothing."""

    base: Word | None = None  # a release's folder, or a model's id on the Hub; None: from nothing
    # From nothing only:
    width: Positive = Field(128, le=16_384)
    heads: Positive = Field(4, le=1_024)
    encoder_layers: Positive = Field(2, le=256)
    decoder_layers: Positive = Field(1, le=256)
    vocabulary: Positive = Field(400, ge=257, le=1_000_000)  # byte-level BPE tokens, learnt from the training texts
    ctc_weight: Share = 0.5  # of the loss: an alignment head on the encoder, dropped after training

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Model:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of twice the {self.heads} heads")
        return self


class Training(Table):
    """How one trial is trained; what trials differ in stands in [search]."""

    # What a step sees.
    steps: Positive = Field(850, le=100_000_000)
    batch_size: Positive = Field(8, le=1_000_000)
    batch_seconds: Annotated[float, Field(gt=0, le=MOST, strict=True)] | None = (
        None  # in its stead: a batch's, padding counted
    )
    accumulate: Positive = Field(1, le=1_000_000)  # batches a step
    # Of a batch's clips, learnt at once; the result is the same. auto: as many as the GPU's memory holds
    micro_batch: Literal["auto"] | Positive = "auto"
    # trimmed: a batch is as long as its longest clip; padded: always 30 s; packed: a speaker's clips joined up to 30 s
    context: Literal["trimmed", "padded", "packed"] = "trimmed"
    long_share: Share = 0.08  # of the steps, the last ones: many of them parts of trimmed batches at 30 s

    # What learns, and how.
    optimizer: Literal["auto", "muon", "adamw"] = "auto"  # auto: muon from nothing, adamw on a base
    warmup: Share = 0.1  # of the steps
    label_smoothing: Share = 0.0
    freeze_encoder: Yes = False
    lora_rank: Whole = Field(
        0, le=16_384
    )  # of adapters on every layer's matrices, merged into the release; 0: all weights learn
    gradient_checkpointing: Yes = False  # a third more time for far less memory

    # What is done to a clip before it is seen.
    quiet_seconds: Real = Field(0.5, le=5)  # at most, added before and after a clip in half of the draws
    frequency_masks: Whole = Field(1, le=1_000)  # SpecAugment: bands of up to MASK_BINS mel bins silenced
    time_masks: Whole = Field(0, le=1_000)  # and stretches of up to MASK_FRAMES frames
    speed: Real = Field(0.0, le=0.5)  # spoken up to so much faster or slower, and higher or lower with it
    room_share: Share = 0.0  # of the draws as in a room
    rooms: Place | None = None  # a folder of measured impulse responses, here or gs://; None: rooms are simulated
    noise_share: Share = 0.0  # of the draws with noise over them, 0 to 30 dB below the speech
    noise: Place | None = None  # a folder of recordings that it comes from, here or gs://; None: made, white to brown
    telephone_share: Share = 0.0  # of the draws by telephone: 300 to 3,400 Hz, through GSM, mu-law or A-law
    codec_share: Share = 0.0  # of the draws through Opus or MP3 at low rates
    bpe_dropout: Share = 0.0  # of a text's merges left out, so that words are spelt in other tokens
    timestamps_share: Share = 0.0  # of the draws with their times as Whisper's timestamp tokens
    prompt_share: Share = 0.0  # of the draws after other text: a sentence of the speaker, or words that may be said
    silence_share: Real = Field(0.0, le=0.5)  # of the draws silence or noise, in which nothing is said

    # How it is watched.
    evaluations: Positive = Field(3, le=1_000_000)  # of the validation clips, evenly over the steps
    validation_clips: Positive = 200  # at most; the same ones in every trial
    patience: Whole = 0  # evaluations without a better WER that end a trial; 0: none do
    checkpoint_minutes: Real = 1.0  # between them, at least; more where saving would take a fiftieth of the time
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()  # that see its figures, beside the cards
    seed: Seed = 0

    @model_validator(mode="after")
    def _recordings_are_heard(self) -> Training:
        for folder, share in (("noise", "noise_share"), ("rooms", "room_share")):
            if getattr(self, folder) and not getattr(self, share):
                raise ValueError(f"{folder} is given, and {share} is 0: no draw would hear it")
        return self


class Range(Table):
    """Any number between two, drawn evenly or, with `log`, evenly over the powers of ten."""

    low: Annotated[float, Field(ge=0, lt=1, strict=True)]
    high: Annotated[float, Field(gt=0, lt=1, strict=True)]
    log: Yes = False

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and not self.low:
            raise ValueError("low 0 has no logarithm")
        return self


def _form(given: Any) -> str:
    """Which of the forms below a hyperparameter is given in, so that a refusal speaks of that one alone."""
    return "range" if isinstance(given, dict | Range) else "word" if isinstance(given, str) else "list"


def _list_or_range(given: Any) -> str:
    return "range" if _form(given) == "range" else "list"


Ranged = Annotated[Range, Tag("range")]
Shares = Annotated[
    Annotated[tuple[Share, ...], Field(min_length=1, max_length=1_000), Tag("list")] | Ranged,
    Discriminator(_list_or_range),
]
Rates = Annotated[
    Annotated[Literal["auto"], Tag("word")]
    | Annotated[tuple[Rate, ...], Field(min_length=1, max_length=1_000), Tag("list")]
    | Ranged,
    Discriminator(_form),
]


class Search(Table):
    """Which hyperparameters are tried, and when a trial is not worth going on with.

    Each is a list or a range. What is not given here is as [training] has it.
    """

    trials: Positive = Field(3, le=10_000)
    # grid: all combinations of the lists, or `trials` of them drawn by the seed; random: drawn one by one;
    # quasi: drawn so that they spread evenly (Sobol)
    sampler: Literal["grid", "random", "quasi"] = "grid"
    learning_rate: Rates = "auto"
    weight_decay: Shares = (0.01, 0.1)
    warmup: Shares | None = None
    label_smoothing: Shares | None = None
    batch_size: (
        Annotated[tuple[Annotated[Positive, Field(le=1_000_000)], ...], Field(min_length=1, max_length=1_000)] | None
    ) = None
    stop_losers: Yes = False  # those that fall behind the others early, see training/halving.py
    # A search that would take longer is refused
    max_hours: Annotated[float, Field(gt=0, le=MOST, strict=True)] | None = None
    hourly_cost: Real = 0.0  # of a machine that trains one trial, in any currency; the plan then tells what it costs
    seed: Seed = 0

    @model_validator(mode="after")
    def _a_grid_has_no_ranges(self) -> Search:
        ranges = [name for name in type(self).model_fields if isinstance(getattr(self, name), Range)]
        if self.sampler == "grid" and ranges:
            raise ValueError(f'{ranges[0]} is a range, and a grid needs lists; say sampler = "quasi" or "random"')
        return self


class Release(Table):
    """Where the winner goes, and what it must hold to get there."""

    folder: Annotated[Path, AfterValidator(_folder)] = Path("released")
    keep: Positive | None = None  # of this profile's releases there, the newest; None: all
    weights: Literal["fp32", "fp16"] = "fp32"  # of the model in Hugging Face's format
    # Beside that format: what the Space and faster-whisper run, always, and what whisper.cpp does
    formats: tuple[Literal["ct2-int8", "ggml"], ...] = ("ct2-int8",)
    license: str = Field("apache-2.0", pattern=r"^[a-z0-9.-]+$", max_length=100)  # of the model, as the Hub calls it
    # Of the base's weights in those that are released; auto: chosen on the validation clips of the
    # corpus and of its retained languages, 0 where there are none; see release/averaging.py
    base_share: Literal["auto"] | Share = "auto"

    # The gate: what is not held keeps a release here, and the newest one stays what it was.
    max_served_gap: Real = 2.0  # WER points the served model may lose on the float one
    max_invented: Real | None = None  # words a minute that it may hear in noise
    max_timestamp_error: Real | None = None  # seconds, the median, where times are known
    max_forgotten: Real | None = None  # WER points that each retained language may be worse than it was in the base

    # The Hugging Face Hub; the token comes from HF_TOKEN or `hf auth login`.
    repo_id: Repo | None = None
    private: Yes = True
    branch: str = Field("main", pattern=r"^[\w./-]+$", max_length=200)
    tag: str | None = Field(None, pattern=r"^[\w.-]+$", max_length=200)  # beside run-ID and the date, such as "v1.0"
    space_id: Repo | None = None  # the Space that serves it
    space_hardware: str | None = Field(None, pattern=r"^[\w-]+$")  # such as "cpu-basic", "zero-a10g"; None: as it is
    push_dataset: Repo | None = None  # where the corpus goes too, sound and text; None: it stays where it is

    @model_validator(mode="after")
    def _what_serves_is_among_the_formats(self) -> Release:
        if "ct2-int8" not in self.formats:
            raise ValueError("formats lacks ct2-int8, which the Space serves and the test hears")
        return self

    @model_validator(mode="after")
    def _a_space_serves_from_the_hub(self) -> Release:
        if self.space_id and not self.repo_id:
            raise ValueError("space_id needs repo_id: a Space serves a model of the Hub")
        return self


class Compute(Table):
    """Where steps run; flows/docs/cloud.md says what each key needs of a cluster."""

    where: Literal["local", "gke"] = "local"
    image: str | None = Field(None, pattern=r"^\S+$")  # flows/Dockerfile's, in a registry that the cluster reads
    gpu: str = Field("nvidia-tesla-t4", pattern=r"^[a-z0-9-]+$")  # as GKE labels its nodes
    gpus: Positive = Field(1, le=1_000)  # for one trial, in one machine: they share a step's `accumulate` batches
    cpu: Positive = 7  # of the pods with a GPU; the others have few needs
    memory_gb: Positive = 24  # likewise
    disk_gb: Positive = 30  # of every pod; a node with 100 GB leaves 47 to pods
    spot: Yes = False  # GPUs of machines that may be taken away: for less, and a trial goes on from its checkpoint
    hours: Positive = Field(24, le=10_000)  # that a step may take
    # Kubernetes secrets, or projects/NUMBER/secrets/NAME of Secret Manager, that hold HF_TOKEN and the like
    secrets: tuple[
        Annotated[str, Field(pattern=r"^([a-z0-9.-]+|projects/\d+/secrets/[\w-]+(/versions/\w+)?)$")], ...
    ] = ()
    # For `argo-workflows create`:
    schedule: str | None = Field(None, pattern=r"^\S+( \S+){4,5}$")  # cron: minute, hour, day, month, weekday
    timezone: Word = "UTC"
    trigger: str | None = Field(None, pattern=r"^[\w.-]+$")  # the event that starts a run

    @model_validator(mode="after")
    def _one_start(self) -> Compute:
        if self.schedule and self.trigger:
            raise ValueError("schedule and trigger both start runs; give one of them")
        return self


class Settings(Table):
    name: str = Field("sample", pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)  # part of file names
    corpus: Corpus = Corpus()
    text: Text = Text()
    model: Model = Model()
    training: Training = Training()
    search: Search = Search()
    release: Release = Release()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _what_is_retained_was_known(self) -> Settings:
        if self.release.base_share not in ("auto", 0) and not self.model.base:
            raise ValueError("[release] base_share goes with [model] base: from nothing there is none to average with")
        if self.corpus.retained and not self.model.base:
            name, language = next(iter(self.corpus.retained.items()))
            raise ValueError(
                f"[corpus] language: {name} is in {language}, and a model from nothing has no {language} to forget; "
                "give [model] base, or leave it out"
            )
        if self.release.max_forgotten is not None and not self.corpus.retained:
            raise ValueError("[release] max_forgotten: no source is in another language than the corpus'")
        return self

    @model_validator(mode="after")
    def _gpus_share_a_steps_batches(self) -> Settings:
        if self.training.accumulate % self.compute.gpus:
            raise ValueError(
                f"[compute] gpus: {self.compute.gpus} share the {self.training.accumulate} batches of a step, so "
                "accumulate must be a multiple of it"
            )
        return self


_STRING = re.compile(r'"[^"\n]*+"|\'[^\'\n]*+\'')
_DEEP = re.compile(rf"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{DEEPEST},}}+")


def check_file(place: str) -> None:
    """Raises `Refused` for what is no profile's file, before anybody opens it: a pipe waits, a device never ends."""
    path = Path(place)
    if not path.exists():  # which Metaflow tells
        return
    if not path.is_file() or path.resolve().parts[1:2] in (("proc",), ("sys",), ("dev",)):
        raise Refused(f"profile: {place} is no file of text")
    if (size := path.stat().st_size) > 4 * MOST_BYTES:
        raise Refused(f"profile: {place} has {size:,} bytes; a profile has {MOST_BYTES:,} letters at most")


def load(text: str, folder: Path | None = None) -> Settings:
    """A profile's text as settings; its relative paths mean `folder` (default: the current one).

    Raises `Refused`, in one line that names the key.
    """
    if len(text) > MOST_BYTES:
        raise Refused(f"profile: it has {len(text):,} letters; a profile has {MOST_BYTES:,} at most")
    if deep := _DEEP.search(_STRING.sub("s", text)):
        raise Refused(f"profile: {deep[0][:80]!r} is a key of more than {DEEPEST} parts")
    try:
        given = tomllib.loads(text)
    except RecursionError:
        raise Refused("profile: not TOML that can be read: its lists or tables lie too deep in each other") from None
    except ValueError as error:  # TOML's, or Python's own for a number of thousands of digits
        raise Refused(f"profile: not TOML: {error}") from None
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise Refused("profile: " + _one_line(error.errors())) from None
    return _absolute(settings, folder or Path.cwd())


def _absolute(settings: Settings, folder: Path) -> Settings:
    """Remote steps and later commands run elsewhere: paths are made absolute, and the list of those
    to leave out is read, where the run is launched."""

    def here(path: str, key: str) -> str:
        if path.startswith("gs://"):
            return path
        try:
            place = (folder / Path(path).expanduser()).resolve()
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                place.lstat()
            return str(place)
        except (OSError, RuntimeError, ValueError) as error:  # nobody's home, a circle of links, too long a name
            why = error.strerror if isinstance(error, OSError) else error
            raise Refused(f"profile: {key}: {path[:200]} is no path: {why}") from None

    def listed(given: tuple[str, ...] | str, key: str) -> tuple[str, ...]:
        return _lines(here(given, key), key) if isinstance(given, str) else given

    def if_folder(name: str, key: str) -> str:
        return place if not name.startswith("gs://") and os.path.isdir(place := here(name, key)) else name

    def placed(source: Source) -> dict[str, str | None]:
        name = if_folder(source.id, "[corpus] id") if source.id and source.source == "hub" else source.id
        return {"path": source.path and here(source.path, "[corpus] path"), "id": name}

    corpus, model, training, release = settings.corpus, settings.model, settings.training, settings.release
    corpus = corpus.model_copy(update={
        **placed(corpus),
        "sources": tuple(one.model_copy(update=placed(one)) for one in corpus.sources),
        "exclude": listed(corpus.exclude, "[corpus] exclude"),
    })  # fmt: skip
    text = settings.text.model_copy(update={"hotwords": listed(settings.text.hotwords, "[text] hotwords")})
    if model.base:
        model = model.model_copy(update={"base": if_folder(model.base, "[model] base")})
    folders = {
        key: (place := getattr(training, key)) and here(place, f"[training] {key}") for key in ("noise", "rooms")
    }
    training = training.model_copy(update=folders)
    release = release.model_copy(update={"folder": Path(here(str(release.folder), "[release] folder"))})
    placed_all = {"corpus": corpus, "text": text, "model": model, "training": training, "release": release}
    return settings.model_copy(update=placed_all)


def _lines(file: str, key: str) -> tuple[str, ...]:
    """The lines of a text file that a key names, without empty ones and `#` comments."""
    try:
        if os.path.exists(file) and not os.path.isfile(file):  # a pipe waits, a device never ends
            raise OSError("it is no file of text")
        if os.path.getsize(file) > LISTED_BYTES:
            raise OSError(f"it has more than {LISTED_BYTES:,} bytes")
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"profile: {key}: {file} cannot be read: {error}") from None
    names = (unicodedata.normalize("NFC", line.strip()) for line in lines)
    return tuple(name for name in names if name and not name.startswith("#"))


def _one_line(errors: list[Any]) -> str:
    """pydantic's first complaint in the profile's own terms: `[training] steps: ... (got -3)`."""
    error = [one for one in errors if one["loc"][:2] == errors[0]["loc"][:2]][-1]  # of a union, the longer form's
    where = [
        part for part in error["loc"] if not re.match("tuple|literal|constrained|(str|word|list|range)$", str(part))
    ]
    where = [part if isinstance(part, int) else part[:100] for part in where]
    key = str(where[0]) if where else ""
    if where and where[0] in Settings.model_fields and (len(where) > 1 or error["type"] == "value_error"):
        key = " ".join([f"[{where[0]}]", ".".join(map(str, where[1:]))]).strip()
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(where[-1]), _fields(where[:-1]), n=1)
        return f"{key}: unknown key" + (f"; did you mean {close[0]}?" if close else "")
    if error["type"] == "value_error":
        return f"{key}{':' if key and not key.endswith(']') else ''} {error['ctx']['error']}".strip()
    return f"{key}: {error['msg'].replace('tuple', 'list')} (got {_shown(error['input'])})"


def _shown(value: Any) -> str:
    """A value of the profile, cut where it is long or deep."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 120
    try:
        return short.repr(value)
    except ValueError:  # of a number in hexadecimals, that Python does not write out
        return "a number of thousands of digits"


def _fields(where: list[Any]) -> list[str]:
    """The keys that the table at this place of the profile knows."""
    table: Any = Settings
    for part in where:
        if isinstance(part, str):
            table = next(_tables(table.model_fields[part].annotation))
    return list(table.model_fields)


def _tables(annotation: Any) -> Iterator[type[Table]]:
    """The tables that a field's annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        yield annotation
    for part in get_args(annotation):
        yield from _tables(part)
