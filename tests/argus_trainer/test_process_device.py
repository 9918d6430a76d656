"""How many threads a container may use, and the GPUs that it asked for."""

import os

import pytest
import torch

from argus_trainer.errors import ConfigurationError, GpuOutOfMemory
from argus_trainer.process.device import make_fabric, names_its_memory, usable_cpus
from argus_trainer.process.gpus import check_gpus

ALL = len(os.sched_getaffinity(0))


def test_without_a_limit_all_cpus_are_usable(tmp_path):
    assert usable_cpus(tmp_path) == ALL
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path) == ALL


def test_a_quota_is_rounded_up_to_whole_cpus(tmp_path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("6400000 100000\n")
    assert usable_cpus(tmp_path) == min(64, ALL)


def test_the_first_version_of_cgroups_counts_as_well(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert usable_cpus(tmp_path) == ALL
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("90000\n")
    assert usable_cpus(tmp_path) == 1


def test_a_gpu_that_is_not_visible_is_no_silent_run_on_the_cpu():
    visible = torch.cuda.device_count()
    check_gpus(visible)
    with pytest.raises(ConfigurationError, match="driver and device plugin"):
        check_gpus(visible + 1)


def test_a_batch_that_the_gpu_cannot_hold_has_a_reason_of_its_own_and_the_way_out():
    words = "batchSize 512: make the run again with a smaller"
    with pytest.raises(GpuOutOfMemory, match=words), names_its_memory(512):
        raise torch.OutOfMemoryError("tried to allocate 9 GiB")


@pytest.mark.parametrize(
    ("gpus", "deterministic", "exact"),
    [(0, False, True), (0, True, True), (1, False, False), (1, True, True)],
)
def test_only_a_gpu_is_exact_on_demand(monkeypatch, gpus, deterministic, exact):
    monkeypatch.setattr("argus_trainer.process.device.Fabric", lambda **options: options)
    before = torch.are_deterministic_algorithms_enabled()
    try:
        options = make_fabric(
            gpus=gpus, threads=torch.get_num_threads(), deterministic=deterministic
        )
        assert torch.are_deterministic_algorithms_enabled() is exact
    finally:
        torch.use_deterministic_algorithms(before)
    assert options["accelerator"] == ("cuda" if gpus else "cpu")
