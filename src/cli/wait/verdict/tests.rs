use cube_api::condition::Condition;

use super::*;

fn task(change: impl FnOnce(&mut Task)) -> Task {
    let mut task = Task::default();
    task.metadata.name = "web-1-a".to_owned();
    task.metadata.generation = 2;
    task.spec.image = "a".to_owned();
    task.status.observed_generation = 2;
    change(&mut task);
    task
}

fn ready(task: &mut Task) {
    task.status.phase = Phase::Running;
    let condition = Condition {
        kind: "Ready".to_owned(),
        status: Truth::True,
        ..Condition::default()
    };
    task.status.conditions.push(condition);
}

fn fits_nowhere_by(task: &mut Task, reason: &str) {
    task.status.reason = "Unschedulable".to_owned();
    task.status.message = "8 GiB wanted".to_owned();
    let scheduled = Condition {
        kind: "Scheduled".to_owned(),
        status: Truth::False,
        reason: reason.to_owned(),
        ..Condition::default()
    };
    task.status.conditions.push(scheduled);
}

fn ended(code: i64, log: &[&str]) -> Option<Termination> {
    let log = log.iter().map(|line| (*line).to_owned()).collect();
    Some(Termination {
        exit_code: Some(code),
        reason: "Error".to_owned(),
        log,
        ..Termination::default()
    })
}

fn told(verdict: Verdict) -> String {
    match verdict {
        Verdict::Done(text) => format!("done: {text}"),
        Verdict::UnderWay(text) => format!("under way: {text}"),
        Verdict::Unplaced(text) => format!("unplaced: {text}"),
        Verdict::Failed { message, evidence } => format!("failed: {message} {evidence:?}"),
    }
}

#[test]
fn a_task_is_judged_by_what_is_known_of_what_is_wished() {
    type Change = fn(&mut Task);
    let cases: [(Change, u64, &str); 14] = [
        (|_| {}, 0, "under way: pending"),
        (ready, 0, "done: running"),
        (
            |task| {
                ready(task);
                task.metadata.generation = 3;
            },
            0,
            "under way: waiting for its node",
        ),
        (
            |task| {
                ready(task);
                task.status.hash = "0000000000".to_owned();
            },
            0,
            "under way: replacing its container",
        ),
        (
            |task| {
                ready(task);
                task.spec.restart_policy = RestartPolicy::Never;
            },
            0,
            "under way: running",
        ),
        (|task| task.status.phase = Phase::Completed, 0, "done: completed"),
        (
            |task| {
                task.status.phase = Phase::Scheduled;
                task.status.reason = "Pulling".to_owned();
            },
            0,
            "under way: Pulling",
        ),
        (
            |task| {
                task.status.phase = Phase::Scheduled;
                task.status.reason = "ImageNotFound".to_owned();
                task.status.message = "no such tag".to_owned();
            },
            0,
            "failed: cannot have its image: no such tag []",
        ),
        (
            |task| {
                fits_nowhere_by(task, "Unschedulable");
            },
            0,
            "unplaced: 8 GiB wanted",
        ),
        (
            |task| {
                fits_nowhere_by(task, "WaitingForRoom");
            },
            0,
            "under way: Unschedulable: 8 GiB wanted",
        ),
        (
            |task| {
                task.status.phase = Phase::Failed;
                task.status.last_termination = ended(7, &["no"]);
            },
            0,
            "failed: exited with code 7; its last lines: [\"no\"]",
        ),
        (
            |task| {
                task.status.phase = Phase::Scheduled;
                task.status.failures = 3;
                task.status.last_termination = ended(1, &[]);
            },
            0,
            "failed: exited with code 1, 3 times []",
        ),
        (
            |task| {
                task.status.phase = Phase::Scheduled;
                task.status.failures = 5;
                task.status.reason = "BackOff".to_owned();
            },
            3,
            "under way: BackOff",
        ),
        (
            |task| {
                ready(task);
                task.status.failures = 1;
            },
            3,
            "done: running",
        ),
    ];
    for (change, before, expected) in cases {
        assert_eq!(told(judge_task(&task(change), before)), expected);
    }
}

#[test]
fn a_deployment_is_judged_by_its_newest_tasks() {
    let mut deployment = Deployment::default();
    deployment.metadata.generation = 2;
    deployment.spec.replicas = 2;
    assert_eq!(
        told(judge_deployment(&deployment, &[])),
        "under way: waiting to be looked at"
    );
    deployment.status.observed_generation = 2;
    deployment.status.revision = 5;
    let of = |revision: &str, change: fn(&mut Task)| {
        let mut task = task(change);
        task.metadata
            .labels
            .insert(REVISION_LABEL.to_owned(), revision.to_owned());
        task
    };
    let crashed = |task: &mut Task| {
        task.status.failures = 4;
        task.status.last_termination = ended(1, &["emerg"]);
    };
    let (old, up) = (of("4", crashed), of("5", ready));
    let pulling = of("5", |task| task.status.reason = "Pulling".to_owned());
    deployment.status.ready_replicas = 1;
    assert_eq!(
        told(judge_deployment(&deployment, &[&old, &up, &pulling])),
        "under way: revision 5   ready 1/2   1 pulling"
    );
    assert_eq!(
        told(judge_deployment(&deployment, &[&up, &of("5", crashed)])),
        "failed: revision 5 failed: web-1-a exited with code 1, 4 times; its last lines: [\"emerg\"]"
    );
    let unplaced = of("5", |task| fits_nowhere_by(task, "Unschedulable"));
    assert_eq!(
        told(judge_deployment(&deployment, &[&up, &unplaced])),
        "unplaced: web-1-a: 8 GiB wanted"
    );
    let status = &mut deployment.status;
    (status.replicas, status.updated_replicas, status.ready_replicas) = (3, 2, 2);
    assert!(
        matches!(judge_deployment(&deployment, &[&up, &up]), Verdict::UnderWay(_)),
        "an old one still runs"
    );
    deployment.status.replicas = 2;
    deployment.status.available_replicas = 2;
    assert_eq!(
        told(judge_deployment(&deployment, &[&up, &up])),
        "done: revision 5   ready 2/2"
    );
    // To be ready is not enough where it has to be so for a while.
    (deployment.spec.min_ready_seconds, deployment.status.available_replicas) = (10, 1);
    assert_eq!(
        told(judge_deployment(&deployment, &[&up, &up])),
        "under way: revision 5   ready 2/2   available 1/2"
    );
}
