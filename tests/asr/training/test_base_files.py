"""Bases that a stranger made: each is refused in one line that names the folder, soon, and nothing of theirs runs."""

import json
import os
import pickle
import shutil
import struct

import pytest
from asr.settings import Settings
from asr.training import models
from field.damage import a_pipe, edited, of_gigabytes

pytestmark = pytest.mark.usefixtures("offline")


def config(**keys):
    """A spoiler that changes keys of config.json; what is None there is left out."""
    return edited("config.json", **keys)


def generation(**keys):
    return edited("generation_config.json", **keys)


def features(**keys):
    def spoil(folder):
        told = json.loads((folder / "processor_config.json").read_text())
        told["feature_extractor"] |= keys
        (folder / "processor_config.json").write_text(json.dumps(told))

    return spoil


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cut(name, share):
    def spoil(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return spoil


def gone(name):
    return lambda folder: (folder / name).unlink()


def a_folder(name):
    def spoil(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return spoil


def a_link(name):
    def spoil(folder):
        (folder / name).rename(folder.parent / "outside")
        (folder / name).symlink_to(folder.parent / "outside")

    return spoil


def header(change):
    """A spoiler that changes what the weights' header says."""

    def spoil(folder):
        content = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        told = json.loads(content[8 : 8 + length])
        told = change(told) or told
        text = json.dumps(told).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return spoil


EMBEDDED = "model.decoder.embed_tokens.weight"


def shape(*sizes):
    return header(lambda told: told[EMBEDDED].update(shape=list(sizes)))


def offsets(start, end):
    return header(lambda told: told[EMBEDDED].update(data_offsets=[start, end]))


def without(part):
    """A spoiler that takes weights away, whole as the file is."""

    def spoil(folder):
        from safetensors.numpy import load_file, save_file

        kept = {name: one for name, one in load_file(folder / "model.safetensors").items() if part not in name}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})

    return spoil


def with_more(**more):
    def spoil(folder):
        from safetensors.numpy import load_file, save_file

        held = load_file(folder / "model.safetensors")
        first = held["model.encoder.layer_norm.weight"]
        held |= {name.replace("__", "."): first.astype(kind) for name, kind in more.items()}
        save_file(held, folder / "model.safetensors", {"format": "pt"})

    return spoil


class Marker:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Marker(folder.parent / "mark")))


def pickled_by_torch(folder):
    import torch

    (folder / "model.safetensors").unlink()
    torch.save(Marker(folder.parent / "mark"), folder / "pytorch_model.bin")


def code(name, key="auto_map"):
    def spoil(folder):
        (folder / "code.py").write_text(f"import os; os.mkdir({str(folder.parent / 'mark')!r})")
        edited(name, **{key: {"AutoConfig": "code.C", "AutoModel": "code.C", "AutoTokenizer": ["code.C", None]}})(
            folder
        )

    return spoil


def sharded(shard):
    def spoil(folder):
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        told = {"metadata": {}, "weight_map": {EMBEDDED: shard}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(told))

    return spoil


DEEP = b"[" * 200_000
JSONS = ("config.json", "generation_config.json", "tokenizer.json", "processor_config.json")
BROKEN = {
    **{f"{name} empty": written(name, b"") for name in JSONS},
    **{f"{name} cut": cut(name, 0.5) for name in JSONS},
    **{f"{name} deep": written(name, DEEP) for name in JSONS},
    **{f"{name} a list": written(name, b"[]") for name in JSONS},
    **{f"{name} no UTF-8": written(name, b'{"a": "\xff"}') for name in JSONS},
    **{f"{name} a folder": a_folder(name) for name in (*JSONS, "model.safetensors")},
    **{f"{name} a pipe": a_pipe(name) for name in (*JSONS, "model.safetensors")},
    **{f"{name} a link": a_link(name) for name in (*JSONS, "model.safetensors")},
    **{f"{name} of gigabytes": of_gigabytes(name) for name in (*JSONS, "vocab.json", "merges.txt")},
    "config.json gone": gone("config.json"),
    "weights gone": gone("model.safetensors"),
    "tokenizer gone": gone("tokenizer.json"),
    "weights empty": written("model.safetensors", b""),
    "weights cut": cut("model.safetensors", 0.5),
    "a header of exabytes": written("model.safetensors", struct.pack("<Q", 1 << 60) + b"{}"),
    "a header of garbage": written("model.safetensors", struct.pack("<Q", 9) + b"garbage!!"),
    "a deep header": written("model.safetensors", struct.pack("<Q", len(DEEP)) + DEEP),
    "another dtype": header(lambda told: told[EMBEDDED].update(dtype="I32")),
    "no dtype": header(lambda told: told[EMBEDDED].update(dtype="X9")),
    "a huge shape": shape(1 << 62, 1 << 62),
    "a negative shape": shape(-1, 32),
    "a shape of floats": shape(1.5, 32),
    "a shape of NaN": shape(float("nan"), 32),
    "a turned shape": header(lambda told: told[EMBEDDED].update(shape=told[EMBEDDED]["shape"][::-1])),
    "huge offsets": offsets(0, 1 << 62),
    "offsets that overlap": offsets(0, 128),
    "offsets backwards": offsets(256, 0),
    "no weights": header(lambda told: {"__metadata__": {"format": "pt"}}),
    "weights of another layer": with_more(model__decoder__layers__7__fc1__weight="float32"),
    "weights of whole numbers": with_more(model__other="int32"),
    "no decoder's weights": without("decoder"),
    "one weight gone": without("encoder.layers.0.fc1.weight"),
    "a bias gone": without("decoder.layers.0.encoder_attn.v_proj.bias"),
    "no embedding": without("embed_tokens"),
    "a million layers": config(encoder_layers=10**6),
    "a hundred layers": config(decoder_layers=100),
    "no layers": config(encoder_layers=0),
    "layers in words": config(encoder_layers="many"),
    "minus layers": config(decoder_layers=-1),
    "a huge number": config(d_model=10**400),
    "another width": config(d_model=64),
    "a float for a width": config(d_model=32.5),
    "no width": config(d_model=None),
    "odd heads": config(encoder_attention_heads=5),
    "no heads": config(decoder_attention_heads=0),
    "a huge vocabulary": config(vocab_size=10**9),
    "a small vocabulary": config(vocab_size=10),
    "another vocabulary": config(vocab_size=51_865),
    "more bands": config(num_mel_bins=128),
    "billions of bands": config(num_mel_bins=10**9),
    "other positions": config(max_source_positions=3_000),
    "billions of positions": config(max_target_positions=10**9),
    "another inner width": config(encoder_ffn_dim=100),
    "billions of labels": config(num_labels=10**9),
    "a start beyond": config(decoder_start_token_id=10**6),
    "an end in words": config(eos_token_id="end"),
    "a BERT": config(model_type="bert"),
    "no model": config(model_type=None),
    "a model of a list": config(model_type=["whisper"]),
    "an attention of the Hub": config(_attn_implementation="someone/kernel"),
    "a quantization": config(quantization_config={"quant_method": "bitsandbytes"}),
    "a billion tokens": generation(max_length=10**9),
    "a billion new tokens": generation(max_new_tokens=10**9),
    "a million beams": generation(num_beams=10**6),
    "a million answers": generation(num_return_sequences=10**6),
    "suppressed words": generation(suppress_tokens=["a", "b"]),
    "suppressed beyond": generation(suppress_tokens=[10**6]),
    "begun beyond": generation(begin_suppress_tokens=[10**6]),
    "no end": generation(eos_token_id=None),
    "an end beyond": generation(eos_token_id=10**6),
    "languages in words": generation(lang_to_id={"<|sv|>": "sv"}),
    "languages beyond": generation(lang_to_id={"<|sv|>": 10**6}),
    "a language of a list": generation(language=["sv"]),
    "heads of words": generation(alignment_heads=["a"]),
    "generation of its own": generation(custom_generate="someone/generate"),
    "bands beyond the model": features(feature_size=128),
    "a billion bands": features(feature_size=10**9),
    "a huge transform": features(n_fft=10**9),
    "another rate": features(sampling_rate=8_000),
    "no hop": features(hop_length=0),
    "a pickle": pickled,
    "torch's pickle": pickled_by_torch,
    "code of its own": code("config.json"),
    "a tokenizer's code": code("tokenizer_config.json"),
    "a processor's code": code("processor_config.json"),
    "a shard above": sharded("../outside.safetensors"),
    "a shard at the root": sharded("/etc/passwd"),
    "a shard that is a pickle": sharded("pytorch_model.bin"),
    "a shard of numbers": sharded(5),
    "a shard that is gone": sharded("model-00001-of-00001.safetensors"),
    "a record deep": written("release.json", DEEP),
    "a record of a strange age": written("release.json", b'{"format": [1]}'),
    "a tokenizer of nothing": written("tokenizer.json", b"{}"),
}


@pytest.fixture
def spoilt(base, tmp_path):
    def make(spoil):
        folder = shutil.copytree(base, tmp_path / "base")
        spoil(folder)
        return folder

    return make


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_a_broken_base_is_refused_in_a_line_that_names_it(spoilt, refusal, tmp_path, spoil):
    folder = spoilt(spoil)
    line = refusal(models.prepare, Settings.model_validate({"model": {"base": str(folder)}}), ["hej"])
    assert str(folder) in line
    assert not (tmp_path / "mark").exists()


def test_a_file_for_a_folder_is_refused(refusal, tmp_path):
    (tmp_path / "base").write_text("no folder")
    assert str(tmp_path / "base") in refusal(models.load, tmp_path / "base")


GOOD = {
    "as it is": lambda folder: None,
    "without what generates": gone("generation_config.json"),
    "with proj_out beside": with_more(proj_out__bias="float32"),
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_a_good_base_is_loaded(spoilt, change):
    assert models.load(spoilt(change))[0].config.d_model == 32


def test_a_base_in_the_hubs_cache_is_links_and_is_loaded(base, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b/snapshots/1234", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(base, blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert models.load(snapshot)[0].config.d_model == 32
