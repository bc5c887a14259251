//! The choices of a run, from a seed that is told and can be given again.
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// A stream of choices (splitmix64).
pub struct Chance(u64);

impl Chance {
    /// One by CHAOS_SEED, else by a seed of its own.
    pub fn new() -> Self {
        let given = std::env::var("CHAOS_SEED").ok();
        let seed = given.map_or_else(
            || RandomState::new().build_hasher().finish() >> 32,
            |seed| seed.parse().expect("CHAOS_SEED is a number"),
        );
        println!("figure: CHAOS_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// A moment, shorter than so many milliseconds.
    pub fn moment(&mut self, milliseconds: u64) -> Duration {
        Duration::from_millis(self.below(milliseconds))
    }
}

/// How often a scenario goes round: what CHAOS_CYCLES says, else this.
pub fn cycles(usual: u64) -> u64 {
    std::env::var("CHAOS_CYCLES").map_or(usual, |cycles| cycles.parse().expect("CHAOS_CYCLES is a number"))
}
