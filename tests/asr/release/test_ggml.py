"""The files for whisper.cpp: their transcripts, and models that cannot be converted."""

import json

import numpy as np
import pytest
from asr.release import folder, ggml
from asr.settings import Model
from asr.training import decoding, models


@pytest.fixture(scope="module")
def full_model(tmp_path_factory):
    """An untrained model with as many tokens as a published Whisper, as a release for whisper.cpp."""
    import tokenizers
    import torch
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    class FakeTokenizer:
        """A tokenizer as if it had been trained: every byte, and words that need no merges."""

        def train_from_iterator(self, *_, vocab_size, **__):
            letters = [*bytes_to_unicode().values()]
            self.words = [*letters, *(f"Ġord{number}" for number in range(vocab_size - len(letters)))]

        def to_str(self):
            return json.dumps({"model": {"vocab": {word: at for at, word in enumerate(self.words)}, "merges": []}})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokenizers, "ByteLevelBPETokenizer", FakeTokenizer)
        processor = models.new_processor([], 50_257)
    torch.manual_seed(0)
    model = models.new_model(Model(width=64, heads=2, encoder_layers=2, decoder_layers=2), processor)
    assert model.config.vocab_size == ggml.FULL_VOCABULARY
    with torch.no_grad():  # the transcript must depend on the sound, by more than the rounding to 16 bits
        for layer in model.model.decoder.layers:
            layer.encoder_attn.out_proj.weight *= 30
        model.model.decoder.embed_tokens.weight *= 10
    models.set_language(model, processor, "sv")
    model_folder = models.save(tmp_path_factory.mktemp("whole"), model, processor)
    ggml.write_models(model_folder)
    return model_folder


@pytest.fixture(scope="module")
def sounds(tone):
    return [tone(2.0), tone(1.5, hertz=1_700, peak=0.6), np.random.default_rng(1).normal(0, 0.1, 32_000).astype("f4")]


def test_whisper_cpp_transcribes_like_transformers(full_model, sounds):
    model, processor = models.load(full_model)
    by_transformers = decoding.transcribe_sounds(model.eval(), processor, sounds, models.WINDOW_FRAMES)
    by_whisper_cpp = ggml.transcribe(full_model, "f16", sounds, "sv")
    assert len(set(by_transformers)) > 1 and all(by_transformers)
    for expected, transcript in zip(by_transformers, by_whisper_cpp, strict=True):  # whisper.cpp writes more words
        assert transcript.split()[:12] == expected.split()[:12]


def test_five_bit_weights_make_a_smaller_file_that_can_be_read(full_model, sounds):
    sizes = [ggml.model_path(full_model, kind).stat().st_size for kind in ggml.KINDS]
    assert sizes[1] < 0.5 * sizes[0]  # its convolutions and positions are not quantised
    assert all(ggml.transcribe(full_model, "q5_0", sounds, "sv"))


def test_a_truncated_file_is_a_fault_of_the_release(full_model, sounds, monkeypatch, tmp_path):
    monkeypatch.setattr(folder, "_transcribe_with_transformers", lambda *_: ["hej"] * 3)
    monkeypatch.setattr(folder, "_transcribe_with_faster_whisper", lambda *_: ["hej"] * 3)
    (tmp_path / "ggml").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": ggml.FULL_VOCABULARY}))
    ggml.model_path(tmp_path, "f16").write_bytes(ggml.model_path(full_model, "f16").read_bytes()[:1_000_000])
    (fault,) = folder.check_formats(tmp_path, sounds, ["hej"] * 3, "sv", 0)
    assert fault.startswith("whisper.cpp (f16) cannot use it: whisper.cpp does not read model-f16.bin")


def test_a_small_vocabulary_is_reported_and_not_a_fault():
    assert ggml.unsupported_reason(2_000) == (
        "ggml is left out: whisper.cpp needs a published Whisper's 51,865 tokens, not 2,000"
    )
    assert ggml.unsupported_reason(51_866) == ""
