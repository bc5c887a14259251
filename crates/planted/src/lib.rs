//! Bugs that are planted on purpose, one at a time, to see that the simulation finds them (`dev/mutants`).
//!
//! Each has a place in Cube's code, `if planted(Bug::…)`. Without the feature `on`, which the simulation alone asks for, that
//! is `if false`, and nothing of it is in the binary. A place never does anything but go wrong in the way that its bug says.

/// Makes the list of the bugs: their names in code and on the command line, and what each does.
macro_rules! bugs {
    ($($bug:ident $name:literal $says:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Bug {
            $(#[doc = $says] $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];

            /// What it is called.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }

            /// What it does.
            pub const fn says(self) -> &'static str {
                match self {
                    $(Self::$bug => $says,)*
                }
            }
        }
    };
}

bugs! {
    LogUnsynced "log-unsynced" "an entry of the store's log is acknowledged before it is synced",
    TreesUnsynced "trees-unsynced" "the store's log begins anew before the trees that take its place are synced",
    AckedThoughFailed "acked-though-failed" "a write that the disk refused is acknowledged",
    LastEntryLost "last-entry-lost" "the last entry of the log is left out when the store is opened",
    OldLapTaken "old-lap-taken" "what is left in the log of the time before it began anew is taken for new",
    OldTablesTaken "old-tables-taken" "the tables before the newest are taken where those are damaged, although the log is newer",
    LapNotRaised "lap-not-raised" "the log begins anew without its lap being noted in the trees",
    DeletionUnsettled "deletion-unsettled" "a deletion is not carried over from the log to the trees",
    WatchSkips "watch-skips" "the first change after a pause is not told to a watch",
    CompactionUntold "compaction-untold" "a watch whose place is lost goes on as if nothing were missing",
    RevisionUnchecked "revision-unchecked" "a write goes through although the object has changed since it was read",
    ReportFromElsewhere "report-from-elsewhere" "a worker's report is taken from a node that does not have the Task any more",
    FinalizerDropped "finalizer-dropped" "a Task is removed from the registry while its container runs",
    GenerationKept "generation-kept" "a change of an object's spec does not raise its generation",
    RoomUncounted "room-uncounted" "a Task that is just being bound is not counted on its node",
    PortsUnchecked "ports-unchecked" "a host port is given twice on a node",
    CordonUnheeded "cordon-unheeded" "a node that is drained takes Tasks",
    RoomUnnoticed "room-unnoticed" "Tasks that wait are not looked at again when there is room",
    BindingForgotten "binding-forgotten" "a binding that failed is not tried again",
    OutgrownStays "outgrown-stays" "a Task that was edited beyond what its node has stays there",
    SurgeUnheeded "surge-unheeded" "a roll begins all its Tasks at once, whatever maxSurge says",
    UnavailableUnheeded "unavailable-unheeded" "a roll ends all old Tasks at once, whatever maxUnavailable says",
    OwnerUnasked "owner-unasked" "what belongs to something that is gone is not removed",
    NamespaceStays "namespace-stays" "an emptied namespace is not let go",
    SilenceByWallClock "silence-by-wall-clock" "how long a node was silent is measured by a clock that can be set",
    LostAtOnce "lost-at-once" "a Task is given to another node as soon as its own is silent",
    LostNeverMoved "lost-never-moved" "the Tasks of a node that is lost stay with it",
    RelistSkipped "relist-skipped" "a worker that has its engine again does not ask it what is there",
    ListSkipped "list-skipped" "a worker trusts that it is told of every change, and never lists",
    ProofUnwritten "proof-unwritten" "a worker does not note which containers it makes",
    ProofUnasked "proof-unasked" "a worker removes what has Cube's labels, without a proof that it is Cube's",
    GraceIgnored "grace-ignored" "a container is killed without being asked first",
    GraceByWallClock "grace-by-wall-clock" "a worker's waits are measured by a clock that can be set",
    StartBeforeStop "start-before-stop" "the new container is started before the old one has ended",
    ReportDropped "report-dropped" "a report that could not be written is not sent again",
    UnassignedRuns "unassigned-runs" "a Task that left its node runs on there",
    EngineAwayIsGone "engine-away-is-gone" "where an engine does not answer, its containers are taken for gone",
    BackoffNone "backoff-none" "what fails again and again is started again at once",
    NetworkStays "network-stays" "a network that no Task needs any more stays",
    ScratchStays "scratch-stays" "the empty directory of a Task stays when it is gone",
    PruneUnread "prune-unread" "a file that cannot be read is taken for one that is gone",
    PruneUnasked "prune-unasked" "many objects are removed at once without a yes",
    DriftLeft "drift-left" "what was changed by hand is not set right",
    RescanSkipped "rescan-skipped" "a directory is never read again where no word of a change came",
    AssignmentMissed "assignment-missed" "a worker that is connected again is not told of what has changed meanwhile",
}

#[cfg(feature = "on")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    static PLANTED: AtomicU8 = AtomicU8::new(u8::MAX);

    /// Whether the bug is planted.
    pub fn planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }

    /// Plants the bug for the whole process in place of the one before; none: there is no bug.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(u8::MAX, |bug| bug as u8), Ordering::Relaxed);
    }
}

#[cfg(feature = "on")]
pub use switch::{plant, planted};

/// Whether the bug is planted: none ever is where the feature `on` is not asked for.
#[cfg(not(feature = "on"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}
