"""What of the suite does not run on the fake device, and why: the one list of it.

All else of the rooms that `make test-fake` names runs there. An entry is a folder, a file, or a test of it.
"""

from __future__ import annotations

NOT_ON_FAKE: dict[str, tuple[str, ...]] = {
    "starts processes, and the fake device is of one": (
        "tests/evaluation/runner/test_processes.py",
        "tests/invariants/test_distribution.py",
        "tests/invariants/test_ranks.py",
        "tests/invariants/test_sparse_ranks.py",
        "tests/training/test_augmentation.py::test_two_ranks_read_what_one_reads",
        "tests/training/test_dirichlet.py::test_two_ranks_train_as_one_does",
        "tests/training/test_kill_storm.py",
        "tests/training/test_killed_jobs.py",
        "tests/training/test_one_at_a_time.py",
        "tests/training/test_push.py",
        "tests/training/test_sparse_trainer.py::test_a_killed_process_is_continued_to_the_same_end",
        "tests/training/test_survives.py::test_killed_and_resumed_equals_uninterrupted",
        "tests/training/test_ticket_resuming.py::test_killed_and_resumed_equals_uninterrupted",
        "tests/training/test_what_is_pushed.py",
    ),
    "runs replicas for which the CPU stands in": ("tests/invariants/test_replicas.py",),
    "compiles or exports, and torch's compilers know neither the device nor how tests put tensors there": (
        "tests/tickets/test_export.py",
        "tests/training/test_compilation.py",
        "tests/training/test_features.py::test_torch_compile",
        "tests/training/test_features.py::test_torch_compile_of_hidden_layers_runs_without_the_cache",
    ),
    "captures steps on the CPU: tests/device/test_captured.py does so on a device": (
        "tests/training/captured/test_capture_refusals.py",
        "tests/training/captured/test_captured_steps.py",
    ),
    "needs autocast or a loss scaler, and the fake device has none: tests/device has them on CUDA": (
        "tests/evaluation/results/test_comparability.py::test_how_the_model_was_asked_is_a_reason",
        "tests/evaluation/victim/test_trained_in_half.py::test_the_autocast_of_training_stays_out_and_comes_back",
        "tests/tickets/test_surroundings.py::test_gates_under_autocast",
        "tests/training/test_features.py::test_bf16",
        "tests/training/test_features.py::test_fp16",
        "tests/training/test_features.py::test_overflow_under_the_scaler",
        "tests/training/test_sparse.py::test_growth_hardly_depends_on_precision",
    ),
    "compares with TextAttack's own wrapper, which knows the CPU and CUDA alone": (
        "tests/evaluation/recipes/test_against_stock.py",
    ),
    "files, imports and settings: no tensors of a device": (
        "tests/evaluation/test_compat.py",
        "tests/evaluation/test_config.py",
        "tests/evaluation/test_fetching.py",
        "tests/evaluation/test_sampling.py",
    ),
}


def reason_not_to_run(nodeid: str) -> str | None:
    """Why a test is not for the fake device; None if it is."""
    for reason, entries in NOT_ON_FAKE.items():
        if any(nodeid == entry or nodeid.startswith((f"{entry}/", f"{entry}::", f"{entry}[")) for entry in entries):
            return reason
    return None
