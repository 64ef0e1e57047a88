"""The tables [model] and [training]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from asr.settings.fields import (
    MAX_NUMBER,
    Flag,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PathText,
    PositiveInt,
    Seed,
    ShortText,
    Table,
)


class Model(Table):
    """A base model to fine-tune, or the architecture of a Whisper to train from scratch."""

    base: ShortText | None = None  # a release's folder or a model id on the Hub; None: train from scratch
    # From scratch only:
    width: PositiveInt = Field(128, le=16_384)
    heads: PositiveInt = Field(4, le=1_024)
    encoder_layers: PositiveInt = Field(2, le=256)
    decoder_layers: PositiveInt = Field(1, le=256)
    vocabulary: PositiveInt = Field(400, ge=257, le=1_000_000)  # byte-level BPE tokens, trained on the training texts
    ctc_weight: Fraction = 0.5  # of the loss: a CTC head on the encoder, removed after training

    @model_validator(mode="after")
    def _check_heads(self) -> Model:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of twice the {self.heads} heads")
        return self


class Training(Table):
    """How a trial is trained; [search] has the hyperparameters that differ between trials."""

    # The batches of a step.
    steps: PositiveInt = Field(850, le=100_000_000)
    batch_size: PositiveInt = Field(8, le=1_000_000)
    batch_seconds: Annotated[float, Field(gt=0, le=MAX_NUMBER, strict=True)] | None = (
        None  # of a batch, with padding; replaces batch_size
    )
    accumulate: PositiveInt = Field(1, le=1_000_000)  # batches per step
    # Clips per forward pass; the result is the same. auto: as many as the GPU's memory holds
    micro_batch: Literal["auto"] | PositiveInt = "auto"
    # trimmed: a batch is as long as its longest clip; padded: 30 s; packed: clips of a speaker joined up to 30 s
    context: Literal["trimmed", "padded", "packed"] = "trimmed"
    long_share: Fraction = 0.08  # of the steps, the last ones, in which parts of trimmed batches are padded to 30 s

    # The optimisation.
    optimizer: Literal["auto", "muon", "adamw"] = "auto"  # auto: muon from scratch, adamw on a base
    warmup: Fraction = 0.1  # of the steps
    label_smoothing: Fraction = 0.0
    freeze_encoder: Flag = False
    lora_rank: NonNegativeInt = Field(
        0, le=16_384
    )  # of LoRA on all layers, merged into the release; 0: full fine-tuning
    gradient_checkpointing: Flag = False  # takes a third longer and far less memory

    # Augmentation of a training clip.
    quiet_seconds: NonNegativeFloat = Field(0.5, le=5)  # the most, added before and after a clip in half of the draws
    frequency_masks: NonNegativeInt = Field(1, le=1_000)  # SpecAugment: masks of up to MASK_BINS mel bins
    time_masks: NonNegativeInt = Field(0, le=1_000)  # masks of up to MASK_FRAMES frames
    speed: NonNegativeFloat = Field(
        0.0, le=0.5
    )  # resampled to up to this fraction faster or slower, which changes the pitch too
    room_share: Fraction = 0.0  # of the draws with reverberation
    rooms: PathText | None = None  # a folder of impulse responses, local or gs://; None: simulated rooms
    noise_share: Fraction = 0.0  # of the draws with noise 0 to 30 dB below the speech
    noise: PathText | None = None  # a folder of noise recordings, local or gs://; None: synthetic, white to brown
    telephone_share: Fraction = 0.0  # of the draws as over a telephone: 300 to 3,400 Hz and GSM, mu-law or A-law
    codec_share: Fraction = 0.0  # of the draws through Opus or MP3 at low bit rates
    bpe_dropout: Fraction = 0.0  # probability that a BPE merge is left out, so that words get other tokens
    timestamps_share: Fraction = 0.0  # of the draws with Whisper's timestamp tokens
    prompt_share: Fraction = 0.0  # of the draws with a prompt: a sentence of the speaker, or words that may occur
    silence_share: NonNegativeFloat = Field(0.0, le=0.5)  # of the draws that are silence or noise with an empty text

    # Evaluation, checkpoints and logging.
    evaluations: PositiveInt = Field(3, le=1_000_000)  # on the validation clips, spread evenly over the steps
    validation_clips: PositiveInt = 200  # the most; the same ones in every trial
    patience: NonNegativeInt = 0  # evaluations without a better WER that end a trial; 0: no early stopping
    checkpoint_minutes: NonNegativeFloat = (
        1.0  # the least between checkpoints; longer where saving would take a fiftieth of the time
    )
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()  # experiment trackers that get the metrics too
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_recordings(self) -> Training:
        for folder, share in (("noise", "noise_share"), ("rooms", "room_share")):
            if getattr(self, folder) and not getattr(self, share):
                raise ValueError(f"{folder} is given, and {share} is 0: it would never be used")
        return self
