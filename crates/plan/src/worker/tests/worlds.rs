//! Properties over worlds: whatever containers there are, and whenever the worker dies, a Task comes to one right container.
use proptest::prelude::*;

use super::*;

/// A Task, what an engine has of it, and a worker that takes one step after the other.
#[derive(Clone, Debug)]
struct World {
    task: Task,
    wanted: String,
    containers: Vec<Seen>,
    progress: Progress,
    /// What the engine has without being asked.
    has_image: bool,
    network_ready: bool,
    asked: Asked,
    /// Programs that do nothing when they are asked to stop.
    deaf: bool,
    now: i64,
    starts: usize,
    /// Containers that are made from now on are numbered by this.
    made: usize,
}

impl World {
    fn decide(&self) -> Step {
        decide(&self.look())
    }

    fn look(&self) -> Look<'_> {
        Look {
            task: &self.task,
            wanted: &self.wanted,
            containers: &self.containers,
            progress: &self.progress,
            network_ready: self.network_ready,
            asked: self.asked,
            now: at(self.now),
        }
    }

    fn container(&mut self, id: &str) -> &mut Seen {
        let found = self.containers.iter_mut().find(|seen| seen.id == id);
        found.unwrap_or_else(|| panic!("{id} is not there"))
    }

    fn living(&self) -> Vec<&Seen> {
        self.containers.iter().filter(|seen| seen.state.is_alive()).collect()
    }

    /// The step, as an engine and the worker's memory take it; false when there was nothing to do, whatever time passes.
    fn take(&mut self, step: &Step) -> bool {
        self.now += 1;
        match step.clone() {
            Step::FindImage => {
                self.progress.image = match self.has_image {
                    true => Image::Present,
                    false => Image::Missing,
                }
            }
            Step::Pull => {
                (self.has_image, self.progress.image) = (true, Image::Present);
                self.progress.pulled_for = Some(self.wanted.clone());
            }
            Step::FindHealthcheck(_) => self.asked = Asked::ByNobody,
            Step::EnsureNetwork => self.network_ready = true,
            Step::Create { hash, number } => self.create(hash, number),
            Step::Start(id) => self.start(&id),
            Step::Unpause(id) => self.container(&id).state = SeenState::Running,
            Step::Connect(id) => self.container(&id).addresses = vec!["10.0.0.1".to_owned()],
            Step::Rename(id, name) => self.container(&id).name = name,
            Step::Signal(id) => {
                let since = at(self.now);
                self.progress.stopping = Some((id.clone(), since));
                let deaf = self.deaf;
                let container = self.container(&id);
                assert!(container.state.is_alive(), "only what runs is asked to stop");
                if !deaf {
                    container.state = exited(0);
                }
            }
            Step::Kill(id) => self.container(&id).state = exited(137),
            Step::Record(id) => self.record(id, None),
            Step::RecordRemoved(id) => self.record(id, Some("Removed")),
            Step::Remove { id, .. } => {
                assert!(
                    !self.container(&id).state.is_alive(),
                    "what runs is stopped, not removed"
                );
                self.containers.retain(|seen| seen.id != id);
            }
            Step::Gone => return false,
            Step::Wait(WaitingOn::Removal) => {
                self.containers.retain(|seen| seen.state != SeenState::Removing);
            }
            Step::Wait(waiting) => match waiting.until() {
                Some(until) => self.now = self.now.max(until.as_second() - at(0).as_second()),
                None => return false,
            },
        }
        true
    }

    fn create(&mut self, hash: String, number: u64) {
        assert_eq!(hash, self.wanted, "only what is wished is made");
        assert!(
            self.containers.iter().all(|seen| seen.number < number),
            "numbers are used once"
        );
        assert!(self.has_image && self.network_ready);
        self.made += 1;
        self.progress.highest_number = number;
        let made = Seen {
            id: format!("made{}", self.made),
            ..seen(&self.task, number, SeenState::Created)
        };
        self.containers.push(made);
    }

    fn start(&mut self, id: &str) {
        assert_eq!(
            self.living(),
            Vec::<&Seen>::new(),
            "nothing else of the Task runs when a container starts"
        );
        self.starts += 1;
        let (wanted, now) = (self.wanted.clone(), at(self.now));
        let container = self.container(id);
        assert_eq!((&container.hash, &container.state), (&wanted, &SeenState::Created));
        container.state = SeenState::Running;
        container.started_at = Some(now);
        self.progress.alive = Some((id.to_owned(), wanted));
    }

    fn record(&mut self, id: String, reason: Option<&str>) {
        let found = self.containers.iter().find(|seen| seen.id == id);
        let exit_code = match found.map(|seen| &seen.state) {
            Some(SeenState::Exited { code, .. }) => Some(*code),
            Some(other) => panic!("an end is recorded of what is {other:?}"),
            None => None,
        };
        let end = End {
            hash: found.map_or_else(|| self.wanted.clone(), |seen| seen.hash.clone()),
            termination: Termination {
                exit_code,
                reason: reason.unwrap_or("Error").to_owned(),
                ..Termination::default()
            },
            id,
            excused: false,
            seen_at: at(self.now),
        };
        judge(&mut self.progress, end, self.task.spec.restart_policy);
    }

    /// What the worker says of it, as the manager will remember.
    fn report(&mut self, step: &Step) {
        self.task.status = status(&self.look(), step);
    }

    /// The worker dies and another begins with what was reported.
    fn crash(&mut self) {
        self.progress = Progress::resume(&self.task, at(self.now));
        self.network_ready = false;
    }

    /// Takes steps until there is nothing to do; before the steps that `crashes` names, the worker dies. In half of them what
    /// was done last was not reported yet.
    fn settle(&mut self, crashes: &[(usize, bool)]) -> Step {
        for number in 0..300 {
            let crash = crashes.iter().find(|(at, _)| *at == number);
            if crash.is_some() {
                self.crash();
            }
            let step = self.decide();
            assert_eq!(self.decide(), step, "the same look, the same step");
            if !self.take(&step) {
                return step;
            }
            if crash.is_none_or(|(_, reported)| *reported) {
                let next = self.decide();
                self.report(&next);
            }
        }
        panic!("it does not come to rest: {self:#?}");
    }
}

fn state() -> impl Strategy<Value = SeenState> {
    prop_oneof![
        2 => Just(SeenState::Created),
        3 => Just(SeenState::Running),
        1 => Just(SeenState::Paused),
        2 => prop_oneof![Just(0), Just(1), Just(137)].prop_map(exited),
        1 => Just(SeenState::Removing),
    ]
}

fn world() -> impl Strategy<Value = World> {
    let containers = prop::collection::vec((state(), 0..3_u8, any::<bool>()), 0..5);
    let policy = prop_oneof![
        2 => Just(RestartPolicy::Always),
        1 => Just(RestartPolicy::OnFailure),
        1 => Just(RestartPolicy::Never),
    ];
    let pull = prop_oneof![3 => Just(PullPolicy::IfNotPresent), 1 => Just(PullPolicy::Always)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (containers, policy, pull, flags).prop_map(|(found, policy, pull, (has_image, network_ready, unknown, deaf))| {
        let mut task = task();
        (task.spec.restart_policy, task.spec.image_pull_policy) = (policy, pull);
        let wanted = wanted_hash(&task);
        let containers = found.into_iter().enumerate().map(|(index, (state, wish, renamed))| {
            let mut formed = task.clone();
            if wish > 0 {
                formed.spec.image = format!("busybox:{wish}");
            }
            let mut seen = seen(&formed, index as u64 + 1, state);
            if renamed {
                seen.name = format!("renamed-{index}");
            }
            seen
        });
        let containers = originals(&task, containers.collect());
        World {
            wanted,
            containers,
            progress: Progress::default(),
            has_image,
            network_ready,
            asked: if unknown { Asked::Unknown } else { Asked::ByNobody },
            deaf,
            now: 0,
            starts: 0,
            made: 0,
            task,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    /// From any containers, and whenever the worker dies on the way: in the end there is one container, of the present wish
    /// and with its name, that runs (or none that runs, where the Task is over); and none is started twice.
    #[test]
    fn one_right_container_in_the_end(
        world in world(),
        crashes in prop::collection::vec((0..40_usize, any::<bool>()), 0..4),
    ) {
        let mut world = world;
        let end = world.settle(&crashes);
        prop_assert_eq!(world.decide(), end.clone(), "deciding again yields nothing else");
        prop_assert!(world.starts <= 1, "started {} times", world.starts);
        let living = world.living();
        match end {
            Step::Wait(WaitingOn::AsWished) => {
                prop_assert_eq!(world.containers.len(), 1);
                prop_assert_eq!(&living[0].hash, &world.wanted);
                prop_assert_eq!(&living[0].name, &container_name(&world.task, &world.wanted, living[0].number));
                prop_assert_eq!(status(&world.look(), &end).phase, Phase::Running);
            }
            Step::Wait(WaitingOn::Over) => {
                prop_assert!(living.is_empty() && world.containers.len() <= 1);
                prop_assert!(world.task.spec.restart_policy != RestartPolicy::Always);
                prop_assert!(status(&world.look(), &end).phase.is_over());
            }
            other => prop_assert!(false, "ends with {:?}", other),
        }
    }

    /// A Task that is deleted ends with nothing, starts nothing on the way, and what runs has its whole grace.
    #[test]
    fn nothing_in_the_end_of_what_is_deleted(
        world in world(),
        grace in prop_oneof![Just(None), (0..100_u64).prop_map(Some)],
        crashes in prop::collection::vec((0..20_usize, any::<bool>()), 0..3),
    ) {
        let mut world = world;
        world.task.metadata.deletion_timestamp = Some(at(0));
        world.task.metadata.deletion_grace_period_seconds = grace;
        let running = world.living().len();
        let end = world.settle(&crashes);
        prop_assert_eq!(end, Step::Gone);
        prop_assert_eq!(world.containers.len(), 0);
        prop_assert_eq!((world.starts, world.made), (0, 0));
        let grace = grace.unwrap_or(u64::from(world.task.spec.termination_grace_period_seconds));
        prop_assert!(!world.deaf || running == 0 || world.now >= grace as i64, "killed before its time");
    }
}
