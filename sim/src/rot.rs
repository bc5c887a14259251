//! A bit of the store's file that is not what was written: at each start some copies of the disk, each with one bit flipped, are opened
//! beside the disk itself. Each is refused, or shows what the disk shows. The run goes on with the disk: there is no way back from what is refused but
//! a backup.
use std::collections::BTreeMap;

use cube::store::{LOG_SIZE, Options, Revision, Snapshot, Store};
use cube::world::process::Process;

use crate::{chance::Chance, disk::Platter, history::History};

const PROMISE: &str = "I3: what is not as it was written is told, and never served";

/// Copies at each start. Each costs a run some milliseconds.
const COPIES: usize = 4;

/// A copy of the disk, and where a bit of it has flipped.
pub struct Rotten {
    copy: Platter,
    bit: Option<usize>,
    /// The disk has lost its power, or failed, before.
    troubled: bool,
}

/// Some, of a disk that nobody has open.
pub fn copies_of(platter: &Platter, chance: &Chance) -> Vec<Rotten> {
    (0..COPIES).map(|_| Rotten::copy_of(platter, chance)).collect()
}

impl Rotten {
    fn copy_of(platter: &Platter, chance: &Chance) -> Self {
        let copy = platter.copy();
        let bit = copy.flip_bit(chance);
        Self {
            copy,
            bit,
            troubled: platter.is_troubled(),
        }
    }

    /// Whether it is refused, or shows what the disk has shown.
    pub fn check(self, shown: &Snapshot, history: &History) {
        let Some(bit) = self.bit else { return };
        let disk = self.copy.of(Process::default());
        let Ok(store) = Store::over(move || Ok(disk.clone()), Options::default()) else {
            return;
        };
        let (expected, found) = (records(shown), store.snapshot());
        if records(&found) == expected && found.revision() == shown.revision() {
            return;
        }
        // The log's last entry, if it is broken, cannot be told from one that was torn by a power cut; neither can the tables, if the
        // disk had no power or failed right after they were written.
        let last_is_missing =
            found.revision() < shown.revision() && is_earlier(&records(&found), found.revision(), &expected);
        if !(last_is_missing && (bit / 8 < LOG_SIZE || self.troubled)) {
            let what = format!(
                "bit {bit} is flipped: revision {} instead of {}, {} objects instead of {}",
                found.revision(),
                shown.revision(),
                found.len(),
                expected.len()
            );
            history.violated(PROMISE, what);
        }
    }
}

type Records = BTreeMap<String, (Revision, Box<[u8]>)>;

fn records(snapshot: &Snapshot) -> Records {
    let record = |record: &std::sync::Arc<cube::store::Record>| {
        let content = (record.revision, record.bytes.clone());
        (record.key.as_str().to_owned(), content)
    };
    snapshot.range("").map(record).collect()
}

/// Whether these may have been all there was at that revision, as far as what is there now shows it.
fn is_earlier(earlier: &Records, at: Revision, later: &Records) -> bool {
    let kept = later.iter().filter(|(_, (revision, _))| *revision <= at);
    let not_later = earlier.values().all(|(revision, _)| *revision <= at);
    not_later && kept.into_iter().all(|(key, content)| earlier.get(key) == Some(content))
}
