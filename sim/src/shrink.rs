//! The shortest script that is found to fail as a longer one did: acts are left out as long as it does.
use crate::{
    run::{Ended, run},
    script::Script,
};

/// So many runs are tried at most.
const TRIES: usize = 200;

/// Leaves out acts of a failed script (halves, quarters, … single ones) as long as the same promise is not kept.
pub fn shrink(seed: u64, script: Script, liveness: bool, invariant: &str) -> (Script, Ended) {
    let mut best = script;
    let mut ended = run(seed, &best, liveness, false);
    let (mut tries, mut piece) = (0, best.acts.len().div_ceil(2).max(1));
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < best.acts.len() && tries < TRIES {
            let mut candidate = best.clone();
            candidate.acts.drain(at..(at + piece).min(best.acts.len()));
            tries += 1;
            let tried = run(seed, &candidate, liveness, false);
            if tried
                .violation
                .as_ref()
                .is_some_and(|violation| violation.invariant == invariant)
            {
                (best, ended, shorter) = (candidate, tried, true);
            } else {
                at += piece;
            }
        }
        if tries >= TRIES || (piece == 1 && !shorter) {
            return (best, ended);
        }
        piece = (piece / 2).max(1);
    }
}
