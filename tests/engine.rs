//! What every container engine must keep to, put to a real Docker engine and to the simulated one alike.
//!
//! Read `engine/bench.rs` first: it makes the engine of each test and clears up after it. The real engine is the one at
//! `DOCKER_HOST`, else at the usual socket; without one these tests fail.
#[path = "engine/bench.rs"]
mod bench;
#[path = "engine/containers.rs"]
mod containers;
#[path = "engine/execs.rs"]
mod execs;
#[path = "engine/faults.rs"]
mod faults;
#[path = "engine/hardening.rs"]
mod hardening;
#[path = "engine/images.rs"]
mod images;
#[path = "engine/mounts.rs"]
mod mounts;
#[path = "engine/networks.rs"]
mod networks;
#[path = "engine/registry.rs"]
mod registry;
#[path = "engine/streams.rs"]
mod streams;

/// Runs each test on one kind of engine.
macro_rules! on {
    ($engine:ident, $run:ident: $($module:ident { $($test:ident)+ })+) => {
        mod $engine {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::bench::$run(stringify!($test), async |bench| crate::$module::$test(bench).await).await;
                })+
            })+
        }
    };
}

/// Runs each test on both.
macro_rules! contract {
    ($($tests:tt)+) => {
        on!(docker, on_docker: $($tests)+);
        on!(sim, on_sim: $($tests)+);
    };
}

contract! {
    containers {
        a_container_lives_and_ends
        what_runs_uses_something
        a_name_is_given_once
        only_the_own_cluster_is_listed
        what_cannot_run_is_told_when_it_starts
        what_is_not_there_is_not_found
        a_signal_reaches_the_first_process
        a_signal_that_is_ignored_changes_nothing
        a_container_starts_again
        a_frozen_container_is_running
        want_of_memory_is_told
        what_runs_is_removed_by_force_alone
        many_calls_at_once
    }
    execs {
        a_program_runs_beside_its_containers_own
        a_programs_input_is_what_is_written_to_it
        a_terminals_output_is_one
        what_cannot_be_run_in_a_container_says_why
        a_program_is_killed_with_what_it_has_started
    }
    streams {
        the_log_is_what_was_written
        parts_of_the_log
        a_log_is_followed_to_the_end
        events_tell_what_happened_in_its_order
        events_begin_when_the_future_resolves
    }
    networks {
        a_network_is_made_once
        networks_of_others_are_left_alone
        a_network_in_use_stays
        subnets_do_not_overlap
        containers_find_one_another_by_name
        a_port_is_had_by_one
        a_port_is_chosen_by_the_engine
    }
    mounts {
        volumes_are_made_once_and_removed_with_care
        a_sub_path_that_leads_out_is_refused
    }
    images {
        an_image_is_there_or_not
    }
}

on! { docker_alone, on_docker:
    containers {
        the_engine_tells_of_itself
        what_the_spec_says_is_what_runs
        the_image_has_its_say
        what_cannot_be_executed_is_told_apart
    }
    hardening {
        defaults_are_safe
        nothing_gains_privileges
        resources_are_bounded
    }
    networks {
        a_port_in_use_by_a_stranger
        two_networks_of_a_name_become_one
    }
    mounts {
        mounts_hold_what_they_should
        scratch_is_empty_and_open_to_all
        a_sub_path_is_made_and_never_leads_out
        a_part_of_a_volume_is_mounted
    }
    execs {
        a_program_whose_output_is_not_read_waits
        the_engine_runs_no_healthcheck_of_its_own
    }
    streams {
        the_log_of_a_terminal_has_no_frames
    }
    registry {
        an_image_is_fetched
        what_the_registry_refuses_stays_refused
        a_registry_that_hangs_is_given_up
        the_users_credentials_are_used
    }
}
