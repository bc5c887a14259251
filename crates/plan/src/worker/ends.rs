//! What the end of a container means: over, or again and when.
use cube_api::task::{Phase, RestartPolicy, Termination};
use cube_planted::{Bug, planted};
use jiff::{SignedDuration, Timestamp};

use super::{Over, Progress};

/// The first back-off that is not nothing; shorter would let a broken image load the machine.
const FIRST: SignedDuration = SignedDuration::from_secs(1);
/// The longest back-off; longer would leave a mended service waiting.
const LONGEST: SignedDuration = SignedDuration::from_secs(300);
/// A container that ran so long has made good for the failures before it.
const FORGIVEN_AFTER: SignedDuration = SignedDuration::from_secs(600);

/// Reason of an end that a probe is the cause of.
pub const UNHEALTHY: &str = "Unhealthy";

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// The container.
    pub id: String,
    /// Hash of what formed it.
    pub hash: String,
    /// Exit code, reason, last lines.
    pub termination: Termination,
    /// Nobody's failure: stopped with its engine or its machine, or by Cube itself.
    pub excused: bool,
    /// When the worker learnt of it: it was then at the latest.
    pub seen_at: Timestamp,
}

/// Wait before the next start after so many failures in a row: none, 1 s, 2 s, … 5 min.
pub fn backoff(failures: u64) -> SignedDuration {
    match failures {
        0 | 1 => SignedDuration::ZERO,
        _ if planted(Bug::BackoffNone) => SignedDuration::ZERO,
        more => (FIRST * 2_i32.pow((more - 2).min(16) as u32)).min(LONGEST),
    }
}

/// Takes an end into account: counts it, and says whether the Task is over.
pub fn judge(progress: &mut Progress, end: End, policy: RestartPolicy) {
    // One that ended in the future ended before the clock was set back.
    let finished_at = end.termination.finished_at.filter(|at| *at <= end.seen_at);
    let ended_at = finished_at.unwrap_or(end.seen_at);
    let ran = end
        .termination
        .started_at
        .map_or(SignedDuration::ZERO, |started| ended_at.duration_since(started));
    // What was stopped because it did not do its work has not done it, however orderly it went.
    let succeeded = end.termination.exit_code == Some(0) && end.termination.reason != UNHEALTHY;
    progress.recorded = Some(end.id);
    progress.alive = None;
    progress.stopping = None;
    progress.health = None;
    // A job that has done its work has done it, also where its engine was stopped in the same minute.
    let done = succeeded && policy != RestartPolicy::Always;
    if end.excused && !done {
        progress.last_termination = Some(end.termination);
        return;
    }
    let over = match policy {
        RestartPolicy::Always => None,
        RestartPolicy::OnFailure => succeeded.then_some(Phase::Completed),
        RestartPolicy::Never => Some(if succeeded { Phase::Completed } else { Phase::Failed }),
    };
    match over {
        Some(phase) => {
            let exit_code = end.termination.exit_code;
            progress.over = Some(Over {
                phase,
                hash: end.hash,
                exit_code,
                at: ended_at,
            });
        }
        None => {
            progress.failures = if ran >= FORGIVEN_AFTER {
                1
            } else {
                progress.failures.saturating_add(1)
            };
            // They begin with what the status says, and that anyone can write.
            progress.restarts = progress.restarts.saturating_add(1);
        }
    }
    progress.ended_at = Some(ended_at);
    progress.last_termination = Some(end.termination);
}
