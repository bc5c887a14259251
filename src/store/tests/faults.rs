//! A disk that fails, and a process that dies.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use redb::StorageBackend;

use super::super::core::Core;
use super::super::watch::Scope;
use super::*;

/// A disk in memory that outlives who opens it, and that can begin to fail at any call.
#[derive(Debug, Default)]
struct Platter {
    bytes: RwLock<Vec<u8>>,
    /// What is there for sure: as of the last sync.
    synced: Mutex<Vec<u8>>,
    /// Where it was written since.
    dirty: Mutex<Vec<std::ops::Range<usize>>>,
    /// After so many syncs one fails; what it should have written counts as written from then on, as on Linux.
    forgets_after: AtomicU64,
    calls: AtomicU64,
    /// From this call on, writes fail.
    fails_from: AtomicU64,
    syncs: AtomicU64,
}

#[derive(Clone, Debug)]
struct Faulty(Arc<Platter>);

impl Faulty {
    fn new() -> Self {
        let platter = Platter::default();
        platter.fails_from.store(u64::MAX, Ordering::SeqCst);
        platter.forgets_after.store(u64::MAX, Ordering::SeqCst);
        Self(Arc::new(platter))
    }

    /// Opened once more, by who has the system forget what it need not write.
    fn reopened(&self) -> Self {
        let mut bytes = self.0.bytes.write().unwrap();
        let mut known = self.0.synced.lock().unwrap().clone();
        known.resize(bytes.len(), 0);
        for range in self.0.dirty.lock().unwrap().iter() {
            known[range.clone()].copy_from_slice(&bytes[range.clone()]);
        }
        *bytes = known;
        drop(bytes);
        self.clone()
    }

    fn fail_after(&self, calls: u64) {
        let at = self.0.calls.load(Ordering::SeqCst) + calls;
        self.0.fails_from.store(at, Ordering::SeqCst);
    }

    fn heal(&self) {
        self.0.fails_from.store(u64::MAX, Ordering::SeqCst);
    }

    fn modify(&self) -> io::Result<()> {
        let call = self.0.calls.fetch_add(1, Ordering::SeqCst);
        if call >= self.0.fails_from.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// What a machine would find after its power was cut, at worst.
    fn after_power_cut(&self) -> Self {
        let found = Self::new();
        *found.0.bytes.write().unwrap() = self.0.synced.lock().unwrap().clone();
        found
    }

    fn core(&self) -> Core {
        let disk = self.clone();
        Core::over(super::super::boxed(move || Ok(disk.clone())), options()).unwrap()
    }

    fn store(&self) -> Store {
        let disk = self.clone();
        Store::over(move || Ok(disk.clone()), options()).unwrap()
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.read().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        let bytes = self.0.bytes.read().unwrap();
        out.copy_from_slice(
            bytes
                .get(offset..offset + out.len())
                .ok_or(io::ErrorKind::UnexpectedEof)?,
        );
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.modify()?;
        self.0.bytes.write().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.modify()?;
        let syncs = self.0.syncs.fetch_add(1, Ordering::SeqCst);
        let bytes = self.0.bytes.read().unwrap();
        let mut synced = self.0.synced.lock().unwrap();
        synced.resize(bytes.len(), 0);
        let dirty = std::mem::take(&mut *self.0.dirty.lock().unwrap());
        if syncs == self.0.forgets_after.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk could not write"));
        }
        for range in dirty {
            synced[range.clone()].copy_from_slice(&bytes[range]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.modify()?;
        let range = offset as usize..offset as usize + data.len();
        self.0.bytes.write().unwrap()[range.clone()].copy_from_slice(data);
        self.0.dirty.lock().unwrap().push(range);
        Ok(())
    }
}

/// Wherever in a commit the disk fails: nothing is acknowledged wrongly, no revision comes twice, watchers miss nothing,
/// and writing goes on once there is room.
#[test]
fn a_full_disk_at_any_call_loses_nothing_and_heals() {
    for calls in 0..30 {
        let disk = Faulty::new();
        let mut core = disk.core();
        let shared = core.shared().clone();
        let mut watch = Watch::new(&shared, Scope::Prefix("".into()), 0).unwrap();
        let mut now = Duration::ZERO;
        let mut commit = |now, name: &str| core.commit(now, vec![put(name, "1")]).remove(0);
        commit(now, "before").unwrap();

        disk.fail_after(calls);
        let first = commit(now, "doubtful");
        let second = commit(now, "refused");
        if let Err(error) = &first {
            assert!(!shared.health.load().writable);
            let told = error.to_string();
            assert!(told.contains("free some room"), "{told}");
            assert!(matches!(second, Err(CommitError::Unavailable { in_doubt: false, .. })));
        }
        for _ in 0..3 {
            now += Duration::from_secs(60);
            let _ = commit(now, "still refused, or one more");
        }

        disk.heal();
        now += Duration::from_secs(60);
        let done = commit(now, "after").unwrap();
        assert!(shared.health.load().writable);
        let state = shared.published.load().snapshot.clone();
        assert_eq!(state.revision(), done.revision);
        assert!(state.get(&key("before")).is_some() && state.get(&key("after")).is_some());
        assert!(
            first.is_err() || state.get(&key("doubtful")).is_some(),
            "{calls}: an acknowledged write is there"
        );

        let events = watch.ready().unwrap();
        let revisions: BTreeSet<_> = events.iter().map(|event| event.revision).collect();
        assert_eq!(revisions.len(), events.len(), "{calls}: no revision comes twice");
        let followed: BTreeSet<_> = events.iter().map(|event| event.key.clone()).collect();
        let held: BTreeSet<_> = state.range("").map(|record| record.key.clone()).collect();
        assert_eq!(followed, held, "{calls}: who only follows knows the same");

        drop(core);
        let again = disk.after_power_cut().core();
        assert!(
            again.shared().published.load().snapshot.same_states(&state),
            "{calls}: and it is on disk"
        );
    }
}

/// After a sync that failed the system's cache may show what never reached the disk, and no later sync writes it: nothing is
/// built upon that, so that a power cut takes nothing that was acknowledged.
#[test]
fn what_a_failed_sync_has_lost_is_not_built_upon() {
    for after in 0..10 {
        let disk = Faulty::new();
        let opened = disk.clone();
        let backends = super::super::boxed(move || Ok(opened.reopened()));
        let mut core = Core::over(backends, options()).unwrap();
        let mut now = Duration::ZERO;
        let syncs = disk.0.syncs.load(Ordering::SeqCst);
        disk.0.forgets_after.store(syncs + after, Ordering::SeqCst);
        let mut acknowledged = BTreeSet::new();
        for n in 0..20 {
            now += Duration::from_secs(60);
            // Large ones go into the trees at once, small ones into the log.
            let size = if n % 3 == 0 { 90 << 10 } else { 1 << 10 };
            let name = (n % 13).to_string();
            if core.commit(now, vec![put(&name, vec![b'x'; size])]).remove(0).is_ok() {
                acknowledged.insert(key(&name));
            }
            let found = disk.after_power_cut().core();
            let (is, was) = (
                &found.shared().published.load().snapshot,
                &core.shared().published.load().snapshot,
            );
            assert!(was.is_empty() || is.same_states(was), "{after}: after {n} commits");
        }
        assert!(acknowledged.len() >= 12, "one at most is refused");
    }
}

/// The bytes as they were at the last sync, taken between any two commits, hold everything acknowledged until then.
#[tokio::test]
async fn a_power_cut_loses_nothing_acknowledged() {
    let disk = Faulty::new();
    let store = disk.store();
    for n in 0..20 {
        store.commit(put(&(n % 7).to_string(), n.to_string())).await.unwrap();
        let found = disk.after_power_cut().store();
        assert_eq!(
            (contents(&found.snapshot()), found.revision()),
            (contents(&store.snapshot()), store.revision())
        );
    }
}

/// A copy of the file in the middle of writing is what `kill -9` leaves behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    for n in 0..10 {
        let done = store.commit(put("a", vec![b'x'; 100 * n])).await.unwrap();
        let copy = directory.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        let found = open(&copy);
        assert_eq!(
            (found.revision(), contents(&found.snapshot())),
            (done.revision, contents(&store.snapshot()))
        );
    }
}

#[tokio::test]
async fn commits_that_wait_share_syncs() {
    let disk = Faulty::new();
    let mut core = disk.core();
    let before = disk.0.syncs.load(Ordering::SeqCst);
    let group = (0..100).map(|n| put(&n.to_string(), "")).collect();
    assert_eq!(
        core.commit(Duration::ZERO, group)
            .last()
            .unwrap()
            .as_ref()
            .unwrap()
            .revision,
        100
    );
    assert!(disk.0.syncs.load(Ordering::SeqCst) - before <= 2);
}

#[test]
fn a_file_that_went_back_is_not_served() {
    let disk = Faulty::new();
    let mut core = disk.core();
    core.commit(Duration::ZERO, vec![put("a", "1")]).remove(0).unwrap();
    let old = disk.0.bytes.read().unwrap().clone();
    core.commit(Duration::ZERO, vec![put("a", "2")]).remove(0).unwrap();
    disk.fail_after(0);
    core.commit(Duration::ZERO, vec![put("a", "3")]).remove(0).unwrap_err();
    *disk.0.bytes.write().unwrap() = old;
    disk.heal();
    let refused = core
        .commit(Duration::from_secs(60), vec![put("a", "4")])
        .remove(0)
        .unwrap_err();
    assert!(
        matches!(
            refused,
            CommitError::Unavailable {
                cause: Trouble::Corrupt,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(contents(&core.shared().published.load().snapshot), ["a@2=2"]);
}

#[tokio::test]
async fn older_files_are_brought_up_to_date_and_newer_ones_refused() {
    use super::super::disk::{Disk, Migration};
    let disk = Faulty::new();
    disk.store().commit(put("a", "1")).await.unwrap();
    let backends: super::super::backend::Backends = super::super::boxed({
        let disk = disk.clone();
        move || Ok(disk.clone())
    });
    let steps: [Migration; 2] = [|_| Ok(()), |_| Ok(())];
    let (_, loaded) = Disk::open_with(&backends, None, &steps).unwrap();
    assert_eq!(contents(&loaded.state), ["a@1=1"]);
    let refused = Disk::open(&backends, None).err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 3, newest: 1 }), "{refused}");
}
