"""Damaged and malicious bases: each is refused in one line that names the folder, and none of its code runs."""

import json
import os
import pickle
import shutil
import struct

import pytest
from asr.settings import Settings
from asr.training import models
from bad_files.damage import as_large_file, as_pipe, edited

pytestmark = pytest.mark.usefixtures("offline")


def config(**keys):
    """A function that changes keys of config.json; None removes a key."""
    return edited("config.json", **keys)


def generation(**keys):
    return edited("generation_config.json", **keys)


def features(**keys):
    def damage(folder):
        content = json.loads((folder / "processor_config.json").read_text())
        content["feature_extractor"] |= keys
        (folder / "processor_config.json").write_text(json.dumps(content))

    return damage


def with_content(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def truncated(name, share):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return damage


def removed(name):
    return lambda folder: (folder / name).unlink()


def as_folder(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def as_link(name):
    def damage(folder):
        (folder / name).rename(folder.parent / "outside")
        (folder / name).symlink_to(folder.parent / "outside")

    return damage


def header(change):
    """A function that changes the header of the weights."""

    def damage(folder):
        content = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        tensors = json.loads(content[8 : 8 + length])
        tensors = change(tensors) or tensors
        text = json.dumps(tensors).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return damage


EMBEDDING = "model.decoder.embed_tokens.weight"


def shape(*sizes):
    return header(lambda tensors: tensors[EMBEDDING].update(shape=list(sizes)))


def offsets(start, end):
    return header(lambda tensors: tensors[EMBEDDING].update(data_offsets=[start, end]))


def without(part):
    """A function that removes weights from a file that stays valid."""

    def damage(folder):
        from safetensors.numpy import load_file, save_file

        remaining = {
            name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if part not in name
        }
        save_file(remaining, folder / "model.safetensors", {"format": "pt"})

    return damage


def with_extra(**dtypes):
    def damage(folder):
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        template = tensors["model.encoder.layer_norm.weight"]
        tensors |= {name.replace("__", "."): template.astype(dtype) for name, dtype in dtypes.items()}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return damage


class Marker:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Marker(folder.parent / "mark")))


def pickled_by_torch(folder):
    import torch

    (folder / "model.safetensors").unlink()
    torch.save(Marker(folder.parent / "mark"), folder / "pytorch_model.bin")


def code(name, key="auto_map"):
    def damage(folder):
        (folder / "code.py").write_text(f"import os; os.mkdir({str(folder.parent / 'mark')!r})")
        edited(name, **{key: {"AutoConfig": "code.C", "AutoModel": "code.C", "AutoTokenizer": ["code.C", None]}})(
            folder
        )

    return damage


def sharded(shard):
    def damage(folder):
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        index = {"metadata": {}, "weight_map": {EMBEDDING: shard}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return damage


NESTED_JSON = b"[" * 200_000
JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "processor_config.json")
BROKEN = {
    **{f"{name} empty": with_content(name, b"") for name in JSON_FILES},
    **{f"{name} truncated": truncated(name, 0.5) for name in JSON_FILES},
    **{f"{name} deeply nested": with_content(name, NESTED_JSON) for name in JSON_FILES},
    **{f"{name} a list": with_content(name, b"[]") for name in JSON_FILES},
    **{f"{name} not UTF-8": with_content(name, b'{"a": "\xff"}') for name in JSON_FILES},
    **{f"{name} a folder": as_folder(name) for name in (*JSON_FILES, "model.safetensors")},
    **{f"{name} a pipe": as_pipe(name) for name in (*JSON_FILES, "model.safetensors")},
    **{f"{name} a link": as_link(name) for name in (*JSON_FILES, "model.safetensors")},
    **{f"{name} of gigabytes": as_large_file(name) for name in (*JSON_FILES, "vocab.json", "merges.txt")},
    "config.json missing": removed("config.json"),
    "weights missing": removed("model.safetensors"),
    "tokenizer missing": removed("tokenizer.json"),
    "weights empty": with_content("model.safetensors", b""),
    "weights truncated": truncated("model.safetensors", 0.5),
    "a header of exabytes": with_content("model.safetensors", struct.pack("<Q", 1 << 60) + b"{}"),
    "a header of garbage": with_content("model.safetensors", struct.pack("<Q", 9) + b"garbage!!"),
    "a deep header": with_content("model.safetensors", struct.pack("<Q", len(NESTED_JSON)) + NESTED_JSON),
    "another dtype": header(lambda tensors: tensors[EMBEDDING].update(dtype="I32")),
    "no dtype": header(lambda tensors: tensors[EMBEDDING].update(dtype="X9")),
    "a huge shape": shape(1 << 62, 1 << 62),
    "a negative shape": shape(-1, 32),
    "a shape of floats": shape(1.5, 32),
    "a shape of NaN": shape(float("nan"), 32),
    "a transposed shape": header(lambda tensors: tensors[EMBEDDING].update(shape=tensors[EMBEDDING]["shape"][::-1])),
    "huge offsets": offsets(0, 1 << 62),
    "offsets that overlap": offsets(0, 128),
    "reversed offsets": offsets(256, 0),
    "no weights": header(lambda tensors: {"__metadata__": {"format": "pt"}}),
    "weights of another layer": with_extra(model__decoder__layers__7__fc1__weight="float32"),
    "weights of whole numbers": with_extra(model__other="int32"),
    "no weights of the decoder": without("decoder"),
    "one weight missing": without("encoder.layers.0.fc1.weight"),
    "one bias missing": without("decoder.layers.0.encoder_attn.v_proj.bias"),
    "no embedding": without("embed_tokens"),
    "a million layers": config(encoder_layers=10**6),
    "a hundred layers": config(decoder_layers=100),
    "no layers": config(encoder_layers=0),
    "layers in words": config(encoder_layers="many"),
    "negative layers": config(decoder_layers=-1),
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
    "a start token out of range": config(decoder_start_token_id=10**6),
    "an end token in words": config(eos_token_id="end"),
    "a BERT": config(model_type="bert"),
    "no model": config(model_type=None),
    "a list of model types": config(model_type=["whisper"]),
    "an attention of the Hub": config(_attn_implementation="someone/kernel"),
    "a quantization": config(quantization_config={"quant_method": "bitsandbytes"}),
    "a billion tokens": generation(max_length=10**9),
    "a billion new tokens": generation(max_new_tokens=10**9),
    "a million beams": generation(num_beams=10**6),
    "a million return sequences": generation(num_return_sequences=10**6),
    "suppressed tokens in words": generation(suppress_tokens=["a", "b"]),
    "a suppressed token out of range": generation(suppress_tokens=[10**6]),
    "a begin-suppressed token out of range": generation(begin_suppress_tokens=[10**6]),
    "no end token": generation(eos_token_id=None),
    "an end token out of range": generation(eos_token_id=10**6),
    "languages in words": generation(lang_to_id={"<|sv|>": "sv"}),
    "a language token out of range": generation(lang_to_id={"<|sv|>": 10**6}),
    "a list of languages": generation(language=["sv"]),
    "alignment heads in words": generation(alignment_heads=["a"]),
    "custom generation code": generation(custom_generate="someone/generate"),
    "bands beyond the model": features(feature_size=128),
    "a billion bands": features(feature_size=10**9),
    "a huge transform": features(n_fft=10**9),
    "another rate": features(sampling_rate=8_000),
    "no hop": features(hop_length=0),
    "a pickle": pickled,
    "torch's pickle": pickled_by_torch,
    "custom code": code("config.json"),
    "a tokenizer's code": code("tokenizer_config.json"),
    "a processor's code": code("processor_config.json"),
    "a shard outside the folder": sharded("../outside.safetensors"),
    "a shard at the root": sharded("/etc/passwd"),
    "a shard that is a pickle": sharded("pytorch_model.bin"),
    "a shard that is a number": sharded(5),
    "a missing shard": sharded("model-00001-of-00001.safetensors"),
    "a deeply nested release.json": with_content("release.json", NESTED_JSON),
    "a release.json of an unknown format": with_content("release.json", b'{"format": [1]}'),
    "an empty tokenizer": with_content("tokenizer.json", b"{}"),
}


@pytest.fixture
def damaged_base(base, tmp_path):
    def make(damage):
        folder = shutil.copytree(base, tmp_path / "base")
        damage(folder)
        return folder

    return make


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_broken_base_is_refused_in_a_line_that_names_it(damaged_base, refusal, tmp_path, damage):
    folder = damaged_base(damage)
    line = refusal(models.prepare, Settings.model_validate({"model": {"base": str(folder)}}), ["hej"])
    assert str(folder) in line
    assert not (tmp_path / "mark").exists()


def test_a_file_instead_of_a_folder_is_refused(refusal, tmp_path):
    (tmp_path / "base").write_text("no folder")
    assert str(tmp_path / "base") in refusal(models.load, tmp_path / "base")


GOOD = {
    "unchanged": lambda folder: None,
    "without generation_config.json": removed("generation_config.json"),
    "with an extra bias of proj_out": with_extra(proj_out__bias="float32"),
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_a_good_base_is_loaded(damaged_base, change):
    assert models.load(damaged_base(change))[0].config.d_model == 32


def test_a_base_of_links_in_the_hubs_cache_is_loaded(base, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b/snapshots/1234", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(base, blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert models.load(snapshot)[0].config.d_model == 32
