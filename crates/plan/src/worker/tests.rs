mod by_hand;
mod worlds;

use cube_api::condition;
use cube_api::task::{RestartPolicy, Task, TaskStatus, Termination};
use serde_json::json;

use super::*;

const UID: &str = "0192aaaa-bbbb-7ccc-8ddd-eeeeffff0001";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn task() -> Task {
    let mut task: Task = serde_json::from_value(json!({"spec": {"image": "busybox"}})).unwrap();
    task.metadata.name = "hello".to_owned();
    task.metadata.namespace = Some("default".to_owned());
    task.metadata.uid = UID.to_owned();
    task
}

fn seen(task: &Task, number: u64, state: SeenState) -> Seen {
    let hash = wanted_hash(task);
    Seen {
        id: format!("id{number}"),
        name: container_name(task, &hash, number),
        hash,
        number,
        image_id: String::new(),
        state,
        addresses: vec!["10.0.0.1".to_owned()],
        ports: vec![],
        created_at: at(0),
        started_at: None,
        finished_at: None,
    }
}

fn exited(code: i64) -> SeenState {
    SeenState::Exited {
        code,
        oom_killed: false,
        error: String::new(),
    }
}

fn present() -> Progress {
    Progress {
        image: Image::Present,
        ..Progress::default()
    }
}

fn step(task: &Task, containers: &[Seen], progress: &Progress, now: Timestamp) -> Step {
    decide(&Look {
        task,
        wanted: &wanted_hash(task),
        containers,
        progress,
        network_ready: true,
        asked: Asked::ByNobody,
        now,
    })
}

#[test]
fn from_nothing_to_running() {
    let task = task();
    let hash = wanted_hash(&task);
    assert_eq!(step(&task, &[], &Progress::default(), at(0)), Step::FindImage);
    let missing = Progress {
        image: Image::Missing,
        ..Progress::default()
    };
    assert_eq!(step(&task, &[], &missing, at(0)), Step::Pull);
    assert_eq!(step(&task, &[], &present(), at(0)), Step::Create { hash, number: 1 });
    let created = seen(&task, 1, SeenState::Created);
    assert_eq!(
        step(&task, &[created], &present(), at(0)),
        Step::Start("id1".to_owned())
    );
    let running = seen(&task, 1, SeenState::Running);
    assert_eq!(
        step(&task, &[running], &present(), at(0)),
        Step::Wait(WaitingOn::AsWished)
    );
}

#[test]
fn a_changed_task_gets_a_new_container_made_before_the_old_one_stops() {
    let old = task();
    let mut new = old.clone();
    new.spec.image = "busybox:2".to_owned();
    let mut containers = vec![seen(&old, 1, SeenState::Running)];
    assert_eq!(step(&new, &containers, &Progress::default(), at(0)), Step::FindImage);
    assert_eq!(
        step(&new, &containers, &present(), at(0)),
        Step::Create {
            hash: wanted_hash(&new),
            number: 2
        }
    );
    containers.push(seen(&new, 2, SeenState::Created));
    assert_eq!(
        step(&new, &containers, &present(), at(0)),
        Step::Signal("id1".to_owned())
    );
    let stopping = Progress {
        stopping: Some(("id1".to_owned(), at(0))),
        ..present()
    };
    assert_eq!(
        step(&new, &containers, &stopping, at(1)),
        Step::Wait(WaitingOn::Stopping { until: at(30) })
    );
    assert_eq!(step(&new, &containers, &stopping, at(30)), Step::Kill("id1".to_owned()));
    containers[0].state = exited(0);
    assert_eq!(step(&new, &containers, &stopping, at(2)), Step::Start("id2".to_owned()));
    containers[1].state = SeenState::Running;
    assert_eq!(
        step(&new, &containers, &stopping, at(2)),
        Step::Remove {
            id: "id1".to_owned(),
            urgent: false
        }
    );
}

#[test]
fn what_a_killed_worker_may_just_have_started_goes_before_its_successor_starts() {
    let old = task();
    let mut new = old.clone();
    new.spec.image = "busybox:2".to_owned();
    let containers = [seen(&old, 1, SeenState::Created), seen(&new, 2, SeenState::Created)];
    let first = Step::Remove {
        id: "id1".to_owned(),
        urgent: true,
    };
    assert_eq!(step(&new, &containers, &present(), at(0)), first);
}

#[test]
fn while_the_new_image_cannot_be_had_the_old_container_goes_on() {
    let old = task();
    let mut new = old.clone();
    new.spec.image = "missing".to_owned();
    let obstacle = Obstacle {
        reason: "ImagePullBackOff".to_owned(),
        message: String::new(),
        tries: 1,
        until: at(9),
    };
    let progress = Progress {
        image: Image::Missing,
        obstacle: Some(obstacle),
        ..Progress::default()
    };
    let containers = [seen(&old, 1, SeenState::Running)];
    assert_eq!(
        step(&new, &containers, &progress, at(0)),
        Step::Wait(WaitingOn::Obstacle { until: at(9) })
    );
    let containers = [seen(&old, 1, SeenState::Paused)];
    let held_still = step(&new, &containers, &progress, at(0));
    assert_eq!(held_still, Step::Unpause("id1".to_owned()), "it does go on");
}

#[test]
fn an_end_is_recorded_then_followed_by_a_fresh_container_then_cleared() {
    let task = task();
    let mut containers = vec![seen(&task, 1, exited(1))];
    let mut progress = Progress {
        alive: Some(("id1".to_owned(), wanted_hash(&task))),
        ..present()
    };
    assert_eq!(
        step(&task, &containers, &progress, at(0)),
        Step::Record("id1".to_owned())
    );
    judge(&mut progress, end(Some(1), at(0)), RestartPolicy::Always);
    assert!(
        matches!(
            step(&task, &containers, &progress, at(0)),
            Step::Create { number: 2, .. }
        ),
        "at once"
    );
    containers.push(seen(&task, 2, SeenState::Running));
    assert_eq!(
        step(&task, &containers, &progress, at(0)),
        Step::Remove {
            id: "id1".to_owned(),
            urgent: false
        }
    );
    containers.pop();
    judge(&mut progress, end(Some(1), at(0)), RestartPolicy::Always);
    assert_eq!(
        step(&task, &containers, &progress, at(0)),
        Step::Remove {
            id: "id1".to_owned(),
            urgent: false
        }
    );
    assert_eq!(
        step(&task, &[], &progress, at(0)),
        Step::Wait(WaitingOn::Backoff { until: at(1) })
    );
    assert!(matches!(step(&task, &[], &progress, at(1)), Step::Create { .. }));
}

#[test]
fn the_end_of_one_that_has_had_a_successor_is_no_news_and_ends_no_back_off() {
    // It was renamed while it was dead, and is known for the Task's own again now that its successor is gone.
    let task = task();
    let mut progress = Progress {
        highest_number: 2,
        ..present()
    };
    judge(&mut progress, end(Some(3), at(0)), RestartPolicy::Always);
    judge(&mut progress, end(Some(3), at(2)), RestartPolicy::Always);
    progress.recorded = Some("id2".to_owned());
    let corpse = seen(&task, 1, exited(137));
    assert_eq!(
        step(&task, &[corpse], &progress, at(2)),
        Step::Remove {
            id: "id1".to_owned(),
            urgent: false
        }
    );
}

fn end(code: Option<i64>, finished: Timestamp) -> End {
    let termination = Termination {
        exit_code: code,
        started_at: Some(at(0)),
        finished_at: Some(finished),
        ..Termination::default()
    };
    End {
        id: "id1".to_owned(),
        hash: wanted_hash(&task()),
        termination,
        excused: false,
        seen_at: finished,
    }
}

#[test]
fn restart_policies() {
    use RestartPolicy::{Always, Never, OnFailure};
    for (policy, code, expected) in [
        (Always, Some(0), None),
        (Always, Some(1), None),
        (Always, None, None),
        (OnFailure, Some(0), Some(Phase::Completed)),
        (OnFailure, Some(1), None),
        (OnFailure, None, None),
        (Never, Some(0), Some(Phase::Completed)),
        (Never, Some(3), Some(Phase::Failed)),
        (Never, None, Some(Phase::Failed)),
    ] {
        let mut progress = present();
        judge(&mut progress, end(code, at(1)), policy);
        assert_eq!(progress.over.map(|over| over.phase), expected, "{policy:?} {code:?}");
    }
    let mut progress = present();
    judge(
        &mut progress,
        End {
            excused: true,
            ..end(Some(137), at(1))
        },
        Never,
    );
    assert_eq!(
        (progress.over, progress.failures, progress.restarts),
        (None, 0, 0),
        "stopped with its engine"
    );
    let mut progress = present();
    let done = End {
        excused: true,
        ..end(Some(0), at(1))
    };
    judge(&mut progress, done, Never);
    assert_eq!(
        progress.over.map(|over| over.phase),
        Some(Phase::Completed),
        "not run twice"
    );
}

#[test]
fn backoff_doubles_and_is_forgotten() {
    for (failures, seconds) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (10, 256), (11, 300), (400, 300)] {
        assert_eq!(backoff(failures), SignedDuration::from_secs(seconds), "{failures}");
    }
    let mut progress = Progress {
        failures: 7,
        ..present()
    };
    judge(&mut progress, end(Some(1), at(600)), RestartPolicy::Always);
    assert_eq!(progress.failures, 1);
}

#[test]
fn what_is_over_stays_for_its_logs_until_the_task_changes() {
    let task = task();
    let mut progress = present();
    judge(&mut progress, end(Some(0), at(1)), RestartPolicy::Never);
    let dead = [seen(&task, 1, exited(0))];
    assert_eq!(step(&task, &dead, &progress, at(2)), Step::Wait(WaitingOn::Over));
    assert_eq!(
        step(&task, &[], &progress, at(2)),
        Step::Wait(WaitingOn::Over),
        "removed by hand"
    );
    let mut changed = task.clone();
    changed.spec.args = vec!["x".to_owned()];
    assert!(matches!(
        step(&changed, &dead, &progress, at(2)),
        Step::Create { number: 2, .. }
    ));
}

#[test]
fn deletion_takes_its_grace_then_kills_then_is_gone() {
    let mut task = task();
    task.metadata.deletion_timestamp = Some(at(10));
    task.metadata.deletion_grace_period_seconds = Some(10);
    let running = [seen(&task, 1, SeenState::Running)];
    assert_eq!(step(&task, &running, &present(), at(0)), Step::Signal("id1".to_owned()));
    let stopping = Progress {
        stopping: Some(("id1".to_owned(), at(0))),
        ..present()
    };
    assert_eq!(
        step(&task, &running, &stopping, at(0)),
        Step::Wait(WaitingOn::Stopping { until: at(10) })
    );
    assert_eq!(step(&task, &running, &stopping, at(10)), Step::Kill("id1".to_owned()));
    let dead = [seen(&task, 1, exited(143))];
    assert_eq!(
        step(&task, &dead, &stopping, at(3)),
        Step::Remove {
            id: "id1".to_owned(),
            urgent: true
        }
    );
    assert_eq!(step(&task, &[], &stopping, at(3)), Step::Gone);
    task.metadata.deletion_grace_period_seconds = Some(0);
    assert_eq!(step(&task, &running, &present(), at(0)), Step::Kill("id1".to_owned()));
}

#[test]
fn what_an_engine_may_yet_start_goes_before_its_successor_starts() {
    let task = task();
    let exited = SeenState::Exited {
        code: 3,
        oom_killed: false,
        error: String::new(),
    };
    let containers = [seen(&task, 1, exited), seen(&task, 2, SeenState::Created)];
    let known = Progress {
        recorded: Some("id1".to_owned()),
        ..present()
    };
    assert_eq!(step(&task, &containers, &known, at(9)), Step::Start("id2".to_owned()));
    let unsure = Progress {
        unsure: Some("id1".to_owned()),
        ..known
    };
    let urgent = Step::Remove {
        id: "id1".to_owned(),
        urgent: true,
    };
    assert_eq!(step(&task, &containers, &unsure, at(9)), urgent);
}

#[test]
fn a_task_of_which_nothing_is_left_does_not_say_that_it_runs() {
    let mut task = task();
    task.status.phase = Phase::Running;
    task.status.container_id = Some("id1".to_owned());
    task.status.addresses = vec!["10.0.0.2".to_owned()];
    let status = gone(&task, at(0));
    assert_eq!((status.phase, status.reason.as_str()), (Phase::Scheduled, "Stopped"));
    assert_eq!((status.container_id, status.addresses), (None, vec![]));
    assert_eq!(status.conditions[0].status, cube_api::condition::Truth::False);
    task.status.phase = Phase::Completed;
    assert_eq!(gone(&task, at(0)).phase, Phase::Completed);
}

/// What a look with probes comes to: the step and the status.
fn probed(task: &Task, containers: &[Seen], progress: &Progress, asked: Asked, now: Timestamp) -> (Step, TaskStatus) {
    let look = Look {
        task,
        wanted: &wanted_hash(task),
        containers,
        progress,
        network_ready: true,
        asked,
        now,
    };
    let step = decide(&look);
    let status = status(&look, &step);
    (step, status)
}

fn asked(container: &str, probes: serde_json::Value, unhealthy: Option<Option<u32>>) -> Progress {
    Progress {
        health: Some(Health {
            container: container.to_owned(),
            probes: serde_json::from_value(probes).unwrap(),
            unhealthy: unhealthy.map(|grace| Unhealthy {
                message: "liveness probe failed 3 times: HTTP 500".to_owned(),
                grace,
            }),
        }),
        ..present()
    }
}

#[test]
fn what_runs_is_ready_when_its_probes_say_so() {
    let mut task = task();
    let running = [seen(&task, 1, SeenState::Running)];
    let readiness =
        |result: &str, message: &str| json!([{ "probe": "Readiness", "result": result, "message": message }]);
    for (progress, asked, ready, reason, message) in [
        (present(), Asked::ByNobody, true, "Running", ""),
        (
            present(),
            Asked::ByProbes,
            false,
            "ProbePending",
            "waiting for its probes",
        ),
        (
            asked("id1", readiness("Success", "HTTP 200"), None),
            Asked::ByProbes,
            true,
            "Running",
            "",
        ),
        (
            asked("id1", readiness("Unknown", ""), None),
            Asked::ByProbes,
            false,
            "ProbePending",
            "waiting for its readiness probe",
        ),
        (
            asked("id1", readiness("Failure", "HTTP 503"), None),
            Asked::ByProbes,
            false,
            "ProbeFailing",
            "readiness probe fails: HTTP 503",
        ),
        // What another container was answered says nothing of this one.
        (
            asked("id0", readiness("Success", "HTTP 200"), None),
            Asked::ByProbes,
            false,
            "ProbePending",
            "waiting for its probes",
        ),
    ] {
        let (step, status) = probed(&task, &running, &progress, asked, at(0));
        assert_eq!(step, Step::Wait(WaitingOn::AsWished));
        let condition = condition::find(&status.conditions, condition::READY).unwrap();
        assert_eq!(
            (
                condition.status == condition::Truth::True,
                condition.reason.as_str(),
                status.message.as_str()
            ),
            (ready, reason, message)
        );
        assert_eq!((status.phase, status.reason.as_str()), (Phase::Running, "Running"));
    }
    // A worker that takes over goes on from what was known.
    let known = asked("id1", readiness("Success", "HTTP 200"), None);
    task.status = probed(&task, &running, &known, Asked::ByProbes, at(0)).1;
    let resumed = Progress::resume(&task, at(0));
    assert_eq!(resumed.health.as_ref().unwrap().probes, known.health.unwrap().probes);
    let (step, status) = probed(&task, &running, &resumed, Asked::Unknown, at(1));
    assert_eq!(step, Step::FindHealthcheck(String::new()));
    assert!(condition::is_true(&status.conditions, condition::READY), "{status:?}");
}

#[test]
fn what_does_not_live_is_stopped_counted_and_started_again() {
    let task = task();
    let running = [seen(&task, 1, SeenState::Running)];
    let dead = asked("id1", json!([{ "probe": "Liveness", "result": "Failure" }]), Some(None));
    let (step, status) = probed(&task, &running, &dead, Asked::ByProbes, at(0));
    assert_eq!(step, Step::Signal("id1".to_owned()));
    assert_eq!(
        status.message,
        "liveness probe failed 3 times: HTTP 500; stopping it to start it again"
    );
    assert!(!condition::is_true(&status.conditions, condition::READY));
    let stopping = |progress: &Progress| Progress {
        stopping: Some(("id1".to_owned(), at(0))),
        ..progress.clone()
    };
    let (step, _) = probed(&task, &running, &stopping(&dead), Asked::ByProbes, at(29));
    assert_eq!(step, Step::Wait(WaitingOn::Stopping { until: at(30) }));
    let hasty = asked("id1", json!([]), Some(Some(2)));
    let (step, _) = probed(&task, &running, &stopping(&hasty), Asked::ByProbes, at(2));
    assert_eq!(step, Step::Kill("id1".to_owned()), "the probe's own grace");
    // However orderly it went, it counts as a failure, whatever the policy makes of exit code 0.
    for (policy, over) in [
        (RestartPolicy::Always, None),
        (RestartPolicy::OnFailure, None),
        (RestartPolicy::Never, Some(Phase::Failed)),
    ] {
        let mut progress = stopping(&dead);
        let termination = Termination {
            exit_code: Some(0),
            reason: UNHEALTHY.to_owned(),
            ..Termination::default()
        };
        let end = End {
            id: "id1".to_owned(),
            hash: wanted_hash(&task),
            termination,
            excused: false,
            seen_at: at(3),
        };
        judge(&mut progress, end, policy);
        assert_eq!(progress.over.as_ref().map(|over| over.phase), over, "{policy:?}");
        assert_eq!(progress.health, None);
        assert_eq!(progress.failures, u64::from(over.is_none()));
    }
    // The next container begins with a clean slate.
    let next = [seen(&task, 2, SeenState::Running)];
    let (step, _) = probed(&task, &next, &dead, Asked::ByProbes, at(9));
    assert_eq!(step, Step::Wait(WaitingOn::AsWished));
}

#[test]
fn the_book_loses_a_stop_that_arrives_before_the_start() {
    let mut task = task();
    let created = seen(&task, 1, SeenState::Created);
    task.metadata.deletion_timestamp = Some(at(10));
    task.metadata.deletion_grace_period_seconds = Some(10);
    // Whatever the Task had come to: nothing is begun any more.
    let missing = Progress {
        image: Image::Missing,
        ..Progress::default()
    };
    for progress in [Progress::default(), missing, present()] {
        assert_eq!(step(&task, &[], &progress, at(0)), Step::Gone);
    }
    let removed = step(&task, &[created], &present(), at(0));
    assert!(matches!(removed, Step::Remove { .. }), "{removed:?}");
}

#[test]
fn the_book_calls_exit_code_0_a_failure_and_restarts_for_ever_what_runs_once() {
    for (policy, code, phase) in [
        (RestartPolicy::Never, 0, Phase::Completed),
        (RestartPolicy::OnFailure, 0, Phase::Completed),
        (RestartPolicy::Never, 1, Phase::Failed),
    ] {
        let mut task = task();
        task.spec.restart_policy = policy;
        let mut progress = present();
        judge(&mut progress, end(Some(code), at(1)), policy);
        assert_eq!(
            progress.over.as_ref().map(|over| over.phase),
            Some(phase),
            "{policy:?} {code}"
        );
        let dead = seen(&task, 1, exited(code));
        for later in [1, 60, 1_000_000] {
            let next = step(&task, std::slice::from_ref(&dead), &progress, at(later));
            assert!(matches!(next, Step::Wait(_)), "{policy:?} {code}: {next:?}");
        }
    }
}

#[test]
fn the_book_gives_up_what_fails_three_times_in_a_year() {
    let mut progress = present();
    let month = 30 * 24 * 3600;
    for failure in 1..=36 {
        judge(&mut progress, end(Some(1), at(failure * month)), RestartPolicy::Always);
        assert_eq!(
            (progress.failures, progress.over.is_none()),
            (1, true),
            "the {failure}th"
        );
        assert_eq!(
            backoff(progress.failures),
            SignedDuration::ZERO,
            "started again at once"
        );
    }
    assert_eq!(progress.restarts, 36);
}

#[test]
fn the_book_believes_an_engine_that_is_gone() {
    let ready = |status: &TaskStatus| condition::find(&status.conditions, condition::READY).map(|ready| ready.status);
    let task = task();
    let running = [seen(&task, 1, SeenState::Running)];
    let look = Look {
        task: &task,
        wanted: &wanted_hash(&task),
        containers: &running,
        progress: &present(),
        network_ready: true,
        asked: Asked::ByNobody,
        now: at(0),
    };
    let known = status(&look, &decide(&look));
    assert_eq!(ready(&known), Some(condition::Truth::True));
    let doubtful = in_doubt(&known, "EngineUnreachable", "it does not answer", at(5)).unwrap();
    assert_eq!(ready(&doubtful), Some(condition::Truth::Unknown));
    assert_eq!(
        (doubtful.phase, doubtful.reason.as_str(), doubtful.container_id.as_ref()),
        (Phase::Running, "EngineUnreachable", known.container_id.as_ref()),
        "what was seen is not taken back"
    );
    assert_eq!(
        in_doubt(&doubtful, "EngineUnreachable", "it does not answer", at(6)),
        None,
        "said once"
    );
    let waiting = TaskStatus::default();
    assert_eq!(
        in_doubt(&waiting, "EngineUnreachable", "it does not answer", at(6)),
        None,
        "nothing was claimed"
    );
}

#[test]
fn a_clock_that_is_set_changes_no_wait() {
    let mut task = task();
    let running = [seen(&task, 1, SeenState::Running)];
    task.metadata.deletion_timestamp = Some(at(0));
    let hour = SignedDuration::from_hours(1);
    for by in [hour, -hour] {
        // Asked to stop at 0; the clock is set at 10; its grace is 30 s.
        let mut stopping = Progress {
            stopping: Some(("id1".to_owned(), at(0))),
            ..present()
        };
        stopping.clock_was_set(by);
        let then = |seconds| at(seconds).saturating_add(by).unwrap();
        let until = then(30);
        assert_eq!(
            step(&task, &running, &stopping, then(10)),
            Step::Wait(WaitingOn::Stopping { until })
        );
        assert_eq!(step(&task, &running, &stopping, then(30)), Step::Kill("id1".to_owned()));
    }
    // Three failures, the last of which is told of the future: the wait begins now, not then.
    let mut task = self::task();
    task.status = TaskStatus {
        failures: 3,
        last_termination: Some(Termination {
            finished_at: Some(at(3600)),
            ..Termination::default()
        }),
        ..TaskStatus::default()
    };
    let resumed = Progress::resume(&task, at(0));
    assert_eq!(resumed.ended_at, Some(at(0)));
    let mut progress = present();
    let end = End {
        id: "id1".to_owned(),
        hash: wanted_hash(&task),
        termination: Termination {
            exit_code: Some(1),
            finished_at: Some(at(3600)),
            ..Termination::default()
        },
        excused: false,
        seen_at: at(0),
    };
    judge(&mut progress, end, RestartPolicy::Always);
    assert_eq!(progress.ended_at, Some(at(0)));
}

#[test]
fn two_that_do_not_heed_a_signal_are_stopped_one_after_the_other() {
    let mut task = task();
    task.metadata.deletion_timestamp = Some(at(0));
    let mut containers = vec![
        seen(&task, 1, SeenState::Running),
        seen(&task, 2, SeenState::Running),
        seen(&task, 3, exited(0)),
    ];
    assert_eq!(
        step(&task, &containers, &present(), at(0)),
        Step::Signal("id1".to_owned())
    );
    let asked = |id: &str, since| Progress {
        stopping: Some((id.to_owned(), at(since))),
        ..present()
    };
    let third = Step::Remove {
        id: "id3".to_owned(),
        urgent: true,
    };
    assert_eq!(
        step(&task, &containers, &asked("id1", 0), at(1)),
        third,
        "what is dead goes meanwhile"
    );
    containers.pop();
    let waits = Step::Wait(WaitingOn::Stopping { until: at(30) });
    assert_eq!(step(&task, &containers, &asked("id1", 0), at(1)), waits);
    assert_eq!(
        step(&task, &containers, &asked("id1", 0), at(30)),
        Step::Kill("id1".to_owned())
    );
    containers[0].state = exited(137);
    containers.swap(0, 1);
    assert_eq!(
        step(&task, &containers, &asked("id1", 0), at(31)),
        Step::Signal("id2".to_owned())
    );
}
