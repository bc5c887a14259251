//! The benchmarks: their names in the test plan, who takes part, and which file measures what.
use cube_bench::Result;

use crate::book::Book;
use crate::dockerd::Dockerd;
use crate::side::{Manners, Net, Side};
use crate::{again, cold, fall, heal, idle, recovery, rise, roll, saved, writes};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    /// Two containers for any number, only to show that all works.
    pub small: bool,
}

impl Effort {
    /// So many containers, or the two that stand for them.
    pub const fn containers(&self, many: usize) -> usize {
        if self.small { 2 } else { many }
    }
}

/// The benchmarks, by the names that the test plan has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    B8,
    B9,
    B12,
    B13,
    B14,
}

impl Bench {
    pub const ALL: &[Self] = &[
        Self::B1,
        Self::B2,
        Self::B3,
        Self::B4,
        Self::B5,
        Self::B6,
        Self::B7,
        Self::B8,
        Self::B9,
        Self::B12,
        Self::B13,
        Self::B14,
    ];

    /// What every run of the tests has time for.
    pub const SMALL: &[Self] = &[Self::B1, Self::B14];

    pub const fn name(self) -> &'static str {
        match self {
            Self::B1 => "B1",
            Self::B2 => "B2",
            Self::B3 => "B3",
            Self::B4 => "B4",
            Self::B5 => "B5",
            Self::B6 => "B6",
            Self::B7 => "B7",
            Self::B8 => "B8",
            Self::B9 => "B9",
            Self::B12 => "B12",
            Self::B13 => "B13",
            Self::B14 => "B14",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::B1 => "30 containers on the machine's network, from the command to all running",
            Self::B2 => "30 containers on bridges, from the command to all running",
            Self::B3 => "100 and 200 containers on the machine's network, from the command to all running",
            Self::B4 => "what is as it should be is applied again",
            Self::B5 => "one of 30 containers is killed",
            Self::B6 => "30 containers are taken back",
            Self::B7 => "what it costs to look after 30 containers while nothing happens",
            Self::B8 => "how soon there is somebody to tell",
            Self::B9 => "creates of 512 bytes that are on the disk when they are acknowledged",
            Self::B12 => "one of 1,000 objects is changed",
            Self::B13 => "what looks after 30 containers is killed",
            Self::B14 => "20 replicas are replaced, at most 5 more and none fewer",
        }
    }

    pub const fn sides(self) -> &'static [Side] {
        match self {
            Self::B1 | Self::B2 | Self::B3 => rise::SIDES,
            Self::B4 => again::SIDES,
            Self::B5 => heal::SIDES,
            Self::B6 => fall::SIDES,
            Self::B7 => idle::SIDES,
            Self::B8 => cold::SIDES,
            Self::B9 => writes::SIDES,
            Self::B12 => saved::SIDES,
            Self::B13 => recovery::SIDES,
            Self::B14 => roll::SIDES,
        }
    }

    /// How many parts it has, each with an engine of its own.
    pub const fn parts(self) -> usize {
        match self {
            Self::B8 => 3,
            Self::B1 | Self::B2 | Self::B3 | Self::B4 | Self::B6 | Self::B13 => 2,
            _ => 1,
        }
    }
}

/// One measurement: a side on an engine that is nobody else's.
pub struct Round<'a> {
    pub bench: Bench,
    pub side: Side,
    pub effort: Effort,
    pub dockerd: &'a Dockerd,
}

impl Round<'_> {
    pub async fn measure(&self, part: usize, book: &mut Book) -> Result<()> {
        let first = part == 0;
        match self.bench {
            Bench::B1 if first => rise::round(self, book, 30, Net::Host).await,
            Bench::B1 => rise::apart(self, book, 30).await,
            Bench::B2 => rise::round(self, book, 30, if first { Net::Bridge } else { Net::Own }).await,
            Bench::B3 => rise::round(self, book, if first { 100 } else { 200 }, Net::Host).await,
            Bench::B4 if first => again::round(self, book, 30, 1).await,
            Bench::B4 => again::round(self, book, 1000, 0).await,
            Bench::B5 => heal::round(self, book).await,
            Bench::B6 => fall::round(self, book, if first { Manners::Obeys } else { Manners::Ignores }).await,
            Bench::B7 => idle::round(self, book).await,
            Bench::B8 if first => cold::empty(self, book).await,
            Bench::B8 => cold::again(self, book, if part == 1 { 1000 } else { 10_000 }).await,
            Bench::B9 => writes::round(self, book).await,
            Bench::B12 => saved::round(self, book).await,
            Bench::B13 if first => recovery::orchestrator(self, book).await,
            Bench::B13 => recovery::engine(self, book).await,
            Bench::B14 => roll::round(self, book).await,
        }
    }
}
