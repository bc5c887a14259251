//! When a container's probes are asked, and what their answers come to.
//!
//! [`Health`] is one container's state machine: it is told the time and the answers, and says what is due and what is so.
//! It never asks anything itself (`src/worker/probes` does) and knows no clock: times are since the container's start,
//! by a clock that does not jump.
//!
//! ```text
//! start ─ initial delay ─► eager questions (0.1 s, 0.2 s, 0.4 s … apart; a failure does not count) ─► first success
//!              └─ period ─► a question that counts ─ period ─► …
//! ```
//!
//! Kubernetes' kubelet asks once a period from the first moment on, so that a program that needs half a second to begin
//! is ready after ten. Here a container has a whole period before anything counts against it, and is asked more and more
//! seldom in between, so that it is ready as soon as it says so.
mod check;
#[cfg(test)]
mod tests;

use std::time::Duration;

use cube_api::probe::{ProbeKind, ProbeResult, ProbeStatus};
use jiff::Timestamp;

pub use check::{Action, Check, checks, depends_on_image};

/// The first eager questions are so long apart, each later pair twice as long. Shorter would ask before most programs can
/// listen; longer would make rolling updates wait.
const EAGER: Duration = Duration::from_millis(100);
/// The same of a program: each costs the engine some hundredth of a second of a processor.
const EAGER_EXEC: Duration = Duration::from_millis(400);
/// Questions of many containers that were started together are spread over so much at most.
const SPREAD: Duration = Duration::from_secs(1);
/// So many letters of an answer are shown.
const SHOWN: usize = 200;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it was good; none where nothing was learnt, as when the engine does not answer.
    pub good: Option<bool>,
    /// In a few words: `HTTP 503`, `connection refused`. Answers of the same words are one answer.
    pub words: String,
    /// More of it, as it came.
    pub details: String,
}

impl Answer {
    /// A good one.
    pub fn good(words: impl Into<String>) -> Self {
        Self {
            good: Some(true),
            words: words.into(),
            details: String::new(),
        }
    }

    /// A failure.
    pub fn bad(words: impl Into<String>, details: impl Into<String>) -> Self {
        Self {
            good: Some(false),
            words: words.into(),
            details: details.into(),
        }
    }

    /// Nothing.
    pub fn none(words: impl Into<String>) -> Self {
        Self {
            good: None,
            words: words.into(),
            details: String::new(),
        }
    }

    fn shown(&self) -> String {
        let details = one_line(&without_tags(&self.details));
        match (self.good, details.as_str()) {
            (Some(true), _) | (_, "") => self.words.clone(),
            (_, details) => format!("{}: {details}", self.words),
        }
    }
}

/// A page's text: its tags say nothing to people. What is no page stays as it is.
fn without_tags(text: &str) -> String {
    if !text.trim_start().starts_with('<') {
        return text.to_owned();
    }
    let mut words = String::new();
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        words.push_str(before);
        words.push(' ');
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    words.push_str(rest);
    words
}

/// Text as one line that cannot act on a terminal.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The container is to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhealthy {
    /// Why, for people.
    pub message: String,
    /// Seconds between the signal to stop and the kill, if not the Task's.
    pub grace: Option<u32>,
}

/// One container's probes.
#[derive(Clone, Debug)]
pub struct Health {
    checked: Vec<Checked>,
}

#[derive(Clone, Debug)]
struct Checked {
    check: Check,
    /// The next question that counts.
    due: Duration,
    /// The next one that does not, if it is to be asked, and how long after it the one after that.
    eager: Option<(Duration, Duration)>,
    /// A question is under way; whether it counts.
    asking: Option<bool>,
    succeeded: bool,
    /// It counts as good, as another question did before, and has not been answered well itself.
    unproven: bool,
    successes: u32,
    failures: u32,
    words: String,
    status: ProbeStatus,
}

impl Health {
    /// The probes of a container that was started `age` ago. `known` is what was known of its probes before, where there
    /// was somebody who asked them; `chance` spreads the questions of many containers.
    pub fn new(checks: Vec<Check>, age: Duration, known: &[ProbeStatus], chance: u64) -> Self {
        let checked = checks.into_iter().enumerate().map(|(index, check)| {
            let before = known.iter().find(|known| known.probe == check.kind);
            Checked::new(check, age, before, chance.rotate_left(7 * index as u32))
        });
        Self {
            checked: checked.collect(),
        }
    }

    /// Whether the probes beside the startup probe are asked.
    fn started(&self) -> bool {
        self.of(ProbeKind::Startup)
            .is_none_or(|startup| startup.status.result == ProbeResult::Success)
    }

    fn of(&self, kind: ProbeKind) -> Option<&Checked> {
        self.checked.iter().find(|checked| checked.check.kind == kind)
    }

    fn is_asked(&self, checked: &Checked) -> bool {
        let turn = match checked.check.kind {
            ProbeKind::Startup => !self.started(),
            _ => self.started(),
        };
        turn && checked.asking.is_none()
    }

    /// When something is due next; nothing while all that could be is under way, or the container is given up.
    pub fn next(&self) -> Option<Duration> {
        if self.unhealthy().is_some() {
            return None;
        }
        let asked = self.checked.iter().filter(|checked| self.is_asked(checked));
        asked.map(Checked::next).min()
    }

    /// What is to be asked now; each of these is under way until it is [answered](Self::answered).
    pub fn due(&mut self, now: Duration) -> Vec<Check> {
        if self.unhealthy().is_some() {
            return Vec::new();
        }
        let is_due = |checked: &Checked| self.is_asked(checked) && checked.next() <= now;
        let due: Vec<bool> = self.checked.iter().map(is_due).collect();
        let due = self.checked.iter_mut().zip(due).filter(|(_, due)| *due);
        due.map(|(checked, _)| checked.ask(now)).collect()
    }

    /// A question was answered; gives whether there is anything new to tell.
    pub fn answered(&mut self, kind: ProbeKind, answer: &Answer, now: Duration, at: Timestamp) -> bool {
        let started = self.started();
        let Some(checked) = self.checked.iter_mut().find(|checked| checked.check.kind == kind) else {
            return false;
        };
        let before = checked.status.clone();
        checked.answered(answer, now, at);
        let new = checked.status != before;
        if !started && self.started() {
            // What waited for the start is asked from now on.
            for checked in &mut self.checked {
                checked.begin(now);
            }
        }
        new
    }

    /// What is known of each probe.
    pub fn probes(&self) -> Vec<ProbeStatus> {
        self.checked.iter().map(|checked| checked.status.clone()).collect()
    }

    /// Why the container is to be stopped, if it is.
    pub fn unhealthy(&self) -> Option<Unhealthy> {
        let judges = |checked: &&Checked| checked.check.kind != ProbeKind::Readiness;
        let mut failed = self.checked.iter().filter(judges);
        let failed = failed.find(|checked| checked.status.result == ProbeResult::Failure)?;
        let times = match failed.check.failure_threshold {
            1 => String::new(),
            times => format!(" {times} times"),
        };
        Some(Unhealthy {
            message: format!("{} failed{times}: {}", failed.check.kind.shown(), failed.status.message),
            grace: failed.check.grace,
        })
    }
}

impl Checked {
    fn new(check: Check, age: Duration, before: Option<&ProbeStatus>, chance: u64) -> Self {
        let share = |of: Duration| of.mul_f64((chance % 1024) as f64 / 1024.0);
        let first = check.initial_delay.max(age);
        // What was asked before goes on somewhere in its period; what is new has one to begin in.
        let due = match before {
            Some(_) => first + share(check.period),
            None => first + check.period + share(SPREAD.min(check.period / 10)),
        };
        let result = before.map_or(ProbeResult::Unknown, |before| before.result);
        let succeeded = result == ProbeResult::Success;
        let unproven = before.is_some_and(is_unproven);
        let status = before.cloned().unwrap_or_else(|| ProbeStatus {
            probe: check.kind,
            ..ProbeStatus::default()
        });
        let mut checked = Self {
            due,
            eager: None,
            asking: None,
            succeeded,
            unproven,
            successes: 0,
            failures: 0,
            words: String::new(),
            status,
            check,
        };
        // A failure that somebody before has counted is counted anew: it may be what that one did about it.
        if result == ProbeResult::Failure {
            checked.status.result = ProbeResult::Unknown;
        }
        checked.eager = checked.is_eager().then(|| (first, checked.eager_wait()));
        checked
    }

    /// Whether a good answer is waited for.
    fn is_eager(&self) -> bool {
        self.unproven || (!self.succeeded && self.check.kind != ProbeKind::Liveness)
    }

    fn eager_wait(&self) -> Duration {
        match self.check.action {
            Action::Exec { .. } => EAGER_EXEC,
            Action::Http { .. } | Action::Tcp { .. } => EAGER,
        }
    }

    fn next(&self) -> Duration {
        self.eager.map_or(self.due, |(eager, _)| eager.min(self.due))
    }

    /// What waited for the container to have started has its first question now, and a period before it counts.
    fn begin(&mut self, now: Duration) {
        if self.check.kind == ProbeKind::Startup {
            return;
        }
        let first = self.check.initial_delay.max(now);
        self.due = self.due.max(first + self.check.period);
        self.eager = self.is_eager().then(|| (first, self.eager_wait()));
    }

    fn ask(&mut self, now: Duration) -> Check {
        let counts = self.due <= now;
        if counts {
            // A question that came late moves those after it: they are never closer than a period.
            self.due = now + self.check.period;
        }
        if let Some((eager, wait)) = self.eager.filter(|(eager, _)| *eager <= now) {
            let wait = wait.min(self.check.period);
            self.eager = Some((eager.max(now) + wait, wait * 2));
        }
        self.asking = Some(counts);
        self.check.clone()
    }

    fn answered(&mut self, answer: &Answer, now: Duration, at: Timestamp) {
        let counts = self.asking.take().unwrap_or(true);
        let Some(good) = answer.good else { return };
        if good {
            self.unproven = false;
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            // The rest of what is wanted in a row is asked for at the usual pace.
            self.eager = None;
            if self.successes >= self.check.success_threshold {
                self.status.result = ProbeResult::Success;
                self.succeeded = true;
            } else if self.status.result != ProbeResult::Success {
                return;
            }
        } else {
            self.successes = 0;
            let lenient = !self.succeeded && now < self.check.lenient;
            if !counts || lenient {
                return;
            }
            self.failures = self.failures.saturating_add(1);
            if self.failures >= self.check.failure_threshold {
                self.status.result = ProbeResult::Failure;
            } else if self.unproven {
                // Nothing is told of it that would make it look answered.
                return;
            }
        }
        if self.words != answer.words || self.status.since.is_none() {
            self.words.clone_from(&answer.words);
            let message = answer.shown();
            // Of an answer that goes on as before nothing new is told, whatever else it says.
            if self.status.message != message {
                self.status.message = message;
                self.status.since = Some(at);
            }
        }
    }
}

/// What is known of a container that is asked something else from now on. What does its work goes on doing so until the new
/// question has been answered: a wrong question must not take away all that answer it, before it has failed as often as it
/// may. `before` is what it was asked until now, where that is known; `works` is whether it was ready.
pub fn carried_over(
    known: &[ProbeStatus],
    before: Option<&[Check]>,
    checks: &[Check],
    works: bool,
) -> Vec<ProbeStatus> {
    let carried = checks.iter().filter_map(|check| {
        let known = known.iter().find(|known| known.probe == check.kind);
        let same = before.is_none_or(|before| before.contains(check));
        match known {
            Some(known) if same => Some(known.clone()),
            _ if works || known.is_some_and(|known| known.result == ProbeResult::Success) => Some(ProbeStatus {
                probe: check.kind,
                result: ProbeResult::Success,
                ..ProbeStatus::default()
            }),
            _ => None,
        }
    });
    carried.collect()
}

/// Whether that is taken for good without having been answered; a startup probe is not asked any more then.
pub fn is_unproven(probe: &ProbeStatus) -> bool {
    probe.probe != ProbeKind::Startup && probe.result == ProbeResult::Success && probe.since.is_none()
}

/// Whether probes of which this is known make a running container ready.
pub fn is_ready(probes: &[ProbeStatus]) -> bool {
    let mut asked = probes.iter().filter(|probe| probe.probe != ProbeKind::Liveness);
    asked.all(|probe| probe.result == ProbeResult::Success)
}

/// What a container that is not ready waits for: the first probe that is not content, and what it was answered.
pub fn waits_for(probes: &[ProbeStatus]) -> Option<(bool, String)> {
    let mut asked = probes.iter().filter(|probe| probe.probe != ProbeKind::Liveness);
    let probe = asked.find(|probe| probe.result != ProbeResult::Success)?;
    let failing = !probe.message.is_empty();
    let message = match probe.message.as_str() {
        "" if probe.probe == ProbeKind::Healthcheck => format!("waiting for {}", probe.probe.shown()),
        "" => format!("waiting for its {}", probe.probe.shown()),
        message => format!("{} fails: {message}", probe.probe.shown()),
    };
    Some((failing, message))
}
