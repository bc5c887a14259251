//! What somebody does to containers past Cube.
use super::*;

#[test]
fn removed_by_hand_counts_as_an_end() {
    let progress = Progress {
        alive: Some(("id1".to_owned(), wanted_hash(&task()))),
        ..present()
    };
    assert_eq!(
        step(&task(), &[], &progress, at(0)),
        Step::RecordRemoved("id1".to_owned())
    );
}

#[test]
fn frozen_or_renamed_by_hand_is_healed() {
    let task = task();
    let paused = seen(&task, 1, SeenState::Paused);
    assert_eq!(
        step(&task, &[paused], &present(), at(0)),
        Step::Unpause("id1".to_owned())
    );
    let mut renamed = seen(&task, 1, SeenState::Running);
    let name = std::mem::replace(&mut renamed.name, "mine".to_owned());
    assert_eq!(
        step(&task, &[renamed], &present(), at(0)),
        Step::Rename("id1".to_owned(), name)
    );
}

#[test]
fn one_that_was_taken_out_of_its_network_is_brought_back() {
    let mut task = task();
    let mut alone = seen(&task, 1, SeenState::Running);
    alone.addresses.clear();
    let connect = Step::Connect("id1".to_owned());
    assert_eq!(step(&task, &[alone.clone()], &present(), at(0)), connect);
    for network in [NetworkMode::Host, NetworkMode::None] {
        task.spec.network = network;
        let mut alone = seen(&task, 1, SeenState::Running);
        alone.addresses.clear();
        let step = step(&task, &[alone], &present(), at(0));
        assert_eq!(step, Step::Wait(WaitingOn::AsWished), "{network:?} has no addresses");
    }
}

#[test]
fn what_was_removed_while_nobody_looked_has_ended() {
    let mut task = task();
    task.status.phase = Phase::Running;
    task.status.container_id = Some("id1".to_owned());
    task.status.hash = wanted_hash(&task);
    let gone = Step::RecordRemoved("id1".to_owned());
    assert_eq!(step(&task, &[], &Progress::resume(&task, at(0)), at(0)), gone);
    // One that the worker itself was about to replace is nobody's failure.
    task.spec.image = "busybox:2".to_owned();
    assert_eq!(
        step(&task, &[], &Progress::resume(&task, at(0)), at(0)),
        Step::FindImage
    );
}

#[test]
fn a_copy_of_a_container_is_a_strangers() {
    let task = task();
    let own = Seen {
        created_at: at(5),
        ..seen(&task, 1, SeenState::Running)
    };
    let copy = Seen {
        id: "id0".to_owned(),
        name: "debug".to_owned(),
        ..own.clone()
    };
    for containers in [vec![own.clone(), copy.clone()], vec![copy.clone(), own.clone()]] {
        assert_eq!(originals(&task, containers), std::slice::from_ref(&own));
    }
    // Where nobody has the name, what was made first is the one that was renamed.
    let renamed = Seen {
        name: "mine".to_owned(),
        created_at: at(1),
        ..own
    };
    assert_eq!(originals(&task, vec![copy, renamed.clone()]), [renamed]);
}

#[test]
fn what_is_renamed_before_it_has_started_stays_the_tasks() {
    let task = task();
    let exited = SeenState::Exited {
        code: 137,
        oom_killed: false,
        error: String::new(),
    };
    let dead = seen(&task, 1, exited);
    let renamed = Seen {
        name: "mine".to_owned(),
        ..seen(&task, 2, SeenState::Created)
    };
    let both = originals(&task, vec![renamed.clone(), dead]);
    assert_eq!(both.len(), 2);
    let name = container_name(&task, &wanted_hash(&task), 2);
    assert_eq!(
        step(&task, &both, &present(), at(9)),
        Step::Rename("id2".to_owned(), name)
    );
}
