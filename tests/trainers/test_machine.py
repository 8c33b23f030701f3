"""What this machine offers, as far as this process may use it."""

import pytest

from trainers.machine import GPU, Machine, cgroup_limits, core_quota, partitioned, visible_gpus

GB = 10**9


@pytest.mark.parametrize(
    ("content", "cores"), [("150000 100000\n", [2]), ("50000 100000\n", [1]), ("max 100000\n", []), ("", [])]
)
def test_a_quota_of_cores_counts(tmp_path, content, cores):
    (tmp_path / "cpu.max").write_text(content)
    assert core_quota(tmp_path) == cores


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert core_quota(tmp_path) == []


GPUS = """\
GPU-aaaa, 143771, Enabled
GPU-dddd, 143771, Disabled
GPU-eeee, 11264, [N/A]
"""
LISTING = """\
GPU 0: NVIDIA H200 (UUID: GPU-aaaa)
  MIG 1g.18gb     Device  0: (UUID: MIG-bbbb)
  MIG 1g.18gb+me  Device  1: (UUID: MIG-cccc)
GPU 1: NVIDIA H200 (UUID: GPU-dddd)
GPU 2: NVIDIA GeForce RTX 2080 Ti (UUID: GPU-eeee)
"""


def test_partitions_take_the_place_of_their_gpu():
    partitions = [GPU("MIG-bbbb", 18 * GB), GPU("MIG-cccc", 18 * GB)]
    whole = [[GPU("GPU-dddd", 143771 * 2**20)], [GPU("GPU-eeee", 11264 * 2**20)]]
    assert partitioned(GPUS, LISTING, 0) == [partitions, *whole]


def test_a_gpu_that_is_to_be_partitioned_and_is_not_offers_nothing():
    assert partitioned("GPU-aaaa, 143771, Enabled\n", "GPU 0: NVIDIA H200 (UUID: GPU-aaaa)\n", 0) == [[]]


def test_an_integrated_gpu_has_the_memory_of_the_machine():
    assert partitioned("GPU-aaaa, [N/A], [N/A]\n", "", 128 * GB) == [[GPU("GPU-aaaa", 128 * GB)]]


def test_without_a_driver_there_are_no_gpus():
    assert partitioned("", "", 0) == []


@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        (None, [("MIG-b", 1), ("MIG-c", 2), ("GPU-d", 3), ("GPU-e", 4)]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,1", [("2", 4), ("1", 3)]),
        ("0", [("0", 1)]),
        ("1,7,0", [("1", 3)]),
        ("2,-1,1", [("2", 4)]),
        ("GPU-d, MIG-c", [("GPU-d", 3), ("MIG-c", 2)]),
    ],
)
def test_cuda_visible_devices_is_honoured(visible, shown):
    """Ids are handed on as they were given, because CUDA and its driver number GPUs differently."""
    gpus = [[GPU("MIG-b", 1), GPU("MIG-c", 2)], [GPU("GPU-d", 3)], [GPU("GPU-e", 4)]]
    assert [(gpu.id, gpu.bytes) for gpu in visible_gpus(gpus, visible)] == shown


def test_limits_of_a_container_count(tmp_path):
    (tmp_path / "memory.max").write_text("4096\n")
    assert set(cgroup_limits(tmp_path)) == {4096}
    (tmp_path / "memory.max").write_text("max\n")
    assert cgroup_limits(tmp_path) == []


def test_this_machine_has_memory_and_cores():
    here = Machine.here()
    assert here.ram_bytes > GB
    assert here.cores >= 1


def test_memory_is_told_in_gib_as_drivers_do():
    assert str(Machine(16 << 30).with_gpu("a100-80")) == "a GPU of the kind gpu=a100-80 has 80.0 GiB"
    assert str(Machine(16 << 30)) == "this machine has 16.0 GiB of memory and no GPU"
