//! What every executor has to do, whatever it is made of.
//!
//! Each test takes an executor and a workshop to make layers in. [`contract`](crate::contract) makes tests of them.

pub(crate) mod changes;
pub(crate) mod ending;
pub(crate) mod isolation;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod ssh;

/// Makes a test of each item of the contract, with the executor that `$executor` gives for a workshop, if any.
#[macro_export]
macro_rules! contract {
    ($executor:path) => {
        $crate::contract! { $executor, changes:
            new_changed_and_deleted_entries_are_captured a_step_that_changes_nothing_has_no_changes
            a_replaced_directory_is_opaque whiteouts_of_lower_layers_are_honoured a_layer_may_be_there_twice
            an_empty_snapshot_takes_files mount_points_never_enter_the_layer
            only_touched_directories_are_captured a_failed_step_has_no_changes many_layers_are_one_root
            the_root_looks_like_the_images hard_links_and_owners_survive
        }
        $crate::contract! { $executor, ending:
            what_was_left_running_is_killed_before_the_changes_are_taken
            an_open_output_does_not_keep_the_step_alive dropping_the_future_leaves_nothing
            a_receiver_that_fails_ends_the_step steps_run_side_by_side
            a_tree_deeper_than_any_path_is_captured_and_removed
        }
        $crate::contract! { $executor, isolation:
            there_is_no_network_but_loopback proc_and_sys_are_masked devices_are_those_of_a_container
            nodes_that_a_process_makes_open_no_device the_init_is_out_of_reach
            nothing_of_the_sandboxs_own_is_within_reach
            capabilities_and_filter_are_those_of_docker hosts_are_the_sandboxs_own
            resolv_conf_may_be_a_link_to_nowhere
        }
        $crate::contract! { $executor, limits:
            time_is_limited memory_is_limited a_step_that_outlives_its_limit_says_how_it_ended
            processes_are_limited processors_are_limited usage_is_told what_cannot_be_enforced_is_refused
        }
        $crate::contract! { $executor, mounts:
            a_tree_shows_what_it_is_and_takes_nothing what_is_written_to_a_discarded_tree_is_gone
            changes_of_a_captured_tree_are_told_whatever_the_status a_file_of_a_tree_is_mounted_as_a_file
            a_file_system_in_memory_holds_what_it_may secrets_are_their_owners_and_leave_nothing
            mounts_lie_inside_of_mounts mount_points_follow_the_images_links
            nothing_is_mounted_over_what_is_the_sandboxs_own
        }
        $crate::contract! { $executor, process:
            exit_status_is_an_outcome output_and_errors_are_apart much_output_arrives_whole
            the_environment_is_what_was_given the_working_directory_must_exist
            user_and_groups_are_what_was_given the_mask_of_new_files_is_022 standard_input_is_empty
            programs_are_found_in_the_path what_cannot_be_executed_says_why
            a_script_of_the_dockerfile_is_found every_user_may_open_standard_output
        }
        $crate::contract! { $executor, ssh:
            an_agent_lists_and_signs_and_is_not_changed many_connections_and_long_messages_get_through
            a_step_ends_while_its_agent_is_asked an_agent_that_is_gone_is_one_that_hangs_up
        }
    };
    ($executor:path, $module:ident: $($name:ident)*) => {
        mod $module {
            $(#[tokio::test]
            async fn $name() {
                let workshop = $crate::layers::Workshop::new();
                if let Some(executor) = $executor(&workshop).await {
                    $crate::contract::$module::$name(&executor, &workshop).await;
                }
            })*
        }
    };
}
