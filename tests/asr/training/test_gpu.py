"""A GPU that cannot be used is reported in one line that says what to do. The tests fake torch's answers."""

import pytest
import torch
from asr.settings import Settings
from asr.training import distributed, gpu

OLD_DRIVER_ERROR = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver.\nMore."
)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A machine with an NVIDIA driver, whose GPU torch cannot use."""
    (tmp_path / "version").write_text("NVRM version: 470.57")
    monkeypatch.setattr(gpu, "DRIVER_FILE", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def memory(monkeypatch):
    """A function that sets how many GiB of a T4 are free, and how many torch has reserved."""

    def set_memory(free, reserved):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free * 2**30, 15 * 2**30))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: reserved * 2**30)

    return set_memory


def raising(error, **training):
    settings = Settings.model_validate({"training": training})

    def use():
        with gpu.explained_errors(settings):
            raise error

    return use


def test_a_driver_that_is_too_old_is_reported(driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "init", lambda: (_ for _ in ()).throw(RuntimeError(OLD_DRIVER_ERROR)))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    line = gpu.unused_reason()
    assert "too old (found version 11040)" in line
    assert "CUDA 13.0" in line
    assert "Update its driver" in line
    assert "\n" not in line


def test_a_torch_without_cuda_is_reported(driver, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "init", lambda: (_ for _ in ()).throw(AssertionError("Torch not compiled with CUDA enabled"))
    )
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "Torch not compiled with CUDA enabled" in gpu.unused_reason()


def test_a_hidden_gpu_is_reported(driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    assert "CUDA_VISIBLE_DEVICES" in gpu.unused_reason()


def test_without_a_driver_nothing_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "DRIVER_FILE", tmp_path / "none")
    assert gpu.unused_reason() is None


def test_a_gpu_that_works_is_used(driver, memory):
    memory(free=15, reserved=0)
    assert gpu.unused_reason() is None


def test_a_gpu_too_small_for_one_clip_is_reported_with_settings_that_need_less(refusal, memory):
    memory(free=1, reserved=14)
    line = refusal(raising(torch.OutOfMemoryError("CUDA")))
    assert line.startswith("[model] base: the GPU's 15.0 GiB of memory do not hold the model and one clip")
    assert "gradient_checkpointing = true or lora_rank = 32 or freeze_encoder = true" in line
    saving = raising(torch.OutOfMemoryError("CUDA"), gradient_checkpointing=True, lora_rank=8)
    assert refusal(saving).endswith("one clip; take a smaller base")


def test_memory_of_other_processes_is_reported(refusal, memory):
    memory(free=1, reserved=2)
    assert refusal(raising(torch.OutOfMemoryError("CUDA"))).startswith(
        "other processes hold 12.0 of the GPU's 15.0 GiB"
    )


def test_a_gpu_in_exclusive_use_is_reported(refusal):
    busy = RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")
    assert refusal(raising(busy)).startswith("the GPU is taken: another process has it")


def test_other_errors_are_raised_unchanged():
    with pytest.raises(RuntimeError, match="an illegal memory access"):
        raising(RuntimeError("CUDA error: an illegal memory access was encountered"))()


def test_a_pod_whose_gpu_cannot_be_used_is_refused(driver, monkeypatch, refusal):
    monkeypatch.setattr(torch.cuda, "init", lambda: (_ for _ in ()).throw(RuntimeError(OLD_DRIVER_ERROR)))
    assert distributed.gpu_count(Settings()) == 1
    monkeypatch.setenv("METAFLOW_KUBERNETES_WORKLOAD", "1")
    assert "too old" in refusal(lambda: distributed.gpu_count(Settings()))
