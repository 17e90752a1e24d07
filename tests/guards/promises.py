"""Everything that the program promises to survive, and the tests that show it.

Each promise is a sentence that must hold whatever happens; each test is one of those that would turn red if it did
not. A new promise comes with its test, and a test that is removed or renamed leaves no promise behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """What holds, in a sentence, and the tests that show it: `file::function` below `tests`."""

    sentence: str
    tests: tuple[str, ...]


def promise(sentence: str, *tests: str) -> Promise:
    """A promise, with its tests one after the other."""
    return Promise(sentence, tests)


KILLED = (
    promise(
        "A kill at any step of the protocol loses no byte, and after two ordinary runs nothing of it is left.",
        "crash/test_kill_at_every_step.py::test_a_kill_at_any_step_loses_nothing_and_leaves_nothing",
        "crash/test_kill_at_every_step.py::test_a_kill_at_any_step_keeps_the_local_copy_where_deletion_is_off",
    ),
    promise(
        "A kill at any system call that renames, removes, writes, syncs or sends does no harm either.",
        "crash/test_kill_at_system_calls.py::test_a_kill_at_any_system_call_loses_nothing_and_leaves_nothing",
    ),
    promise(
        "What a killed run has sent to Google is continued with the same bytes and terms only, and is read back.",
        "stories/providers/test_provider_progress.py::test_the_next_run_continues_what_a_killed_run_sent_to_google",
        "providers/gcs/test_gcs_continuation.py::test_a_file_that_has_changed_since_is_sent_from_its_beginning",
        "providers/gcs/test_gcs_continuation.py::test_a_late_end_of_a_session_that_was_not_continued_replaces_nothing",
    ),
    promise(
        "What an operator holds keeps its local copy and is not migrated, wherever a run was when the hold was set.",
        "model/single_histories/test_holds.py::test_a_held_execution_keeps_its_local_copy_wherever_a_run_was_cut_off",
        "sql/test_memory.py::test_a_hold_set_during_the_migration_stops_the_removal",
        "stories/migration/test_quarantine.py::test_a_held_execution_is_neither_migrated_nor_removed",
    ),
    promise(
        "An execution that fails in too many runs is told of once and left alone; an outage puts none in quarantine.",
        "stories/migration/test_quarantine.py::test_an_execution_that_fails_in_too_many_runs_is_reported_once_and_left_alone",
        "stories/migration/test_quarantine.py::test_a_providers_failures_put_nothing_in_quarantine",
    ),
    promise(
        "A copy that comes home is switched whole or not at all, wherever the run was cut off.",
        "crash/test_rehome_killed.py::test_a_kill_at_any_step_of_a_move_leaves_the_row_right",
        "crash/test_rehome_killed.py::test_a_signal_at_any_step_of_a_move_ends_it_in_time",
        "crash/test_rehome_killed.py::test_a_kill_at_any_system_call_of_a_move_leaves_the_row_right",
        "model/single_histories/test_moves.py::test_a_move_that_was_cut_off_anywhere_loses_nothing",
    ),
    promise(
        "A destination whose disk is not mounted is neither written to nor believed, whatever its mount point holds.",
        "stories/providers/test_unmounted_destinations.py::test_a_disk_that_is_not_mounted_is_neither_written_to_nor_believed",
        "jobs/test_mounts.py::test_a_mount_point_is_not_used_and_the_disk_is_as_soon_as_it_is_mounted",
    ),
    promise(
        "An audit reports what is lost or damaged and nothing else, and proves bytes by listed checksums unread.",
        "jobs/audit/test_audit.py::test_each_harm_is_found_and_named",
        "jobs/audit/test_audit.py::test_what_is_stored_moved_and_removed_meanwhile_is_not_reported",
        "jobs/audit/test_audit.py::test_listed_checksums_prove_copies_without_reading_them",
        "jobs/audit/test_audit.py::test_a_fix_changes_nothing_that_is_not_as_it_was_found",
    ),
    promise(
        "Kills at random moments, one after the other, do no harm.",
        "crash/test_random_kills.py::test_random_deaths_lose_nothing_and_leave_nothing",
    ),
    promise(
        "A kill between the parts of a large file leaves none of them behind.",
        "crash/test_kill_at_every_step.py::test_a_kill_between_the_parts_of_a_large_file_leaves_none_of_them",
        "stories/hosts/test_interruptions.py::test_parts_that_a_death_left_are_removed_though_the_execution_went_elsewhere",
    ),
    promise(
        "A kill on the way to the alternate leaves nothing at the primary.",
        "crash/test_kill_at_every_step.py::test_a_kill_on_the_way_to_the_alternate_leaves_nothing_at_the_primary",
    ),
    promise(
        "A kill of the run that takes up what a killed one left does no harm.",
        "crash/test_kill_at_every_step.py::test_a_kill_while_a_killed_run_is_taken_up_again_loses_nothing",
    ),
    promise(
        "A removal that was killed is finished from the manifest, and compares again what is left.",
        "jobs/migration/removal/test_removal.py::test_a_killed_removal_is_finished_from_the_manifest",
        "jobs/migration/removal/test_removal.py::test_what_was_left_of_a_removal_is_compared_again",
        "stories/hosts/test_interruptions.py::test_a_death_in_the_middle_of_the_deletion_is_finished_by_the_next_tick",
    ),
    promise(
        "What is absent is called deleted only where a run has seen it go.",
        "jobs/migration/removal/test_removal.py::test_absence_is_no_removal",
        "jobs/migration/removal/test_removal.py::test_what_an_earlier_run_was_seen_to_remove_is_gone",
        "jobs/migration/removal/test_removal.py::test_what_is_missing_before_the_removal_was_begun_keeps_everything",
        "jobs/migration/removal/test_removal.py::test_a_foreign_directory_of_the_trash_name_is_left_alone",
        "sql/test_database.py::test_what_was_written_down_of_an_earlier_removal_says_nothing_about_a_later_one",
        "jobs/migration/test_taken_over.py::test_nothing_is_said_to_be_deleted_of_a_row_that_changed_while_the_last_of_it_went",
        "stories/migration/test_unfinished_removals.py::test_what_is_absent_is_not_called_deleted",
    ),
    promise(
        "A removal that was stopped in the middle removes one entry more at most once it is not to go on.",
        "jobs/migration/removal/test_removal.py::test_each_entry_is_asked_for_before_it_goes",
        "jobs/migration/test_taken_over.py::test_of_a_local_copy_that_is_lost_in_the_middle_one_entry_more_goes_at_most",
        "jobs/migration/test_taken_over.py::test_a_directory_that_got_its_name_back_meanwhile_stays",
        "storage/test_helpers.py::test_whoever_was_stopped_waits_for_word_before_he_does_what_cannot_be_undone",
    ),
    promise(
        "Deletion that is switched off during a run ends at once.",
        "jobs/migration/test_taken_over.py::test_deletion_that_is_switched_off_during_a_run_ends_at_once",
        "sql/test_database.py::test_a_policy_that_does_not_ask_for_a_deletion_any_more_ends_it",
    ),
    promise(
        "A removal that is stuck keeps no new work waiting, and is not forgotten.",
        "stories/migration/test_unfinished_removals.py::test_new_work_is_done_beside_a_removal_that_takes_long",
        "stories/migration/test_unfinished_removals.py::test_a_removal_that_failed_several_times_waits_and_is_not_forgotten",
        "sql/test_database.py::test_a_deletion_that_fails_again_and_again_is_tried_less_and_less_often",
    ),
    promise(
        "A removal does not take the directory of a row that came later.",
        "sql/test_database.py::test_rows_in_the_way_of_a_removal_are_found",
        "jobs/migration/test_taken_over.py::test_a_directory_that_another_row_names_by_now_stays",
        "stories/migration/test_unfinished_removals.py::test_a_removal_does_not_take_the_directory_of_a_new_row",
    ),
    promise(
        "What is said to be deleted or restored is so after a power failure, too.",
        "jobs/migration/removal/test_removal.py::test_a_removal_is_synced_before_it_is_reported",
        "jobs/migration/removal/test_removal.py::test_a_removal_that_does_not_reach_the_disk_is_none",
        "jobs/migration/restore/test_restore.py::test_everything_is_on_the_disk_before_the_mark_goes_and_that_before_success",
        "jobs/migration/restore/test_restore.py::test_what_does_not_reach_the_disk_is_not_restored",
    ),
    promise(
        "Nothing local is removed before the migration is committed.",
        "crash/test_kill_at_every_step.py::test_a_kill_at_any_step_loses_nothing_and_leaves_nothing",
        "jobs/migration/test_attempts.py::test_an_attempt_whose_commit_is_refused_has_failed",
    ),
    promise(
        "What is migrated comes back identical: names, bytes, modes, times, links, empty directories.",
        "stories/migration/test_six_hourly_tick.py::test_a_tick_moves_executions_to_every_kind_of_destination",
        "crash/test_kill_at_every_step.py::test_a_kill_at_any_step_loses_nothing_and_leaves_nothing",
    ),
    promise(
        "A restore that was killed never looks like a whole one, and the same command finishes it.",
        "crash/test_kill_at_every_step.py::test_a_killed_restore_never_looks_like_a_whole_one_and_continues",
        "jobs/migration/restore/test_restore_resumed.py::test_what_is_there_and_proven_is_not_fetched_again",
        "stories/commands/test_restores.py::test_a_restore_that_is_stopped_from_outside_continues_by_the_same_command",
    ),
    promise(
        "A restore that goes on replaces nothing that is not proven to be its own.",
        "jobs/migration/restore/test_restore_resumed.py::test_other_bytes_under_a_files_name_are_kept_and_reported",
        "jobs/migration/restore/test_restore_resumed.py::test_what_is_no_file_of_the_restores_own_is_not_taken_for_one",
        "jobs/migration/restore/test_restore_resumed.py::test_another_copys_remains_are_left_alone",
    ),
    promise(
        "No two entries become one in a restore, whatever names the destination takes for equal.",
        "jobs/migration/restore/test_restore_to_odd_disks.py::test_two_names_that_are_one_there_are_both_named_and_neither_replaces_the_other",
        "jobs/migration/restore/test_restore_to_odd_disks.py::test_a_name_that_the_disk_changes_is_reported",
    ),
    promise(
        "SIGTERM and SIGINT end a run within seconds, with 143 and 130, and leave nothing unfinished at a provider.",
        "crash/test_signals_at_every_step.py"
        "::test_a_signal_at_any_step_ends_the_run_in_time_and_leaves_nothing_unfinished",
        "stories/hosts/test_interruptions.py::test_a_signal_in_the_middle_of_an_upload_that_hangs_discards_it_and_loses_nothing",
        "jobs/test_signals.py::test_work_that_does_not_end_is_ended",
    ),
    promise(
        "A run without anything to do writes nothing anywhere.",
        "crash/test_kill_at_every_step.py::test_a_kill_at_any_step_loses_nothing_and_leaves_nothing",
        "stories/migration/test_six_hourly_tick.py"
        "::test_without_a_prefix_executions_are_at_the_top_and_a_second_tick_does_nothing",
    ),
)

HTTP_FAULTS = (
    "stories/providers/test_http_provider_faults.py::test_every_way_to_fail_leads_to_the_alternate_and_is_reported"
)
HTTP_PARTS = (
    "stories/providers/test_http_provider_faults.py::"
    "test_every_way_to_fail_in_a_large_file_leads_to_the_alternate_and_is_reported"
)
HTTP_SLOW = "stories/providers/test_http_provider_faults.py::test_a_slow_provider_is_given_up_in_time"
SFTP_LIES = "providers/test_wire_damage_sftp_local.py::test_what_keeps_failing_is_never_called_proven"

PROVIDERS = (
    promise(
        "A provider that refuses connections is given up at once, and the next one takes over.",
        "providers/test_provider_contract.py::test_a_refused_port_is_soon_found_out",
        "stories/providers/test_failing_providers.py::test_a_primary_whose_port_is_refused_is_tried_once",
    ),
    promise(
        "A provider that no packet reaches is given up in bounded time.",
        "providers/test_wire_damage_sftp_local.py::test_a_host_that_no_packet_reaches_is_given_up",
        "stories/providers/test_sftp_faults.py::test_a_host_that_no_packet_reaches_is_given_up",
        HTTP_SLOW,
    ),
    promise(
        "A provider that accepts and never answers is given up in bounded time.",
        "providers/test_provider_contract.py::test_a_server_that_never_answers_is_given_up",
        "providers/test_wire_damage_sftp_local.py::test_a_server_that_stops_to_answer_is_given_up",
        "stories/providers/test_failing_providers.py::test_a_primary_that_never_answers_is_called_few_times",
    ),
    promise(
        "A provider that only trickles is given up in bounded time.",
        HTTP_SLOW,
        "providers/shared/test_answers.py::test_an_answer_at_a_trickle_is_not_waited_for",
        "providers/test_wire_damage_sftp_local.py::test_a_transfer_that_only_trickles_is_given_up",
    ),
    promise(
        "A connection that is cut at any byte leads to another try, to the alternate, or to a local copy that stays.",
        HTTP_FAULTS,
        "providers/test_wire_damage_sftp_local.py::test_a_line_that_fails_at_any_byte_loses_nothing",
    ),
    promise("Throttling (429, 503 with Retry-After) holds nobody up: the alternate takes over.", HTTP_FAULTS),
    promise(
        "Access that is denied at the start or in the middle is told, without a secret, and the alternate takes over.",
        HTTP_FAULTS,
        "providers/test_provider_contract.py::test_wrong_credentials_are_denied",
        "providers/test_wire_damage_sftp_local.py"
        "::test_a_password_that_is_no_longer_accepted_in_the_middle_is_no_reason_to_continue",
    ),
    promise("A token that expires in the middle leads to the alternate.", HTTP_FAULTS),
    promise(
        "A bucket, container or directory that is missing is never made silently, also when it vanishes in the middle.",
        "providers/test_provider_contract.py::test_a_missing_destination_is_never_made",
        "stories/providers/test_failing_providers.py::test_a_bucket_that_is_not_there_is_never_made",
        "stories/providers/test_sftp_faults.py::test_a_base_directory_that_vanishes_in_the_middle_is_never_created_again",
        "stories/providers/test_local_faults.py::test_a_directory_that_is_not_mounted_is_reported_and_not_made",
        "providers/test_wire_damage_sftp_local.py::test_a_base_directory_that_vanishes_in_the_middle_is_never_created_again",
        "providers/local/test_local_provider.py::test_an_unmounted_directory_is_not_filled_below",
        HTTP_FAULTS,
    ),
    promise(
        "A destination without room or quota leads to the alternate, and is left clean.",
        HTTP_FAULTS,
        "stories/providers/test_local_faults.py::test_a_disk_that_takes_no_more_is_given_up_for_the_alternate",
        "providers/sftp/test_sftp_provider.py::test_a_full_disk_is_reported_and_left_clean",
        "providers/local/test_local_provider.py::test_a_full_disk_is_reported_and_left_clean",
    ),
    promise(
        "Bits that flip on the wire are found before anything is committed.",
        HTTP_FAULTS,
        HTTP_PARTS,
        SFTP_LIES,
        "providers/test_wire_damage_http.py::test_every_damage_on_the_wire_is_refused_or_found",
    ),
    promise(
        "Of a thousand random bit flips and truncations for each kind of provider all are found.",
        "providers/test_wire_damage_http.py::test_every_damage_on_the_wire_is_refused_or_found",
        "providers/test_wire_damage_sftp_local.py::test_a_thousand_random_damages_are_all_found",
    ),
    promise(
        "Bytes that are damaged where they are stored, before they are proven, are found.",
        "providers/test_wire_damage_http.py::test_every_damage_at_rest_is_found",
        "providers/test_wire_damage_sftp_local.py::test_what_is_damaged_before_it_is_proven_is_stored_again",
    ),
    promise(
        "What arrives truncated is found before anything is committed.",
        HTTP_FAULTS,
        SFTP_LIES,
        "providers/sftp/test_sftp_durability.py::test_a_server_that_keeps_less_than_was_sent_is_found_out",
    ),
    promise(
        "A provider that acknowledges and stores nothing is not believed.",
        HTTP_FAULTS,
        SFTP_LIES,
        "storage/test_upload.py::test_a_provider_that_keeps_giving_false_answers_is_not_believed",
    ),
    promise(
        "An answer that reports success with an error or nonsense in its body is not believed.",
        HTTP_FAULTS,
        "providers/shared/test_answers.py::test_an_answer_that_makes_no_sense_is_no_listing_and_no_object",
    ),
    promise(
        "An answer that is lost after a success does no harm.",
        HTTP_FAULTS,
        "providers/shared/test_answers.py::test_a_lost_answer_to_the_end_of_an_upload_in_parts_is_worth_another_try",
        "storage/test_upload.py::test_an_answer_that_is_lost_once_does_no_harm",
        "providers/test_wire_damage_sftp_local.py::test_what_goes_wrong_once_is_repaired",
    ),
    promise(
        "What fails once is healed, and the right bytes lie where they should.",
        "stories/providers/test_http_provider_faults.py::test_what_fails_once_is_repaired_and_the_primary_has_the_right_bytes",
        "providers/test_wire_damage_sftp_local.py::test_what_goes_wrong_once_is_repaired",
    ),
    promise(
        "Where no provider works the local copy and the row stay as they were, and the run ends with 1.",
        "stories/providers/test_http_provider_faults.py::test_without_an_alternate_the_local_copy_stays_and_the_row_too",
        "stories/providers/test_sftp_faults.py::test_without_an_alternate_the_local_directory_is_kept",
        "stories/providers/test_local_faults.py::test_without_an_alternate_a_full_disk_leaves_the_original_and_no_half_copy",
        "stories/providers/test_failing_providers.py"
        "::test_when_all_providers_are_down_nothing_is_lost_and_each_execution_is_named",
    ),
    promise(
        "A provider that is down is found out once a run, not once an execution.",
        "jobs/test_provider_set.py::test_a_provider_that_keeps_failing_is_left_alone",
        "stories/providers/test_failing_providers.py::test_a_primary_that_is_down_is_found_out_once_a_tick_not_once_an_execution",
    ),
    promise(
        "A size alone never proves a copy: bytes are compared by checksum, or read back.",
        "storage/test_upload.py::test_a_lie_is_found_out_and_put_right",
        "storage/test_upload.py::test_a_wrong_checksum_over_wrong_bytes_is_found_out",
    ),
    promise(
        "Objects that are not ours are neither replaced in silence nor ever removed.",
        "storage/test_upload.py::test_foreign_objects_are_kept_and_remembered",
        "stories/providers/test_failing_providers.py::test_objects_of_others_at_the_place_are_never_removed",
        "jobs/migration/test_leftovers.py::test_objects_that_are_not_ours_are_kept",
    ),
    promise(
        "What a failed attempt left is removed, but never a committed copy, whatever two rows call its place.",
        "jobs/migration/test_leftovers.py::test_what_a_failed_attempt_left_is_removed",
        "jobs/migration/test_leftovers.py::test_a_committed_copy_survives_when_two_rows_name_its_place",
    ),
    promise(
        "All requests of a provider believe the same certificates and go through the same proxy, whatever names them.",
        "providers/shared/test_network.py::test_every_request_believes_whom_any_of_the_ways_names",
        "providers/shared/test_network.py::test_every_request_goes_through_the_proxy",
        "providers/shared/test_network.py::test_no_request_goes_through_the_proxy_to_a_server_that_is_excepted",
        "providers/shared/test_network.py::test_credentials_are_asked_for_under_the_same_rules",
    ),
    promise(
        "A certificate that is not believed, and a proxy that refuses us, are called that.",
        "providers/shared/test_network.py::test_a_certificate_that_is_not_believed_is_called_that_by_every_request",
        "providers/shared/test_network.py::test_a_proxy_that_refuses_us_is_called_that_by_every_request",
    ),
    promise(
        "An SSH server gets every proof that it asks for, once, and a refusal says which are wanting.",
        "providers/sftp/test_ssh_authentication.py::test_every_method_that_is_asked_for_is_done_once_and_none_is_tried_in_vain",
        "providers/sftp/test_ssh_authentication.py::test_a_refusal_says_what_the_server_takes_and_what_we_have",
        "providers/sftp/test_ssh_authentication.py::test_openssh_is_given_all_that_it_asks_for",
    ),
    promise(
        "A server that cannot show who it is, is sent nothing.",
        "providers/shared/test_tls.py::test_a_server_with_a_certificate_of_its_own_making_is_sent_nothing",
        "providers/test_provider_contract.py::test_another_host_key_is_refused",
        "providers/test_wire_damage_sftp_local.py::test_a_server_that_shows_another_key_in_the_middle_is_refused",
    ),
    promise(
        "A request that arrives late, when others have stored meanwhile, replaces and deletes nothing of theirs where "
        "the destination can compare or forget what was discarded; where it cannot, that is known.",
        "storage/test_late_requests.py::test_a_late_first_manifest_replaces_nothing",
        "storage/test_late_requests.py::test_a_late_new_manifest_replaces_nothing",
        "storage/test_late_requests.py::test_a_late_deletion_removes_nothing",
        "storage/test_late_requests.py::test_a_late_rename_on_an_sftp_server_replaces_nothing",
        "storage/test_late_requests.py::test_a_late_rename_in_a_directory_replaces_nothing",
        "providers/gcs/test_gcs_provider.py::test_what_comes_late_to_gcs_changes_nothing",
        "providers/test_provider_contract.py"
        "::test_whether_late_requests_are_harmless_is_known_and_nothing_is_left_of_finding_out",
    ),
    promise(
        "What is unfinished of one execution is discarded without touching what another one has under way.",
        "providers/test_provider_contract.py::test_one_unfinished_upload_is_discarded_and_none_of_a_longer_name",
        "providers/sftp/test_sftp_provider.py::test_abandon_in_a_shared_directory_takes_only_its_own_and_what_is_old_and_anybodys",
        "providers/local/test_local_provider.py::test_abandon_in_a_shared_directory_takes_only_its_own_and_what_is_old_and_anybodys",
    ),
    promise(
        "Nothing is stored where it could not be read back at once.",
        "providers/s3/test_s3_provider.py::test_a_storage_class_that_cannot_be_read_at_once_is_refused_with_what_to_use_instead",
        "providers/azure/test_azure_provider.py::test_a_wrong_field_is_named_and_its_value_is_not",
    ),
)

PLACES = (
    promise(
        "A place at which another execution has, or may have, something is not used, nor one in it or around it.",
        "jobs/migration/test_places.py::test_a_place_of_another_execution_is_not_used",
        "jobs/migration/test_places.py::test_of_two_that_ask_for_one_place_at_the_same_moment_one_gets_it",
        "jobs/migration/test_leftovers.py::test_what_another_row_points_to_is_kept",
    ),
    promise(
        "What this installation did not store for this row is neither replaced nor removed.",
        "jobs/migration/test_places.py::test_a_file_of_somebody_else_is_not_overwritten",
        "jobs/migration/test_places.py::test_under_the_manifest_of_another_installation_nothing_is_written",
        "jobs/migration/test_places.py::test_a_manifest_of_another_row_is_not_replaced",
        "jobs/migration/test_places.py::test_a_manifest_that_somebody_stores_meanwhile_is_not_replaced",
        "jobs/migration/test_leftovers.py::test_what_another_installation_completed_is_kept",
    ),
    promise(
        "A whole and equal copy of another installation is recorded, once every byte of it was read.",
        "jobs/migration/test_places.py::test_an_equal_copy_of_another_installation_is_an_execution_already_migrated",
    ),
    promise(
        "A copy of the database is another installation.",
        "jobs/migration/test_places.py::test_a_copy_of_the_database_is_another_installation_and_owns_nothing_at_providers",
    ),
    promise(
        "What an earlier attempt stored is no evidence: its bytes are read back.",
        "jobs/migration/test_places.py::test_what_an_earlier_attempt_stored_is_proven_by_its_bytes",
        "jobs/migration/test_places.py::test_what_is_not_sent_again_is_read_back",
    ),
    promise(
        "A claim ends when uuid, directory, date or state of its row change.",
        "jobs/migration/test_places.py::test_a_claim_ends_with_what_was_claimed",
        "jobs/migration/test_places.py::test_a_row_that_changed_since_it_was_read_is_not_taken_up",
        "jobs/migration/test_places.py::test_an_execution_that_was_repeated_meanwhile_waits_for_its_retention",
    ),
    promise(
        "What is left of a migrated execution never takes the place of its copy.",
        "jobs/migration/test_places.py::test_what_a_removal_has_left_never_takes_the_place_of_the_whole",
    ),
    promise(
        "Copies are not kept in executions, and copies are no executions.",
        "jobs/migration/test_places.py::test_copies_are_not_kept_in_the_executions_themselves",
        "jobs/migration/test_places.py::test_the_directory_of_all_copies_is_no_execution",
    ),
    promise(
        "A place to which something may be on its way that would do harm is not used for an hour.",
        "jobs/migration/test_places.py::test_bytes_of_a_file_that_changed_since_may_still_arrive",
        "jobs/migration/test_leftovers.py::test_a_place_stays_closed_while_a_deletion_may_still_arrive_there",
    ),
    promise(
        "What was sent for a row that is gone is removed, but no copy that may be the last.",
        "jobs/migration/test_leftovers.py::test_what_was_sent_for_a_row_that_is_gone_is_removed",
        "jobs/migration/test_leftovers.py::test_a_whole_copy_of_a_row_that_is_gone_goes_only_where_its_original_is",
    ),
)

A_THOUSAND_MUTATIONS = (
    "jobs/migration/test_thousand_mutations.py::test_of_a_thousand_executions_that_change_at_any_moment_none_loses_a_byte",
    "jobs/migration/test_thousand_mutations.py::test_the_same_holds_on_an_object_store",
)
WHENEVER_IT_IS_READ = "files/test_walk.py::test_a_change_is_noticed_whenever_it_happens"

SOURCES = (
    promise(
        "Of a thousand executions that change at any moment none is committed wrongly, and no late file is deleted.",
        *A_THOUSAND_MUTATIONS,
    ),
    promise(
        "A file that grows, shrinks, vanishes or is replaced while it is read is not committed as it was.",
        WHENEVER_IT_IS_READ,
        "storage/test_upload.py::test_a_change_meanwhile_is_noticed_and_nothing_looks_complete",
    ),
    promise(
        "A file that is rewritten in place, with its old size and time, is another file.",
        WHENEVER_IT_IS_READ,
        "jobs/migration/removal/test_removal.py::test_a_difference_keeps_everything",
    ),
    promise(
        "A change within the same tick of the kernel's clock is noticed, too.",
        "files/test_walk.py::test_a_walk_waits_until_a_later_change_would_have_another_time",
    ),
    promise(
        "A file or directory that becomes unreadable is named, and its execution left until it can be read.",
        "jobs/migration/test_thousand_mutations.py::test_what_becomes_unreadable_is_left_until_it_can_be_read",
        "files/test_walk.py::test_an_unreadable_file_is_named",
    ),
    promise(
        "A file that appears while an execution is walked, sent, verified or deleted is never deleted unsent.",
        "storage/test_upload.py::test_a_change_meanwhile_is_noticed_and_nothing_looks_complete",
        "jobs/migration/removal/test_removal.py::test_a_file_that_appears_after_all_was_compared_stays",
        "stories/meddling/test_local_copies.py::test_what_changes_between_the_last_look_and_the_deletion_stays_and_is_reported",
    ),
    promise(
        "A directory that is swapped, for a link or for another one, is neither committed nor deleted.",
        "jobs/migration/test_attempts.py::test_a_directory_that_is_not_at_its_place_any_more_is_not_committed",
        "jobs/migration/test_attempts.py::test_a_directory_that_was_swapped_before_it_is_walked_is_not_sent",
        "jobs/migration/removal/test_removal.py::test_a_directory_swapped_before_it_is_renamed_is_not_touched",
    ),
    promise(
        "What a program has open for writing is not deleted before it is closed.",
        "stories/meddling/test_changing_sources.py"
        "::test_what_a_program_has_open_for_writing_is_migrated_and_deleted_once_it_is_closed",
        "jobs/migration/removal/test_removal.py::test_a_file_that_somebody_has_open_for_writing_keeps_everything",
        "jobs/migration/removal/test_removal.py::test_a_writer_who_comes_at_the_last_moment_keeps_his_file",
        "jobs/migration/removal/test_removal.py::test_a_writer_of_what_a_death_left_set_aside_keeps_it",
        "files/test_open_files.py::test_a_writer_that_the_kernel_does_not_tell_of_keeps_everything",
        "files/test_open_files.py::test_where_nobody_can_tell_the_files_of_others_stay",
        "files/test_open_files.py::test_a_user_who_may_remove_the_files_of_others_but_not_ask_for_their_writers_keeps_them",
    ),
    promise(
        "What is stored through a mapping is noticed as any other change.",
        "files/test_walk.py::test_what_is_stored_through_a_mapping_after_the_reading_is_noticed",
        "stories/meddling/test_changing_sources.py::test_what_is_stored_through_a_mapping_after_the_upload_is_not_deleted",
    ),
    promise(
        "Of a log that goes on growing no line is lost.",
        "stories/meddling/test_changing_sources.py::test_of_a_log_that_keeps_growing_no_line_is_lost",
    ),
)

DATABASE = (
    promise(
        "What is acted upon is on the database server's disk, whatever its role says, also through a pooler.",
        "sql/test_database.py::test_what_is_acted_upon_is_on_the_servers_disk_whatever_its_role_says",
    ),
    promise(
        "Whoever let go of an execution, or of its deletion, records nothing more, and its lease does not come back.",
        "sql/test_database.py::test_after_letting_go_nothing_begins_and_nothing_is_committed",
        "sql/test_database.py::test_a_lease_that_was_let_go_does_not_come_back",
        "sql/test_database.py::test_a_deletion_that_was_let_go_does_not_come_back",
    ),
    promise(
        "No token, record or attempt of one execution counts for another.",
        "sql/test_database.py::test_a_lost_claim_is_not_held_by_the_token_of_another_one",
        "sql/test_database.py::test_what_is_recorded_of_one_execution_changes_no_other",
        "sql/test_database.py::test_the_end_of_one_deletion_changes_no_other",
    ),
    promise(
        "No lease is longer than it was given, whatever becomes of the database's clock.",
        "storage/test_lease.py::test_a_database_whose_clock_was_set_back_gives_no_longer_lease",
    ),
    promise(
        "Without its database a run ends with 3 and touches nothing.",
        "stories/hosts/test_interruptions.py::test_without_the_database_nothing_is_touched",
    ),
    promise(
        "A database that is lost during an upload loses nothing.",
        "stories/hosts/test_interruptions.py::test_a_database_that_is_lost_in_the_middle_loses_nothing",
        "stories/hosts/test_interruptions.py::test_a_database_that_breaks_the_connection_once_is_asked_again",
    ),
    promise(
        "When a commit's answer is lost its outcome is asked for, and never guessed.",
        "stories/hosts/test_database_faults.py::test_the_outcome_of_a_commit_on_which_the_connection_broke_is_found_out",
        "stories/hosts/test_database_faults.py::test_a_commit_whose_outcome_stays_unknown_is_finished_by_the_next_run",
        "sql/test_database.py::test_a_commit_whose_answer_is_lost_is_known_to_have_happened",
        "sql/test_database.py::test_a_commit_that_was_refused_unheard_is_refused",
    ),
    promise(
        "On a database that only reads, nothing is touched; one that stops writing in the middle loses nothing.",
        "stories/hosts/test_database_faults.py::test_on_a_database_that_was_set_to_reading_only_nothing_is_touched",
        "stories/hosts/test_database_faults.py::test_a_database_that_takes_nothing_down_any_more_in_the_middle_loses_nothing",
    ),
    promise(
        "A row that somebody holds locked, or a statement that takes too long, fails alone.",
        "stories/hosts/test_database_faults.py::test_a_row_that_somebody_holds_locked_fails_alone",
        "stories/hosts/test_database_faults.py::test_a_row_of_the_daemons_own_that_somebody_holds_locked_fails_alone",
    ),
    promise(
        "Deadlocks and transactions that cannot be serialized are survived.",
        "stories/hosts/test_database_faults.py::test_a_deadlock_is_survived",
        "stories/hosts/test_database_faults.py::test_a_transaction_that_cannot_be_serialized_is_repeated",
    ),
    promise(
        "Tables of an older or newer version are left alone by every command.",
        "stories/hosts/test_database_faults.py::test_every_command_leaves_the_tables_of_another_version_alone",
        "sql/test_schema.py::test_a_newer_database_is_refused",
        "sql/test_schema.py::test_an_older_database_says_what_to_do",
    ),
    promise(
        "Everything works through a pooler that hands out connections by the transaction.",
        "stories/hosts/test_database_faults.py::test_everything_works_through_a_transaction_pooler",
        "stories/hosts/test_database_faults.py::test_a_setting_that_the_pooler_would_lose_is_not_relied_upon",
    ),
    promise(
        "Missing rights are told before anything is sent, and those that are documented are enough.",
        "stories/hosts/test_database_faults.py::test_the_rights_that_the_readme_names_are_enough",
        "stories/hosts/test_database_faults.py::test_a_right_that_is_missing_is_reported_before_anything_is_sent",
    ),
    promise(
        "A restart of the database and too many connections are waited out.",
        "stories/hosts/test_database_faults.py::test_a_restart_of_the_database_is_waited_out_and_a_standby_can_be_read",
        "stories/hosts/test_database_faults.py::test_too_many_connections_are_waited_out_in_the_middle",
    ),
    promise(
        "A row that changed or was migrated meanwhile is not overwritten.",
        "sql/test_database.py::test_a_row_that_changed_is_not_committed",
    ),
)

HOSTS = (
    promise(
        "Several installations may share a log directory: no line of any of them is lost, and none waits for another.",
        "config/test_logs.py::test_no_line_of_several_installations_in_one_directory_is_lost",
        "config/test_logs.py::test_no_process_waits_for_one_that_was_stopped_while_rotating",
        "config/test_logs.py::test_a_file_that_somebody_takes_away_is_created_again",
    ),
    promise(
        "A disk without room or inodes keeps nothing from being migrated and deleted: then it is needed most.",
        "stories/hosts/test_host_faults.py::test_a_tick_works_with_everything_local_on_a_full_disk",
        "stories/hosts/test_host_faults.py::test_a_whole_execution_is_removed_from_a_full_disk",
        "stories/hosts/test_host_faults.py::test_the_disk_of_the_log_fills_up_in_the_middle",
    ),
    promise(
        "What may not be written to, also the executions' own disk, is no reason not to migrate.",
        "stories/hosts/test_host_faults.py::test_what_may_not_be_written_to_is_no_reason_not_to_work",
        "stories/hosts/test_host_faults.py::test_executions_on_a_read_only_disk_are_migrated_and_stay",
    ),
    promise(
        "A clock that is wrong or jumps harms nothing.",
        "stories/hosts/test_host_faults.py::test_a_clock_that_jumps_harms_nothing",
        "stories/hosts/test_hosts.py::test_a_host_whose_clock_is_wrong_does_the_same",
    ),
    promise(
        "Of two runs at once that want the same job of a host the second gives way, with 75.",
        "stories/hosts/test_interruptions.py::test_a_second_migration_on_the_host_gives_way_at_once",
        "jobs/test_locks.py::test_a_second_run_is_refused_until_the_first_one_ends",
    ),
    promise(
        "Several hosts with the same rows do all of the work, and none of it twice.",
        "stories/hosts/test_interruptions.py::test_two_hosts_share_the_work_and_do_none_of_it_twice",
        "sql/test_database.py::test_of_several_hosts_exactly_one_gets_each_execution",
    ),
    promise(
        "A host leaves alone what another one has on its disk.",
        "stories/hosts/test_interruptions.py::test_a_host_leaves_alone_what_another_one_has_on_its_disk",
        "sql/test_database.py::test_unfinished_deletions_belong_to_their_host",
    ),
    promise(
        "A process that was stopped past its lease and woken changes nothing of what another one did.",
        "stories/hosts/test_hosts.py::test_a_host_that_slept_past_its_lease_changes_nothing_of_what_another_one_did",
        "stories/hosts/test_hosts.py::test_a_host_that_slept_changes_nothing_of_a_copy_that_differs_from_its_own",
        "jobs/migration/test_taken_over.py::test_nothing_more_is_sent",
        "jobs/migration/test_taken_over.py::test_nothing_is_removed_from_the_provider",
        "jobs/migration/test_taken_over.py::test_a_local_copy_that_is_not_ours_to_delete_any_more_stays",
    ),
    promise(
        "Whoever lost a claim can begin, commit and end nothing any more.",
        "sql/test_database.py::test_an_old_token_can_begin_and_commit_nothing",
        "sql/test_database.py::test_an_old_token_can_end_no_deletion",
    ),
    promise(
        "One bad execution, defect or job stops neither the others nor the next job.",
        "stories/migration/test_isolation.py::test_a_defect_that_one_execution_brings_out_does_not_stop_the_others",
        "stories/migration/test_isolation.py::test_what_stops_one_job_decides_the_exit_code_and_does_not_stop_the_next",
    ),
)

TIME = (
    promise(
        "A naive date is one of the database's time zone, and a zoned one is the moment that it names.",
        "sql/test_database.py::test_a_naive_date_is_in_the_databases_time_zone",
        "stories/setting_up/test_old_installations.py"
        "::test_the_age_of_an_execution_does_not_depend_on_the_time_zone_of_this_process",
    ),
    promise(
        "The hour that daylight saving repeats, or leaves out, makes no execution older than it is.",
        "stories/jobs/test_time.py::test_an_hour_that_comes_twice_or_never_makes_an_execution_no_older_than_it_is",
        "stories/jobs/test_time.py::test_zoned_dates_of_the_repeated_hour_are_two_moments",
    ),
    promise(
        "Dates in the future, without end, or missing are not due, and stop no others.",
        "stories/jobs/test_time.py::test_every_odd_date_is_taken_up_when_it_is_due_and_stops_no_other",
        "sql/test_database.py::test_what_is_due",
    ),
    promise(
        "A retention of NULL is none, a negative one is refused, and one of a hundred thousand years is never over.",
        "stories/jobs/test_time.py::test_a_retention_that_nobody_meant",
    ),
)

HOSTILE = (
    promise(
        "A row that names a destination's own directory does not get what lies there moved away.",
        "stories/meddling/test_hostile_trees.py::test_a_row_that_names_a_copy_does_not_get_it_moved_away",
    ),
    promise(
        "Links swapped in at any component of a directory, while it is worked on, lead nowhere.",
        "files/test_symlink_races.py::test_no_component_of_a_directory_leads_out_of_it",
        "jobs/migration/test_directories.py::test_a_link_in_any_component_is_refused",
    ),
    promise(
        "Links swapped in at any component of TEMP_DIR, or for a file in it, lead nowhere.",
        "files/test_symlink_races.py::test_no_component_of_the_temporary_directory_leads_out_of_it",
        "files/test_symlink_races.py::test_a_file_in_the_temporary_directory_leads_nowhere",
    ),
    promise(
        "What is mounted in an execution, also from the same disk, is neither sent nor deleted.",
        "files/test_mounts.py::test_a_tree_with_a_bind_mount_is_not_walked",
        "files/test_walk.py::test_a_mount_point_is_refused",
        "jobs/migration/test_directories.py::test_a_mount_point_is_refused",
        "jobs/migration/test_thousand_mutations.py::test_what_is_mounted_into_an_execution_is_neither_sent_nor_deleted",
        "stories/meddling/test_hostile_trees.py::test_what_is_mounted_in_an_execution_is_neither_uploaded_nor_deleted",
    ),
    promise(
        "A new file that takes the name of an old temporary one while that is deleted stays, under its name.",
        "jobs/temp_files/test_temp_files.py::test_what_comes_under_an_old_name_at_the_last_moment_stays",
        "jobs/temp_files/test_temp_files.py::test_what_was_replaced_twice_stays_twice",
        "jobs/temp_files/test_temp_files.py::test_what_a_killed_run_had_set_aside_goes_or_gets_its_name_back_as_its_age_says",
    ),
    promise(
        "Deleting one of several hard links leaves those outside as they are.",
        "stories/meddling/test_hostile_trees.py::test_a_hard_link_to_a_file_outside_is_a_file_and_only_its_name_goes",
        "jobs/migration/removal/test_removal.py::test_hard_links_go_in_one_removal",
        "jobs/temp_files/test_temp_files.py::test_one_of_several_hard_links_goes_alone",
        "stories/meddling/test_local_copies.py::test_deletion_never_leaves_the_execution",
    ),
    promise(
        "What lies outside the roots, is one of them, or contains one is never touched, also where roots overlap.",
        "jobs/migration/test_directories.py::test_a_hostile_path_is_refused_in_one_line",
        "jobs/migration/test_directories.py::test_a_root_in_a_root_is_no_execution",
        "stories/meddling/test_hostile_trees.py::test_roots_that_nest_overlap_repeat_or_are_empty_mean_what_they_say",
        "stories/meddling/test_hostile_rows.py::test_with_roots_set_only_what_is_properly_inside_one_is_touched",
    ),
    promise(
        "Without roots nothing is deleted, and the system's own directories are not even sent.",
        "jobs/migration/removal/test_removal.py::test_without_roots_nothing_is_removed",
        "jobs/migration/test_directories.py::test_without_roots_the_systems_own_directories_are_refused",
    ),
    promise(
        "Rows that share a directory, or one of which contains another's, are refused.",
        "stories/meddling/test_hostile_rows.py::test_executions_that_share_or_contain_each_others_directories_are_refused",
        "sql/test_database.py::test_equal_and_nested_directories_are_in_conflict",
    ),
    promise(
        "Two rows of the same uuid never store one over the other.",
        "stories/meddling/test_hostile_rows.py::test_rows_of_the_same_uuid_are_refused",
        "stories/meddling/test_hostile_rows.py::test_a_uuid_that_a_migrated_row_has_is_not_stored_over_its_copy",
    ),
    promise(
        "A uuid with '..', slashes or control characters is refused, and so is such a prefix.",
        "storage/test_keys.py::test_a_uuid_that_is_no_part_of_a_key_is_refused",
        "storage/test_manifest.py::test_a_uuid_that_is_no_name_is_refused",
        "stories/meddling/test_hostile_rows.py::test_uuids_that_are_no_names_are_refused",
        "stories/meddling/test_hostile_rows.py::test_a_prefix_that_leads_elsewhere_stops_the_migration",
    ),
    promise(
        "Two names never become one key, however odd they are.",
        "providers/test_key_encoding.py::test_no_two_names_are_written_alike",
        "providers/test_provider_contract.py::test_every_name_that_a_file_can_have",
        "storage/test_manifest.py::test_no_file_takes_the_place_of_a_manifest",
    ),
    promise(
        "Absurd lengths, depths and NUL are refused as the one execution's or provider's own problem.",
        "stories/meddling/test_hostile_trees.py::test_an_execution_deeper_than_any_path_is_refused",
        "stories/meddling/test_hostile_trees.py::test_directories_of_absurd_length_are_not_there",
        "stories/meddling/test_hostile_trees.py::test_a_null_in_any_text_of_a_provider_makes_that_provider_unusable",
        "jobs/migration/test_directories.py::test_a_path_that_is_too_long_is_refused_or_missing",
        "jobs/migration/test_directories.py::test_a_hostile_path_is_refused_in_one_line",
        "files/test_walk.py::test_absurd_nesting_is_refused",
        "storage/test_upload.py::test_names_that_the_provider_cannot_hold_are_refused_before_anything_is_sent",
    ),
    promise(
        "Sockets, FIFOs and devices are refused without being opened.",
        "files/test_walk.py::test_a_special_file_is_refused_by_name",
        "stories/meddling/test_hostile_rows.py::test_sockets_and_fifos_are_refused_without_being_opened",
    ),
    promise(
        "A restore does not leave its destination, whoever wrote the manifest.",
        "storage/test_hostile_manifests.py::test_a_hostile_manifest_is_refused_before_anything_is_written",
        "storage/test_hostile_manifests.py::test_links_to_outside_are_restored_as_they_are_and_never_followed",
        "files/test_symlink_races.py::test_no_component_of_a_restores_destination_leads_out_of_it",
    ),
    promise(
        "A restore gives nobody rights that he had not: no setuid for whoever restores, nothing readable too early.",
        "storage/test_hostile_manifests.py::test_a_file_comes_back_without_setuid_and_setgid_and_a_warning_says_so",
        "storage/test_hostile_manifests.py::test_nobody_else_can_look_into_a_file_before_it_is_whole",
    ),
    promise(
        "Objects and manifests without end fill neither disk nor memory.",
        "storage/test_hostile_manifests.py::test_an_object_without_end_fills_no_disk",
        "storage/test_hostile_manifests.py::test_a_manifest_without_end_fills_no_memory",
    ),
    promise(
        "A removal believes no manifest but the recorded one.",
        "storage/test_hostile_manifests.py::test_a_removal_believes_no_manifest_but_the_recorded_one",
        "storage/test_hostile_manifests.py::test_a_removal_with_a_hostile_manifest_removes_nothing",
    ),
    promise(
        "Foreign text neither forges a line of the log nor steers a terminal.",
        "stories/meddling/test_hostile_trees.py::test_names_neither_steer_a_terminal_nor_forge_a_line",
        "stories/meddling/test_hostile_trees.py::test_texts_of_the_platforms_rows_neither_steer_a_terminal_nor_forge_a_line",
        "config/test_logs.py::test_foreign_text_forges_no_line",
        "stories/telling/test_secrets_and_logs.py::test_foreign_text_cannot_forge_lines_of_the_log",
    ),
)

SECRETS = (
    promise(
        "A run that succeeds shows no secret, at DEBUG either: not in logs, arguments, columns or reports.",
        "stories/telling/test_planted_secrets.py::test_a_run_that_succeeds_gives_nothing_away_and_neither_does_getting_it_back",
        "stories/telling/test_secrets_and_logs.py::test_no_secret_is_on_the_command_line_of_any_process",
    ),
    promise(
        "No failure shows a secret: wrong fields, servers that are not there, refusals that repeat the request.",
        "stories/telling/test_planted_secrets.py::test_wrong_fields_and_servers_that_are_not_there_give_nothing_away",
        "stories/telling/test_planted_secrets.py::test_a_server_that_repeats_the_request_in_its_error_gives_nothing_away",
        "stories/telling/test_planted_secrets.py::test_a_server_that_repeats_the_request_for_a_token_gives_nothing_away",
        "stories/telling/test_planted_secrets.py::test_a_restore_that_is_refused_gives_nothing_away",
    ),
    promise(
        "No traceback and no message of a database shows a secret.",
        "stories/telling/test_planted_secrets.py::test_a_defect_whose_error_quotes_the_credentials_gives_nothing_away",
        "stories/telling/test_planted_secrets.py::test_a_database_that_quotes_the_row_in_its_error_gives_nothing_away",
    ),
    promise(
        "The database's own password and the keys of the secrets are not shown either.",
        "stories/telling/test_planted_secrets.py"
        "::test_a_password_that_was_not_encoded_for_its_place_in_the_address_is_not_shown",
        "stories/telling/test_planted_secrets.py::test_keys_that_are_none_are_not_shown",
    ),
    promise(
        "Secrets can be kept encrypted, each field of each kind of provider.",
        "stories/setting_up/test_secret_commands.py::test_every_field_of_every_kind_of_provider_may_be_a_secret",
        "commands/test_secret_store.py::test_a_secret_is_stored_encrypted_and_resolved_for_its_provider",
    ),
    promise(
        "Keys are changed without a moment in which a provider is without its secret, and all secrets follow.",
        "stories/setting_up/test_secret_commands.py"
        "::test_keys_are_changed_without_a_moment_in_which_a_provider_is_without_its_secret",
        "commands/test_secret_store.py::test_rotation_leaves_all_to_the_first_key_alone",
        "commands/test_secret_store.py::test_what_is_stored_during_a_rotation_is_neither_lost_nor_left_with_an_older_key",
    ),
)

HISTORIES = (
    promise(
        "No history of hosts, kills, stops, late requests and edits by the platform loses the last copy of anything.",
        "model/test_model.py::test_no_history_loses_the_last_copy",
    ),
    promise(
        "A loss in such a history is noticed.",
        "model/test_checks.py::test_a_lost_object_is_a_loss",
        "model/test_checks.py::test_other_bytes_are_a_loss",
        "model/test_checks.py::test_the_manifest_of_another_execution_is_a_loss",
        "model/test_checks.py::test_a_row_that_points_to_another_executions_bytes_is_a_loss",
        "model/test_checks.py::test_a_directory_that_is_removed_too_soon_is_a_loss",
    ),
    promise(
        "Bytes that an attempt did not send are not proven by a short checksum.",
        "model/single_histories/test_findings.py::test_bytes_of_a_dead_attempt_are_no_proof_of_others_with_the_same_checksum",
        "model/single_histories/test_findings.py::test_bytes_of_the_same_runs_first_attempt_are_no_proof_either",
    ),
    promise(
        "A copy is not overwritten or removed for another execution that has, or had, the same name.",
        "model/single_histories/test_findings.py::test_a_uuid_that_a_migrated_row_had_leads_no_other_row_to_its_copy",
        "model/single_histories/test_findings.py::test_leftovers_are_not_removed_where_another_rows_copy_is_by_now",
        "model/single_histories/test_findings.py::test_a_clone_of_the_database_does_not_overwrite_productions_copy",
    ),
    promise(
        "A request that arrives late changes no committed copy.",
        "model/single_histories/test_findings.py::test_a_late_removal_of_a_manifest_hits_nothing",
        "model/single_histories/test_findings.py::test_late_bytes_of_a_file_that_changed_since_hit_nothing",
        "model/single_histories/test_findings.py::test_a_late_manifest_of_other_bytes_hits_nothing",
    ),
    promise(
        "A file that arrives late lies over none that another run has stored, where the server keeps conditions.",
        "storage/test_late_requests.py::test_a_late_file_replaces_nothing",
        "storage/test_late_requests.py::test_a_late_file_whose_name_takes_another_way_replaces_nothing",
        "providers/gcs/test_gcs_provider.py::test_a_file_that_comes_late_to_gcs_replaces_nothing",
        "stories/hosts/test_hosts.py::test_a_file_that_arrives_late_replaces_none_that_was_written_again",
    ),
    promise(
        "What a removal that stood still or died has left of a directory does not replace its copy.",
        "model/single_histories/test_findings.py::test_a_removal_that_stood_still_removes_nothing_of_a_row_set_back",
        "model/single_histories/test_findings.py::test_the_rest_of_a_directory_does_not_replace_its_copy",
        "model/single_histories/test_findings.py::test_a_file_that_a_removal_had_set_aside_does_not_replace_its_copy",
    ),
)

LOGS = (
    promise(
        "A kill at any system call of the job of the logs loses no byte, and the next run leaves nothing of it.",
        "jobs/logs/test_kill.py::test_a_kill_at_any_call_loses_nothing_and_leaves_nothing",
        "jobs/logs/test_kill.py::test_a_kill_while_a_killed_run_is_put_right_loses_nothing_either",
    ),
    promise(
        "A log goes only when its copy is on the disk, was read back and is equal to what the log holds then.",
        "jobs/logs/test_races.py::test_a_copy_that_is_not_what_was_written_keeps_its_log",
        "jobs/logs/test_races.py::test_nothing_goes_before_the_disk_has_it",
        "jobs/logs/test_races.py::test_a_log_that_is_written_to_meanwhile_stays_whole",
        "jobs/logs/test_run.py::test_a_damaged_copy_is_not_taken_for_the_log",
    ),
    promise(
        "A log that a program has open for writing is left and named, whatever its age.",
        "jobs/logs/test_run.py::test_a_log_that_is_open_for_writing_is_left_and_named_whatever_its_age",
        "jobs/logs/test_races.py::test_a_log_that_is_opened_for_writing_meanwhile_stays",
        "jobs/logs/test_rights.py::test_who_opens_a_log_after_the_first_look_is_found_by_the_last",
    ),
    promise(
        "Programs that rotate their logs meanwhile lose none, and no other bytes lose their name.",
        "jobs/logs/test_races.py::test_a_program_that_rotates_all_the_time_loses_nothing",
        "jobs/logs/test_races.py::test_a_log_that_another_one_replaces_meanwhile_is_not_deleted",
        "jobs/logs/test_run.py::test_a_log_whose_copy_differs_gets_a_name_that_says_so",
    ),
    promise(
        "Nobody may read the copy of a log who may not read the log.",
        "jobs/logs/test_rights.py::test_a_copy_has_its_logs_owner_and_group",
        "jobs/logs/test_rights.py::test_a_copy_does_not_inherit_from_the_directory_what_its_log_has_not",
        "jobs/logs/test_rights.py::test_nobody_can_read_a_copy_that_is_not_finished",
    ),
    promise(
        "No link in or to a directory of logs is followed, whatever is swapped in.",
        "jobs/logs/test_races.py::test_no_component_of_a_log_directory_leads_out_of_it",
        "jobs/logs/test_races.py::test_a_log_that_is_swapped_for_a_link_leads_nowhere",
    ),
    promise(
        "A disk without room for a copy keeps its log, and some room is left to other programs.",
        "jobs/logs/test_little_room.py::test_what_does_not_fit_is_named_and_leaves_nothing",
        "jobs/logs/test_little_room.py::test_a_disk_that_fills_up_meanwhile_loses_nothing",
        "jobs/logs/test_little_room.py::test_some_room_is_left_to_other_programs",
    ),
)

OFF_SITE = (
    promise(
        "A kill while a backup is sent to a provider leaves no half copy that counts, and the next run sends it.",
        "jobs/backups/offsite/test_off_site.py::test_killed_at_any_step_no_half_copy_counts_and_the_next_run_finishes",
        "jobs/backups/offsite/test_off_site.py::test_what_a_killed_run_had_begun_to_upload_is_discarded",
    ),
    promise(
        "A copy of a backup counts only once the provider has proven it, on every kind of provider.",
        "jobs/backups/offsite/test_off_site.py::test_a_proven_copy_goes_to_each_kind_of_provider_and_comes_back",
        "jobs/backups/offsite/test_off_site.py::test_wrong_bytes_at_the_provider_are_no_copy",
        "jobs/backups/offsite/test_off_site.py::test_a_backup_that_is_damaged_on_the_disk_is_sent_nowhere",
    ),
    promise(
        "With public keys set, no backup leaves the host unencrypted, neither to a provider nor by mail.",
        "jobs/backups/offsite/test_off_site.py::test_a_proven_copy_goes_to_each_kind_of_provider_and_comes_back",
        "jobs/backups/offsite/test_mail.py::test_with_recipients_only_what_is_encrypted_leaves",
        "stories/jobs/test_backups_off_site.py::test_keys_that_are_none_stop_the_job_before_anything_is_written",
    ),
    promise(
        "A provider that fails stops no other, marks no backup bad, and gets its copy from the next tick.",
        "jobs/backups/offsite/test_off_site.py::test_a_provider_that_fails_is_named_stops_no_other_and_is_tried_again",
        "stories/jobs/test_backups_off_site.py::test_a_failed_copy_is_sent_by_the_next_tick_which_makes_no_other_backup",
    ),
    promise(
        "The only copy of the newest backup that is left anywhere is not deleted, wherever it is.",
        "stories/jobs/test_backups_off_site.py::"
        "test_retention_removes_old_chains_from_the_provider_too_and_keeps_the_newest",
    ),
    promise(
        "A new machine with nothing but the row of a provider finds, proves and restores its backups.",
        "stories/jobs/test_backups_off_site.py::test_a_new_machine_with_nothing_but_the_provider_finds_proves_and_restores",
    ),
)

BRINGING_BACK = (
    promise(
        "A restore of several replaces nothing that is there, and one that fails stops no other.",
        "stories/commands/test_restore_many.py::test_one_that_fails_stops_no_other_and_the_same_command_continues",
        "stories/commands/test_restore_many.py::test_what_is_there_is_recognised_by_its_contents_and_never_replaced",
        "stories/commands/test_restores.py::test_a_restore_of_several_that_is_killed_continues_where_it_stopped",
    ),
    promise(
        "What comes back to where it was stays inside the roots, and no removal under way takes it.",
        "stories/commands/test_restore_many.py::test_in_place_fills_only_what_is_missing_or_empty_inside_the_roots",
        "stories/commands/test_restore_many.py::test_in_place_follows_no_link_and_needs_roots_that_are_there",
        "stories/commands/test_restore_many.py::test_in_place_waits_for_a_removal_that_is_not_finished",
    ),
    promise(
        "Lost rows are rebuilt for complete copies only, and rows that exist are never changed.",
        "stories/commands/test_rebuild.py::test_lost_rows_are_shown_first_and_then_written_as_they_were",
        "stories/commands/test_rebuild.py::test_only_complete_copies_count_and_rows_that_exist_are_left",
        "stories/commands/test_rebuild.py::test_rows_that_say_something_else_are_named_and_not_touched",
    ),
    promise(
        "A signed address reads one object, for as long as the service allows, and gets into no log.",
        "providers/test_signed_urls.py::test_an_address_reads_its_object_and_no_other_one_and_is_in_no_log",
        "providers/test_signed_urls.py::test_no_address_is_for_longer_than_the_service_allows",
        "stories/commands/test_contents_of_copies.py::test_url_gives_an_address_on_the_standard_output_only",
    ),
)

NOTICES = (
    promise(
        "A kill at any moment loses no notice, and none reaches a channel more than twice under one number.",
        "jobs/notify/test_kills.py::test_200_kills_lose_no_notice_and_send_none_more_than_twice",
        "jobs/notify/test_kills.py::test_a_kill_between_state_and_notice_leaves_both_or_neither",
        "jobs/notify/test_delivery.py::test_what_may_have_arrived_is_sent_twice_and_then_under_another_number",
    ),
    promise(
        "A channel that fails keeps nothing from the others, and changes neither a run nor its exit code.",
        "jobs/notify/test_delivery.py::test_a_channel_that_fails_is_recorded_and_the_others_get_theirs",
        "jobs/notify/test_ticks.py::test_a_channel_that_fails_changes_nothing_but_its_own_job",
    ),
)

PROMISES: Mapping[str, tuple[Promise, ...]] = {
    "killed at any moment": KILLED,
    "faults of providers": PROVIDERS,
    "whose a copy is": PLACES,
    "faults of sources": SOURCES,
    "faults of the database": DATABASE,
    "faults of hosts": HOSTS,
    "time": TIME,
    "histories": HISTORIES,
    "hostile input": HOSTILE,
    "secrets": SECRETS,
    "logs": LOGS,
    "backups at providers": OFF_SITE,
    "bringing back": BRINGING_BACK,
    "notices": NOTICES,
}
