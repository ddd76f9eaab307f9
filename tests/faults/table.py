"""The faults by number: in words, and the tests that inject each and look at what happened."""

from __future__ import annotations

from dataclasses import dataclass

ENGINES = "tests/faults/test_engines.py"
DEPLOYED = "tests/faults/test_deployed_nights.py"
LEASES = "tests/registry/test_leases.py"
BROKEN = "tests/faults/test_broken_writes.py"
PROJECTION = "tests/registry/test_projection.py"
TASK = "tests/search/test_task.py"


@dataclass(frozen=True)
class Fault:
    """``says``: what happened, where the tests do not tell it by figures of their own."""

    words: str
    tests: tuple[str, ...]
    says: str = ""


FAULTS: dict[int, Fault] = {
    1: Fault("SIGKILL at every step of the journal", ("tests/faults/test_killed_flow.py",),
             "each next night went on where the dead one was; the last has the undisturbed night's leaderboard digest"),
    2: Fault("SIGKILL of the JVM in mid-AutoML",
             (f"{ENGINES}::test_a_jvm_shot_in_mid_search_is_named_and_worth_a_retry",
              f"{TASK}::test_while_a_retry_is_left_a_killed_engine_raises",
              f"{TASK}::test_outside_a_run_a_killed_engine_is_a_result_with_its_error",
              f"{TASK}::test_a_failure_is_not_kept"),
             "H2O's JVM named as killed; tried again; the second failure is a result with its error, the rest goes on"),
    3: Fault("SIGKILL of Python",
             (f"{ENGINES}::test_no_jvm_is_left_ten_seconds_after_its_python_was_killed",
              "tests/faults/test_interrupt.py"),
             "parent or engine killed: no JVM and no engine is left after 10 s"),
    4: Fault("Prefect server gone for minutes", ("tests/faults/test_server_gone.py",)),
    5: Fault("SIGKILL between upload and alias", ("tests/registry/test_killed_nights.py",),
             "no alias moved; the next night is whole and the orphan has no place"),
    6: Fault("SIGKILL between ledger and alias",
             (f"{PROJECTION}::test_a_kill_between_commit_and_alias_is_repaired_at_the_next_start",
              f"{PROJECTION}::test_one_stopped_between_commit_and_alias_does_not_show_its_old_standing_later"),
             "consumers keep the version before; the next start puts the alias where the ledger says"),
    7: Fault("disk full at each write", ("tests/faults/test_full_disk.py",)),
    8: Fault("I/O error or short write at each call",
             (f"{BROKEN}::test_an_io_error_at_each_call", f"{BROKEN}::test_a_short_write_wherever_a_file_ends",
              f"{BROKEN}::test_an_error_of_the_disk_is_told_as_what_it_is")),
    9: Fault("unsynced writes lost", (f"{BROKEN}::test_power_that_fails_after_each_call",)),
    10: Fault("two nightlies at once",
              (f"{LEASES}::test_who_holds_it_is_told_at_once_and_who_was_killed_is_succeeded_at_once",
               f"{LEASES}::test_of_many_who_want_it_one_has_it_and_tokens_only_rise",
               f"{DEPLOYED}::test_the_command_line_refuses_at_once_while_a_night_is_at_work"),
              "one runs; the other is told who holds the lease, since when, and how to stop it"),
    11: Fault("the same slot three times",
              (f"{DEPLOYED}::test_of_a_slot_that_was_sent_three_times_one_run_does_the_work",),
              "one run did the work, two were skipped and name it"),
    12: Fault("manual and nightly together",
              (f"{DEPLOYED}::test_a_manual_and_a_scheduled_night_run_one_after_the_other",),
              "one after the other"),
    13: Fault("two promoters",
              (f"{PROJECTION}::test_of_two_promoters_one_wins_and_mlflow_shows_the_last",
               f"{PROJECTION}::test_a_move_that_came_too_late_leaves_the_aliases_alone"),
              "10 races of two processes: one wins each, the other's epoch is stale; MLflow shows the last"),
    14: Fault("lease holder stopped and resumed",
              (f"{LEASES}::test_a_holder_that_was_stopped_past_its_term_is_fenced_when_it_goes_on",),
              "SIGSTOP past its term (a term of 1 s stands for ten minutes), SIGCONT: FencedError at its next write"),
    15: Fault("stale or empty lock file",
              ("tests/faults/test_stale_locks.py",
               f"{LEASES}::test_another_machines_lease_is_taken_after_a_term_whatever_the_clock_says",
               f"{LEASES}::test_a_process_is_known_by_more_than_its_number")),
    16: Fault("clock a day off, backwards, clock change",
              ("tests/faults/test_wrong_clocks.py",
               f"{LEASES}::test_a_clock_a_day_off_takes_the_lease_from_nobody_who_lives")),
    17: Fault("one bit flipped",
              ("tests/faults/test_flipped_bits.py", f"{TASK}::test_a_damaged_answer_is_computed_again")),
    18: Fault("vendor times out, 429, truncates, HTML", ("tests/bars/sources/test_vendor_faults.py",),
              "asked three times with jittered waits, then one sentence; nothing written"),
    19: Fault("JVM out of memory; wrong or no Java",
              (f"{ENGINES}::test_no_java_is_said_so", f"{ENGINES}::test_without_the_wheel_the_extra_is_named",
               f"{ENGINES}::test_a_java_that_h2o_refuses_is_quoted", f"{ENGINES}::test_a_jvm_without_memory_is_named",
               "tests/report/test_facts.py::test_missing_results_make_a_night_partial"),
              "the cause by name; what the other engines found is kept, and the night is marked partial"),
    20: Fault("rollback while consumers pull",
              ("tests/registry/test_rollback.py::test_while_consumers_pull_each_gets_one_whole_version",),
              "four rollbacks, three consumers: every pull has the digest of one of the two versions"),
}  # fmt: skip
