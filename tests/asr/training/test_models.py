"""A Whisper that is built or loaded: what it has in common with published ones, and what is refused."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from asr import InputError
from asr.settings import Settings
from asr.training import models, search

pytestmark = pytest.mark.usefixtures("offline")

SWEDISH = "Åsa åt sju ägg i Örebro, é och allt – för 5 kronor."


@pytest.fixture(scope="module")
def features(whisper):
    """The log-mels of a second of noise, padded to 30 s as for a stock Whisper."""
    noise = np.random.default_rng(0).normal(size=16_000).astype(np.float32) / 10
    return whisper[1].feature_extractor(noise, sampling_rate=16_000, return_tensors="pt").input_features


def test_at_30_seconds_the_trimmed_encoder_is_the_stock_one(whisper, features):
    model, _ = whisper
    with torch.inference_mode():
        ours, stock = models.encode(model, features), model.model.encoder(features).last_hidden_state
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-6)


def test_the_encoder_takes_any_shorter_context(whisper, features):
    with torch.inference_mode():
        assert models.encode(whisper[0], features[..., :300]).shape == (1, 150, 32)


def test_special_tokens_are_in_whispers_order(whisper):
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    tokenizer = whisper[1].tokenizer
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    specials = tokenizer.convert_ids_to_tokens(range(end, len(tokenizer)))
    assert specials[:2] == ["<|endoftext|>", "<|startoftranscript|>"]
    assert specials[2:101] == [f"<|{code}|>" for code in list(LANGUAGES)[:99]]
    assert (specials[2], specials[100]) == ("<|en|>", "<|su|>")
    assert " ".join(specials[101:107]) == (
        "<|translate|> <|transcribe|> <|startoflm|> <|startofprev|> <|nospeech|> <|notimestamps|>"
    )
    assert len(specials[107:]) == 1_501
    assert (specials[107], specials[108], specials[-1]) == ("<|0.00|>", "<|0.02|>", "<|30.00|>")


def test_words_have_the_ids_below_the_special_tokens(whisper):
    tokenizer = whisper[1].tokenizer
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert max(tokenizer(SWEDISH, add_special_tokens=False).input_ids) < end <= 300


@pytest.mark.parametrize("text", [SWEDISH, " hej", "日本", "🙂", "A\u030a"])
def test_any_text_is_restored_from_its_tokens(whisper, text):
    tokenizer = whisper[1].tokenizer
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("vocabulary", [257, 400])
def test_the_vocabulary_is_no_larger_than_requested(vocabulary):
    processor = models.new_processor(["Klockan är halv åtta nu.", "Klockan är kvart i åtta."] * 20, vocabulary)
    assert processor.tokenizer.convert_tokens_to_ids("<|endoftext|>") <= vocabulary


def test_the_seed_decides_the_weights(tiny):
    built = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        built.append(models.prepare(tiny, ["hej på dig"])[0].proj_out.weight)
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])


def test_a_saved_model_is_the_same_and_keeps_its_language(whisper, base, features):
    model, processor = models.load(base)
    for name, weight in whisper[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert processor.tokenizer(SWEDISH).input_ids == whisper[1].tokenizer(SWEDISH).input_ids
    assert (model.generation_config.language, model.generation_config.task) == ("sv", "transcribe")
    assert processor.tokenizer.language in ("sv", "swedish")


def test_the_language_of_a_base_can_be_changed(base):
    model, processor = models.load(base)
    models.set_language(model, processor, "en")
    assert model.generation_config.language == "en"
    assert processor.tokenizer.convert_ids_to_tokens(processor.tokenizer("hi").input_ids)[1] == "<|en|>"


PROMPT = ["<|startoftranscript|>", "<|sv|>", "<|transcribe|>", "<|notimestamps|>"]


def record_prompts(model):
    """A list that collects the input tokens of each call of the decoder."""
    prompts = []
    model.model.decoder.register_forward_pre_hook(
        lambda decoder, args, kwargs: prompts.append(kwargs["input_ids"][0].tolist()), with_kwargs=True
    )
    return prompts


def test_a_saved_model_generates_swedish_on_request(base, features):
    model, processor = models.load(base)
    prompts = record_prompts(model)
    tokens = model.generate(features, language="sv", task="transcribe", max_new_tokens=5)
    assert processor.tokenizer.convert_ids_to_tokens(prompts[0]) == PROMPT
    assert len(processor.batch_decode(tokens, skip_special_tokens=True)) == 1
    with pytest.raises(ValueError, match="language"):
        model.generate(features, language="klingon", task="transcribe", max_new_tokens=5)


def test_by_default_a_saved_model_uses_the_prompt_of_its_training(base, features):
    model, processor = models.load(base)
    prompts = record_prompts(model)
    model.generate(features, max_new_tokens=5)
    assert processor.tokenizer.convert_ids_to_tokens(prompts[0]) == PROMPT


def test_the_asr_pipeline_takes_a_saved_folder(base, tone):
    from transformers import pipeline

    recognizer = pipeline("automatic-speech-recognition", model=str(base), device="cpu")
    result = recognizer(
        {"raw": tone(1), "sampling_rate": 16_000}, generate_kwargs={"max_new_tokens": 5, "num_beams": 1}
    )
    assert isinstance(result["text"], str)


def test_transcripts_are_plain_text_for_each_clip_of_a_batch(whisper, features):
    texts = models.transcribe(*whisper, features[..., :100].repeat(3, 1, 1))
    assert len(texts) == 3
    assert len(set(texts)) == 1
    assert "<|" not in texts[0]


def test_unrequested_timestamps_of_one_clip_of_a_batch_are_left_out(whisper, features):
    """transformers would continue after the last timestamp, without the other clips and past the features' end."""
    model, processor = whisper
    time = processor.tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 20

    def write_times(_, __, logits):
        logits[1, :, time] += 1000

    hook = model.proj_out.register_forward_hook(write_times)
    try:
        first, second = models.transcribe(model, processor, features[:1, :, :100].repeat(2, 1, 1))
    finally:
        hook.remove()
    assert second == ""
    assert [first] == models.transcribe(model, processor, features[:1, :, :100])


def test_a_language_that_a_whisper_does_not_know_is_refused(refusal):
    """Cantonese was added in large-v3."""
    line = refusal(models.prepare, Settings.model_validate({"corpus": {"language": "yue"}}), ["hej"])
    assert "[corpus] language" in line
    assert "yue" in line


def settings_for(base, **search):
    return Settings.model_validate({"model": {"base": str(base)}, "search": search})


@pytest.fixture
def published(tmp_path):
    """A folder with the configuration of a Whisper of tiny's width."""
    from transformers import WhisperConfig

    WhisperConfig(d_model=384).save_pretrained(tmp_path / "whisper")
    return tmp_path / "whisper"


@pytest.mark.parametrize(
    "config", [None, "", "{", json.dumps({"model_type": "bert", "hidden_size": 8}), json.dumps({"a": 1})]
)
def test_a_base_folder_that_is_no_whisper_is_refused(tmp_path, refusal, config):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    line = refusal(models.default_hyperparameters, settings_for(tmp_path))
    assert "[model] base" in line
    assert str(tmp_path) in line


@pytest.mark.parametrize("base", ["nowhere/at-all", "./nowhere", "a b c", ""])
def test_a_missing_base_is_refused(refusal, monkeypatch, tmp_path, base):
    monkeypatch.chdir(tmp_path)
    assert f"[model] base: {base}" in refusal(models.default_hyperparameters, settings_for(base))


def test_a_whisper_config_without_its_weights_is_refused_too(published, refusal):
    line = refusal(models.prepare, settings_for(published), ["hej"])
    assert "[model] base" in line


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_base_of_pickled_weights_is_refused_and_runs_no_code(whisper, tmp_path):
    model, processor = whisper
    base, marker = models.save(tmp_path / "base", model, processor), tmp_path / "marker"
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(InputError, match=r"cannot be loaded: .*model\.safetensors"):
        models.load(base)
    assert not marker.exists()


BROKEN = {"model.safetensors": b"", "tokenizer.json": b"{}", "config.json": b"[]", "release.json": b"\xff"}


@pytest.mark.parametrize("name", BROKEN)
def test_a_base_with_a_broken_file_is_refused_in_one_line(base, tmp_path, refusal, name):
    broken = shutil.copytree(base, tmp_path / "broken")
    (broken / name).write_bytes(BROKEN[name])
    assert refusal(models.prepare, settings_for(broken), ["hej"]).startswith(f"[model] base: {broken}")


@pytest.mark.parametrize("rate", [2e-3, 2e-4])
def test_a_learning_rate_for_training_from_scratch_is_refused_on_a_published_base(published, refusal, rate):
    line = refusal(search.plan_trials, settings_for(published, learning_rate=[1e-5, rate]))
    assert "[search] learning_rate" in line
    assert f"{rate:g}" in line
    assert str(published) in line


def test_the_default_learning_rates_depend_on_the_base(published, base):
    scratch, own, whisper = (
        models.default_hyperparameters(settings)
        for settings in (Settings(), settings_for(base), settings_for(published))
    )
    assert (
        max(whisper.learning_rates) < min(own.learning_rates) < max(own.learning_rates) <= min(scratch.learning_rates)
    )
    assert whisper.optimizer == "adamw"
    for defaults in (scratch, own, whisper):
        assert max(defaults.learning_rates) <= defaults.limit


def test_a_requested_optimizer_is_used(published):
    settings = Settings.model_validate({"model": {"base": str(published)}, "training": {"optimizer": "muon"}})
    assert models.optimizer_name(settings) == "muon"
    assert models.optimizer_name(settings_for(published)) == "adamw"


def test_a_model_trained_on_silence_may_end_at_once_also_when_converted(tiny, tmp_path):
    from asr.training import decoding

    silent = tiny.model_copy(update={"training": tiny.training.model_copy(update={"silence_share": 0.1})})
    for settings, writes_words in ((tiny, True), (silent, False)):
        torch.manual_seed(0)
        model, processor = models.prepare(settings, ["hej på dig"] * 3)
        end = model.config.eos_token_id
        with torch.no_grad():  # the model writes no token for any audio, or one word where it has to write
            model.proj_out.weight[end], model.proj_out.weight[70] = 1.0, 0.5
            model.model.decoder.layer_norm.bias.fill_(9.0)
        mels = torch.zeros(1, 80, 100)
        assert bool(decoding.Int8Decoder(model, processor).tokens(mels)[0]) == writes_words
        assert (
            bool(models.transcribe(models.load(models.save(tmp_path, model, processor))[0], processor, mels)[0])
            == writes_words
        )
