use cube_api::{probe::Healthcheck, task::TaskSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A container whose answers are a function of the probe and the time in milliseconds.
struct World<'a> {
    health: Health,
    now: u64,
    answers: &'a dyn Fn(ProbeKind, u64) -> Answer,
    /// Which probe was asked when.
    asked: Vec<(ProbeKind, u64)>,
    /// How often there was anything new to tell.
    told: usize,
}

impl<'a> World<'a> {
    fn new(checks: Vec<Check>, answers: &'a dyn Fn(ProbeKind, u64) -> Answer) -> Self {
        Self::adopted(checks, 0, &[], answers)
    }

    fn adopted(
        checks: Vec<Check>,
        age: u64,
        known: &[ProbeStatus],
        answers: &'a dyn Fn(ProbeKind, u64) -> Answer,
    ) -> Self {
        Self {
            health: Health::new(checks, Duration::from_millis(age), known, 0),
            now: age,
            answers,
            asked: vec![],
            told: 0,
        }
    }

    /// Asks and answers at once until that time, or until nothing more is due.
    fn run(&mut self, until: u64) -> &mut Self {
        while let Some(next) = self.health.next() {
            let next = next.as_millis() as u64;
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            let now = Duration::from_millis(self.now);
            for check in self.health.due(now) {
                self.asked.push((check.kind, self.now));
                let answer = (self.answers)(check.kind, self.now);
                let at = Timestamp::from_millisecond(self.now as i64).unwrap();
                self.told += usize::from(self.health.answered(check.kind, &answer, now, at));
            }
        }
        self
    }

    fn times(&self, kind: ProbeKind) -> Vec<u64> {
        let of_kind = self.asked.iter().filter(|(asked, _)| *asked == kind);
        of_kind.map(|(_, at)| *at).collect()
    }

    fn is_ready(&self) -> bool {
        is_ready(&self.health.probes())
    }

    fn unhealthy(&self) -> Option<String> {
        self.health.unhealthy().map(|unhealthy| unhealthy.message)
    }
}

fn of(spec: Value) -> Vec<Check> {
    let mut spec: TaskSpec = serde_json::from_value(spec).unwrap();
    spec.image = "x".to_owned();
    checks(&spec, None)
}

fn http() -> Value {
    json!({ "port": 80 })
}

fn up_from(at: u64) -> impl Fn(ProbeKind, u64) -> Answer {
    move |_, now| match now >= at {
        true => Answer::good("HTTP 200"),
        false => Answer::bad("connection refused", ""),
    }
}

#[test]
fn a_program_is_ready_soon_after_it_says_so_and_asked_once_a_period_from_then_on() {
    let answers = up_from(650);
    let mut world = World::new(
        of(json!({ "image": "x", "readinessProbe": { "httpGet": http() } })),
        &answers,
    );
    assert!(!world.is_ready());
    world.run(35_000);
    assert!(world.is_ready());
    assert_eq!(
        world.times(ProbeKind::Readiness),
        [0, 100, 300, 700, 10_000, 20_000, 30_000]
    );
    // The failures before it was up are nobody's business, nor are good answers like the first.
    assert_eq!(world.told, 1);
}

#[test]
fn the_book_asks_health_before_the_port_is_bound() {
    // Every probe fails at its first failure that counts: none does while the program has a period to begin in.
    let spec = json!({
        "image": "x",
        "startupProbe": { "tcpSocket": { "port": 80 }, "failureThreshold": 1 },
        "livenessProbe": { "tcpSocket": { "port": 80 }, "failureThreshold": 1 },
        "readinessProbe": { "tcpSocket": { "port": 80 }, "failureThreshold": 1 },
    });
    let answers = up_from(9_000);
    let mut world = World::new(of(spec), &answers);
    world.run(60_000);
    assert_eq!(world.unhealthy(), None);
    assert!(world.is_ready());
    let liveness = World::new(
        of(json!({ "image": "x", "livenessProbe": { "httpGet": http(), "failureThreshold": 1 } })),
        &answers,
    )
    .run(60_000)
    .unhealthy();
    assert_eq!(liveness, None);
}

#[test]
fn the_book_asks_health_of_a_wrong_port() {
    // The container's own port, whatever it is published as; by its name wherever it has one.
    let spec = json!({
        "image": "x",
        "ports": [{ "name": "web", "containerPort": 8080, "hostPort": 80 }, { "name": "admin", "containerPort": 9090, "hostPort": 0 }],
        "livenessProbe": { "httpGet": { "port": "admin" } },
        "readinessProbe": { "tcpSocket": { "port": "web" } },
    });
    let ports: Vec<Option<u16>> = of(spec)
        .into_iter()
        .map(|check| match check.action {
            Action::Http { port, .. } | Action::Tcp { port, .. } => port,
            Action::Exec { .. } => None,
        })
        .collect();
    assert_eq!(ports, [Some(9090), Some(8080)]);
}

#[test]
fn other_probes_wait_for_the_startup_probe() {
    let spec = json!({
        "image": "x",
        "startupProbe": { "exec": { "command": ["up"] }, "periodSeconds": 2, "failureThreshold": 30 },
        "livenessProbe": { "httpGet": http() },
        "readinessProbe": { "httpGet": http() },
    });
    let answers = up_from(5_000);
    let mut world = World::new(of(spec), &answers);
    world.run(31_000);
    let startup = world.times(ProbeKind::Startup);
    let started = *startup.last().unwrap();
    assert!((5_000..=6_000).contains(&started), "{startup:?}");
    assert_eq!(world.times(ProbeKind::Readiness)[0], started, "at once");
    assert_eq!(
        world.times(ProbeKind::Liveness),
        [started + 10_000, started + 20_000],
        "a period later"
    );
}

#[test]
fn a_program_that_never_starts_is_given_up_when_kubernetes_documentation_says() {
    let spec = json!({ "image": "x", "startupProbe": { "httpGet": http(), "periodSeconds": 5, "failureThreshold": 6, "initialDelaySeconds": 3,
        "terminationGracePeriodSeconds": 1 } });
    let answers = up_from(u64::MAX);
    let mut world = World::new(of(spec), &answers);
    world.run(3_000 + 6 * 5_000 - 1);
    assert_eq!(world.unhealthy(), None);
    world.run(u64::MAX);
    let unhealthy = world.health.unhealthy().unwrap();
    assert_eq!(unhealthy.message, "startup probe failed 6 times: connection refused");
    assert_eq!(unhealthy.grace, Some(1));
    assert_eq!(world.now, 33_000);
    assert_eq!(world.health.next(), None, "nobody asks a container that is given up");
}

#[test]
fn liveness_fails_after_failures_in_a_row_only() {
    let spec = json!({ "image": "x", "livenessProbe": { "httpGet": http(), "periodSeconds": 1 } });
    let flapping = |_, now: u64| match now / 1000 % 3 {
        0 => Answer::good("HTTP 200"),
        _ => Answer::bad("HTTP 500", "no\ndatabase"),
    };
    let mut world = World::new(of(spec.clone()), &flapping);
    world.run(60_000);
    assert_eq!(world.unhealthy(), None);
    assert!(world.is_ready(), "liveness has no part in it");
    let dead = |_, now: u64| match now {
        0..10_000 => Answer::good("HTTP 200"),
        _ => Answer::bad("HTTP 500", "no\ndatabase"),
    };
    let mut world = World::new(of(spec), &dead);
    world.run(60_000);
    assert_eq!(
        world.unhealthy().as_deref(),
        Some("liveness probe failed 3 times: HTTP 500: no database")
    );
    assert_eq!(world.now, 12_000);
}

#[test]
fn readiness_goes_and_comes_by_its_thresholds() {
    let spec = json!({ "image": "x", "readinessProbe": { "httpGet": http(), "periodSeconds": 1, "failureThreshold": 2, "successThreshold": 3 } });
    let answers = |_, now: u64| match now {
        10_000..15_000 => Answer::bad("HTTP 503", "busy"),
        _ => Answer::good("HTTP 200"),
    };
    let mut world = World::new(of(spec), &answers);
    let mut ready = Vec::new();
    for second in 0..20 {
        ready.push(world.run(second * 1000).is_ready());
    }
    let expected: Vec<bool> = (0..20).map(|second| matches!(second, 2..=10 | 17..)).collect();
    assert_eq!(ready, expected);
    assert_eq!(world.unhealthy(), None, "readiness stops nothing");
}

#[test]
fn what_says_nothing_counts_for_nothing() {
    let spec = json!({ "image": "x", "livenessProbe": { "exec": { "command": ["x"] }, "periodSeconds": 1 } });
    let away = |_, now: u64| match now {
        0..3_000 => Answer::bad("exit 1", ""),
        3_000..600_000 => Answer::none("the engine does not answer"),
        _ => Answer::bad("exit 1", ""),
    };
    let mut world = World::new(of(spec), &away);
    world.run(599_000);
    assert_eq!(world.unhealthy(), None);
    world.run(600_000);
    assert_eq!(
        world.unhealthy().as_deref(),
        Some("liveness probe failed 3 times: exit 1")
    );
}

#[test]
fn a_worker_that_takes_over_asks_no_ready_container_to_prove_itself_again() {
    let spec = json!({ "image": "x", "startupProbe": { "httpGet": http() }, "livenessProbe": { "httpGet": http() }, "readinessProbe": { "httpGet": http() } });
    let answers = up_from(0);
    let mut before = World::new(of(spec.clone()), &answers);
    let known = before.run(15_000).health.probes();
    let mut after = World::adopted(of(spec), 60_000, &known, &answers);
    assert!(after.is_ready());
    after.run(80_000);
    assert!(after.times(ProbeKind::Startup).is_empty());
    assert_eq!(after.told, 0, "nothing new");
    assert!(!after.times(ProbeKind::Liveness).is_empty());
}

#[test]
fn questions_of_many_containers_are_spread() {
    let spec = json!({ "image": "x", "livenessProbe": { "httpGet": http() } });
    let first = |chance: u64, known: &[ProbeStatus]| {
        Health::new(of(spec.clone()), Duration::ZERO, known, chance)
            .next()
            .unwrap()
    };
    let fresh: Vec<Duration> = (0..1024).map(|chance| first(chance, &[])).collect();
    assert_eq!(fresh.iter().min(), Some(&Duration::from_secs(10)));
    assert!(*fresh.iter().max().unwrap() > Duration::from_millis(10_900));
    assert!(*fresh.iter().max().unwrap() < Duration::from_secs(11));
    let known = [ProbeStatus {
        probe: ProbeKind::Liveness,
        result: ProbeResult::Success,
        since: Some(Timestamp::UNIX_EPOCH),
        ..ProbeStatus::default()
    }];
    let adopted: Vec<Duration> = (0..1024).map(|chance| first(chance, &known)).collect();
    assert!(*adopted.iter().min().unwrap() < Duration::from_secs(1));
    assert!(*adopted.iter().max().unwrap() > Duration::from_secs(9));
}

#[test]
fn an_images_healthcheck_makes_ready_and_judges_life() {
    let image = Healthcheck {
        command: vec!["curl".to_owned()],
        interval_ms: 2_000,
        timeout_ms: 1_000,
        start_period_ms: 5_000,
        retries: 2,
    };
    let spec: TaskSpec = serde_json::from_value(json!({ "image": "x" })).unwrap();
    let asked = checks(&spec, Some(&image));
    let never = up_from(u64::MAX);
    let mut world = World::new(asked.clone(), &never);
    world.run(60_000);
    // Two failures that count, after the five seconds in which none does.
    assert_eq!(world.now, 8_000);
    assert_eq!(
        world.unhealthy().as_deref(),
        Some("the image's HEALTHCHECK failed 2 times: connection refused")
    );
    let up = up_from(1_000);
    let mut world = World::new(asked, &up);
    assert!(!world.is_ready());
    assert!(world.run(2_000).is_ready());
    for silent in [
        json!({ "image": "x", "imageHealthcheck": "Ignore" }),
        json!({ "image": "x", "readinessProbe": { "tcpSocket": { "port": 1 } } }),
    ] {
        let spec: TaskSpec = serde_json::from_value(silent).unwrap();
        let kinds: Vec<ProbeKind> = checks(&spec, Some(&image)).iter().map(|check| check.kind).collect();
        assert!(!kinds.contains(&ProbeKind::Healthcheck), "{kinds:?}");
    }
}

#[test]
fn what_is_shown_of_an_answer_is_short_and_cannot_act_on_a_terminal() {
    let answer = Answer::bad("HTTP 500", format!("\u{1b}[2J\n<html>\r\n{}", "é".repeat(300)));
    let shown = answer.shown();
    assert!(shown.starts_with("HTTP 500: [2J <html> é"), "{shown}");
    let page = "\n<html><head><title>404 Not Found</title></head>\r\n<body>nginx <b>1.22</b></body></html>";
    assert_eq!(
        Answer::bad("HTTP 404", page).shown(),
        "HTTP 404: 404 Not Found nginx 1.22"
    );
    assert_eq!(Answer::bad("exit 1", "1 < 2 and <b>").shown(), "exit 1: 1 < 2 and <b>");
    assert_eq!(Answer::bad("HTTP 500", "<never").shown(), "HTTP 500");
    assert!(shown.ends_with('…') && shown.chars().count() == "HTTP 500: ".len() + SHOWN + 1);
}

#[test]
fn the_reason_of_not_being_ready_is_told() {
    let spec = json!({ "image": "x", "readinessProbe": { "httpGet": http() } });
    let answers = up_from(u64::MAX);
    let mut world = World::new(of(spec), &answers);
    let waiting = waits_for(&world.health.probes());
    assert_eq!(waiting, Some((false, "waiting for its readiness probe".to_owned())));
    world.run(10_000);
    let failing = waits_for(&world.health.probes());
    assert_eq!(
        failing,
        Some((true, "readiness probe fails: connection refused".to_owned()))
    );
}

#[test]
fn however_late_the_questions_come_they_are_a_period_apart() {
    let mut health = Health::new(
        of(json!({ "image": "x", "livenessProbe": { "httpGet": http(), "periodSeconds": 1 } })),
        Duration::ZERO,
        &[],
        0,
    );
    // The machine slept for an hour: one question, not 3600.
    let hour = Duration::from_secs(3600);
    assert_eq!(health.due(hour).len(), 1);
    assert_eq!(health.due(hour), [], "it is under way");
    health.answered(ProbeKind::Liveness, &Answer::good("ok"), hour, Timestamp::UNIX_EPOCH);
    assert_eq!(health.next(), Some(hour + Duration::from_secs(1)));
}

/// One probe of each kind that is wished, with figures of any sort.
fn any_checks() -> impl Strategy<Value = Vec<Check>> {
    let check = (0..4_u64, 1..5_u64, 1..4_u32, 1..4_u32, any::<bool>());
    prop::collection::vec(prop::option::of(check), 3).prop_map(|given| {
        let kinds = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];
        let made = kinds.into_iter().zip(given).filter_map(|(kind, given)| {
            let (delay, period, failures, successes, exec) = given?;
            let action = match exec {
                true => Action::Exec { command: Vec::new() },
                false => Action::Tcp {
                    host: None,
                    port: Some(80),
                },
            };
            Some(Check {
                kind,
                action,
                initial_delay: Duration::from_secs(delay),
                period: Duration::from_secs(period),
                timeout: Duration::from_secs(1),
                // Others than readiness need one, as admission has it.
                success_threshold: if kind == ProbeKind::Readiness { successes } else { 1 },
                failure_threshold: failures,
                lenient: Duration::ZERO,
                grace: None,
            })
        });
        made.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked and answered: nothing is asked before its time or while it is under way, a container is given up
    /// only after so many failures in a row as are wished and a period for each, and it is ready only after so many successes.
    #[test]
    fn questions_have_their_time_and_answers_their_weight(
        checks in any_checks(),
        answers in prop::collection::vec((0..4_u8, 0..3000_u64), 1..60),
        chance in any::<u64>(),
    ) {
        let mut health = Health::new(checks.clone(), Duration::ZERO, &[], chance);
        let mut now = Duration::ZERO;
        let mut failures: std::collections::BTreeMap<ProbeKind, u32> = Default::default();
        let mut successes: std::collections::BTreeMap<ProbeKind, u32> = Default::default();
        let of = |kind: ProbeKind| checks.iter().find(|check| check.kind == kind);
        let mut started = of(ProbeKind::Startup).is_none();
        for (answer, late) in answers {
            let Some(next) = health.next() else {
                let goes_on = checks.iter().any(|check| check.kind != ProbeKind::Startup || !started);
                prop_assert!(!goes_on || health.unhealthy().is_some(), "nothing is ever asked again");
                break;
            };
            // Whoever asks may come late.
            now = now.max(next) + Duration::from_millis(late);
            let due = health.due(now);
            prop_assert!(!due.is_empty(), "said to be due, and is not");
            prop_assert!(health.due(now).is_empty(), "what is under way is not asked again");
            for check in due {
                prop_assert!(now >= check.initial_delay, "{:?} before its delay", check.kind);
                prop_assert_eq!(check.kind == ProbeKind::Startup, !started, "the others wait for the start");
                let said = match answer {
                    0 => Answer::none("no engine"),
                    1 => Answer::bad("no", "details"),
                    _ => Answer::good("yes"),
                };
                let (bad, good) = (failures.entry(check.kind).or_default(), successes.entry(check.kind).or_default());
                match said.good {
                    Some(true) => (*bad, *good) = (0, *good + 1),
                    Some(false) => (*bad, *good) = (*bad + 1, 0),
                    None => {}
                }
                let result = |health: &Health| {
                    let probes = health.probes();
                    probes.into_iter().find(|status| status.probe == check.kind).unwrap().result
                };
                let before = result(&health);
                let at = Timestamp::from_millisecond(now.as_millis() as i64).unwrap();
                health.answered(check.kind, &said, now, at);
                let after = result(&health);
                match after {
                    _ if before == after => {}
                    ProbeResult::Failure => {
                        prop_assert!(*bad >= check.failure_threshold, "{bad} failures in a row are no failure");
                        let least = check.initial_delay + check.period * check.failure_threshold;
                        prop_assert!(now >= least, "given up after {now:?}, which is sooner than {least:?}");
                    }
                    ProbeResult::Success => prop_assert!(*good >= check.success_threshold, "{good} are no success"),
                    ProbeResult::Unknown => prop_assert!(false, "what was known is known"),
                }
                started |= check.kind == ProbeKind::Startup && after == ProbeResult::Success;
            }
            let probes = health.probes();
            let content = |kind| probes.iter().find(|status| status.probe == kind).is_none_or(|status| status.result == ProbeResult::Success);
            prop_assert_eq!(is_ready(&probes), content(ProbeKind::Startup) && content(ProbeKind::Readiness));
            prop_assert_eq!(is_ready(&probes), waits_for(&probes).is_none());
        }
    }
}

#[test]
fn another_question_takes_nothing_away_before_it_has_failed_as_often_as_it_may() {
    let asked = |path: &str, kind: &str| {
        of(json!({ "image": "x", kind: { "httpGet": { "port": 80, "path": path }, "failureThreshold": 2 } }))
    };
    let before = asked("/a", "readinessProbe");
    let known = [ProbeStatus {
        probe: ProbeKind::Readiness,
        result: ProbeResult::Success,
        message: "HTTP 200".to_owned(),
        since: Some(Timestamp::UNIX_EPOCH),
    }];
    assert_eq!(carried_over(&known, Some(&before), &before, true), known);
    assert_eq!(
        carried_over(&known, None, &before, true),
        known,
        "nobody asked something else"
    );
    assert_eq!(carried_over(&[], Some(&[]), &before, false), [], "it did not work");
    let good = up_from(0);
    let bad = |_: ProbeKind, _: u64| Answer::bad("HTTP 404", "");
    for kind in ["readinessProbe", "livenessProbe"] {
        let now = asked("/b", kind);
        let carried = carried_over(&known, Some(&before), &now, true);
        assert!(is_ready(&carried) && carried.iter().all(is_unproven), "{kind}");
        // A good answer is heard of at once.
        let mut world = World::adopted(now.clone(), 60_000, &carried, &good);
        assert!(world.run(60_000).is_ready() && !world.health.probes().iter().any(is_unproven));
        let mut world = World::adopted(now, 60_000, &carried, &bad);
        let first = world.run(60_000).health.probes();
        assert!(first.iter().all(is_unproven), "{kind}: failures do not count yet");
        // A period each, and the one that it has to begin in.
        world.run(60_000 + 9_000);
        assert!(world.health.probes().iter().all(is_unproven), "{kind}");
        world.run(60_000 + 25_000);
        assert!(
            world
                .health
                .probes()
                .iter()
                .all(|probe| probe.result == ProbeResult::Failure),
            "{kind}"
        );
    }
}
