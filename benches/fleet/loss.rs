//! A tenth of the nodes lost at once: how soon its Tasks run elsewhere, and whether others can write meanwhile.
use std::time::{Duration, Instant};

use cube_bench::report::Row;

use crate::manager::LIMIT;
use crate::probe::Probe;
use crate::{Fleet, Result};

/// A node that was not heard for so long is lost, and its Tasks put up with that for so long.
const GRACE: Duration = Duration::from_secs(15);
const TOLERATION: Duration = Duration::from_secs(30);

impl Fleet {
    pub async fn loss(&mut self) -> Result<Vec<Row>> {
        self.rest().await?;
        let (nodes, tasks) = (self.size.nodes, self.size.tasks as i64);
        let lost = nodes / 10;
        let revision = self.manager.revision().await?;
        let spent = self.manager.spent()?;
        let began = Instant::now();
        self.crew.lose(0..lost)?;
        self.crew
            .until("they are silent", LIMIT, |told| told.links == (nodes - lost) as i64)
            .await?;
        let moving = tasks - self.crew.told().running;
        // Before that there is nothing to do for anybody.
        tokio::time::sleep_until((began + GRACE + TOLERATION - Duration::from_secs(5)).into()).await;
        let writer = Probe::of_deployment(self).await?.go_on();
        self.crew
            .until("all Tasks run elsewhere", LIMIT, |told| told.running == tasks)
            .await?;
        let moved = began.elapsed().saturating_sub(GRACE + TOLERATION);
        let took = writer.stop().await?;
        let spent = self.manager.spent()? - spent;
        let writes = self.manager.revision().await? - revision;
        self.crew.work(0..lost)?;
        self.crew
            .until("they are back", LIMIT, |told| told.links == nodes as i64)
            .await?;
        self.rest().await?;
        Ok(vec![
            Row::new(
                format!("{lost} of {nodes} nodes lost: their Tasks"),
                "Tasks",
                moving as f64,
            ),
            Row::new(
                "  all run elsewhere, after grace and toleration",
                "s",
                moved.as_secs_f64(),
            )
            .at_most(10.0),
            Row::new("  a write meanwhile", "ms", took).p99().at_most(50.0),
            Row::new("  processor of the manager", "s", spent.as_secs_f64()),
            Row::new("  writes, each Task", "writes", writes as f64 / moving as f64),
        ])
    }
}
