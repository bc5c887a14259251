//! One Task changed among all there are, beside one among a few: what a change costs must not grow with what there is.
use std::time::Duration;

use cube_bench::process;
use cube_bench::report::{Row, Samples};

use crate::probe::Probe;
use crate::{Fleet, Result, Size, rise};

/// What it is compared with.
const FEW: usize = 150;
const CHANGES: usize = 1000;
/// How long it is watched what the manager does by itself.
const WATCHED: Duration = Duration::from_secs(5);
/// Rounds, by turns.
const ROUNDS: usize = 3;

/// What one change takes, on average.
#[derive(Default)]
struct Cost {
    micros: Samples,
    writes: Samples,
    took: Samples,
}

impl Fleet {
    pub async fn change(&mut self) -> Result<Vec<Row>> {
        let few = Size {
            nodes: 5,
            tasks: FEW.min(self.size.tasks),
            ..self.size
        };
        let (small, _) = rise::rise(few).await?;
        small.rest().await?;
        self.rest().await?;
        let (mut at_few, mut at_many) = (Cost::default(), Cost::default());
        for _ in 0..if self.size.small { 1 } else { ROUNDS } {
            small.changes(&mut at_few).await?;
            self.changes(&mut at_many).await?;
        }
        let ratio = |many: &Samples, few: &Samples| many.median() / few.median();
        let (micros, writes) = (
            ratio(&at_many.micros, &at_few.micros),
            ratio(&at_many.writes, &at_few.writes),
        );
        let (few, many) = (few.tasks, self.size.tasks);
        Ok(vec![
            Row::new(format!("a change at {few} Tasks: processor"), "µs", at_few.micros),
            Row::new(format!("  … at {many}"), "µs", at_many.micros)
                .judged("ratio", micros)
                .at_most(1.5),
            Row::new(format!("  writes at {few}"), "writes", at_few.writes),
            Row::new(format!("  … at {many}"), "writes", at_many.writes)
                .judged("ratio", writes)
                .at_most(1.5),
            Row::new(format!("  answered at {few}"), "ms", at_few.took),
            Row::new(format!("  … at {many}"), "ms", at_many.took),
        ])
    }

    /// Changes one Task of a Deployment so many times, each when the one before is answered.
    async fn changes(&self, cost: &mut Cost) -> Result<()> {
        let (watched, changes) = match self.size.small {
            true => (WATCHED / 10, CHANGES / 20),
            false => (WATCHED, CHANGES),
        };
        // Heartbeats cost too, the more the more nodes there are: they are no part of a change.
        let pid = self.manager.pid();
        let before = process::processor(pid)?;
        tokio::time::sleep(watched).await;
        let idle = (process::processor(pid)? - before).as_secs_f64() / watched.as_secs_f64();

        let mut probe = Probe::of_deployment(self).await?;
        let (revision, spent) = (self.manager.revision().await?, process::processor(pid)?);
        let began = std::time::Instant::now();
        for _ in 0..changes {
            cost.took.time(probe.change().await?);
        }
        // What follows from it counts.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let took = began.elapsed().as_secs_f64();
        let spent = (process::processor(pid)? - spent).as_secs_f64() - idle * took;
        let writes = self.manager.revision().await? - revision;
        cost.micros.add(spent * 1e6 / changes as f64);
        cost.writes.add(writes as f64 / changes as f64);
        Ok(())
    }
}
