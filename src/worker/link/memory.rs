//! The worker's last assignments, in a small file: so that it can go on without a manager, also after a restart.
//!
//! A Task is kept as it was assigned last, with the status that the worker told last: what was over stays over. The file
//! is replaced whole, so that a crash leaves the old one or the new one.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cube_api::task::{Task, TaskStatus};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Assignment;
use crate::registry::TaskReport;
use crate::world::{notes::Notes, process::blocking};

/// What is remembered is written down when it changes, and then not for so long: what comes meanwhile is written together.
const WRITTEN: Duration = Duration::from_millis(500);

/// The memory, as all who have to do with it share it. Cloning is cheap.
#[derive(Clone)]
pub struct Shared {
    notes: Arc<dyn Notes>,
    memory: Arc<Mutex<Memory>>,
    changed: Arc<Notify>,
}

impl Shared {
    /// Reads what a worker before this one left at `path`.
    pub fn open(notes: Arc<dyn Notes>, path: &Path) -> Self {
        Self {
            memory: Arc::new(Mutex::new(Memory::open(&*notes, path))),
            notes,
            changed: Arc::default(),
        }
    }

    /// Looks at it, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let result = look(&mut memory);
        if memory.changed {
            self.changed.notify_one();
        }
        result
    }

    /// Writes it down when it has changed, until `shutdown`, and then once more.
    pub async fn keep(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            shutdown.run_until_cancelled(self.changed.notified()).await;
            self.write_down().await;
            shutdown.run_until_cancelled(tokio::time::sleep(WRITTEN)).await;
        }
    }

    async fn write_down(&self) {
        let Some((path, tasks)) = self.with(Memory::take_changes) else {
            return;
        };
        let notes = Arc::clone(&self.notes);
        let written = blocking(move || write(&*notes, &path, &tasks)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write down the last assignments; tried again with the next change");
            self.memory.lock().unwrap_or_else(PoisonError::into_inner).changed = true;
        }
    }
}

/// What is remembered.
pub struct Memory {
    path: PathBuf,
    /// By uid; what was told last of it, in that epoch.
    tasks: BTreeMap<String, (Arc<Task>, Option<TaskStatus>)>,
    changed: bool,
}

impl Memory {
    /// A file that cannot be read counts as none: the manager knows.
    fn open(notes: &dyn Notes, path: &Path) -> Self {
        let tasks = read(notes, path).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the last assignments; the manager is waited for");
            Vec::new()
        });
        let tasks = tasks.into_iter().map(|task| {
            let told = Some(task.status.clone());
            (task.metadata.uid.clone(), (task, told))
        });
        Self {
            path: path.to_owned(),
            tasks: tasks.collect(),
            changed: false,
        }
    }

    /// The Tasks that are remembered, with the status that was told last.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.tasks
            .values()
            .map(|(task, told)| remembered(task, told.as_ref()))
            .collect()
    }

    /// A Task that is remembered.
    pub fn get(&self, uid: &str) -> Option<&Arc<Task>> {
        self.tasks.get(uid).map(|(task, _)| task)
    }

    /// Takes what the manager says.
    pub fn assign(&mut self, assignment: &Assignment) {
        match assignment {
            Assignment::Snapshot(tasks) => {
                let mut before = std::mem::take(&mut self.tasks);
                for task in tasks {
                    let known = before.remove(&task.metadata.uid);
                    self.put(task, known);
                }
            }
            Assignment::Changed(task) => {
                let known = self.tasks.remove(&task.metadata.uid);
                self.put(task, known);
            }
            Assignment::Removed(uid) => drop(self.tasks.remove(uid)),
            Assignment::Resume(_) => return,
        }
        self.changed = true;
    }

    fn put(&mut self, task: &Arc<Task>, known: Option<(Arc<Task>, Option<TaskStatus>)>) {
        let told = known.and_then(|(old, told)| told.filter(|_| old.status.epoch == task.status.epoch));
        self.tasks.insert(task.metadata.uid.clone(), (Arc::clone(task), told));
    }

    /// Takes what the worker tells.
    pub fn told(&mut self, report: &TaskReport) {
        if let Some((task, told)) = self.tasks.get_mut(&report.uid)
            && task.status.epoch == report.epoch
        {
            *told = Some(report.status.clone());
            self.changed = true;
        }
    }

    /// What is to be written, if it is not in the file already.
    fn take_changes(&mut self) -> Option<(PathBuf, Vec<Arc<Task>>)> {
        let tasks = std::mem::take(&mut self.changed).then(|| self.tasks())?;
        Some((self.path.clone(), tasks))
    }
}

fn remembered(task: &Arc<Task>, told: Option<&TaskStatus>) -> Arc<Task> {
    let Some(told) = told else { return Arc::clone(task) };
    let status = TaskStatus {
        node: task.status.node.clone(),
        epoch: task.status.epoch,
        ..told.clone()
    };
    Arc::new(Task {
        status,
        ..Task::clone(task)
    })
}

/// Reads the file: the Tasks as a worker told of them last; none where there is no file.
///
/// # Errors
/// Where it cannot be read, or is none of ours.
pub fn read(notes: &dyn Notes, path: &Path) -> io::Result<Vec<Arc<Task>>> {
    match notes.read(path)? {
        Some(text) => Ok(serde_json::from_slice(&text)?),
        None => Ok(Vec::new()),
    }
}

/// Writes the file, which is on the disk then. Blocks.
///
/// # Errors
/// Where it cannot be written; the old one then stays.
pub fn write(notes: &dyn Notes, path: &Path, tasks: &[Arc<Task>]) -> io::Result<()> {
    notes.replace(path, &serde_json::to_vec(tasks)?, true)
}

#[cfg(test)]
mod tests {
    use cube_api::task::Phase;

    use super::*;
    use crate::world::notes::OnDisk;

    fn task(uid: &str, epoch: u64) -> Arc<Task> {
        let mut task = Task::default();
        task.metadata.uid = uid.to_owned();
        task.spec.image = "x".to_owned();
        task.status.epoch = epoch;
        Arc::new(task)
    }

    fn report(uid: &str, epoch: u64) -> TaskReport {
        TaskReport {
            uid: uid.to_owned(),
            epoch,
            status: TaskStatus {
                phase: Phase::Completed,
                ..TaskStatus::default()
            },
            ..TaskReport::default()
        }
    }

    #[test]
    fn what_was_told_is_remembered_over_a_restart_and_only_for_its_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("assignments");
        let mut memory = Memory::open(&OnDisk, &path);
        assert!(memory.take_changes().is_none());
        memory.assign(&Assignment::Snapshot(vec![task("a", 1), task("b", 1), task("c", 1)]));
        for report in [report("a", 1), report("b", 1), report("c", 0), report("nobody", 1)] {
            memory.told(&report);
        }
        memory.assign(&Assignment::Changed(task("b", 2)));
        let (path, tasks) = memory.take_changes().unwrap();
        write(&OnDisk, &path, &tasks).unwrap();
        assert!(memory.take_changes().is_none());

        let mut memory = Memory::open(&OnDisk, &path);
        let phases = |memory: &Memory| -> Vec<(String, Phase)> {
            let tasks = memory.tasks();
            tasks
                .iter()
                .map(|task| (task.metadata.uid.clone(), task.status.phase))
                .collect()
        };
        let expected = [("a", Phase::Completed), ("b", Phase::Pending), ("c", Phase::Pending)];
        assert_eq!(phases(&memory), expected.map(|(uid, phase)| (uid.to_owned(), phase)));
        memory.assign(&Assignment::Removed("a".to_owned()));
        memory.assign(&Assignment::Snapshot(vec![task("c", 1)]));
        assert_eq!(phases(&memory), [("c".to_owned(), Phase::Pending)]);

        std::fs::write(&path, "[{ half").unwrap();
        assert!(Memory::open(&OnDisk, &path).tasks().is_empty());
    }
}
