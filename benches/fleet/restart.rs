//! A manager that is killed and begins again with all there is.
use std::time::Instant;

use cube_bench::report::Row;

use crate::manager::LIMIT;
use crate::{Fleet, Result};

impl Fleet {
    pub async fn restart(&mut self) -> Result<Vec<Row>> {
        self.rest().await?;
        let revision = self.manager.revision().await?;
        let began = Instant::now();
        let ready = self.manager.begin_again().await?;
        let (nodes, tasks) = (self.size.nodes as i64, self.size.tasks as i64);
        self.crew
            .until("all workers are back", LIMIT, |told| {
                told.links == nodes && told.running == tasks
            })
            .await?;
        let back = began.elapsed();
        self.rest().await?;
        let writes = self.manager.revision().await? - revision;
        let (resident, peak) = self.manager.memory()?;
        Ok(vec![
            Row::new("manager killed: ready again", "s", ready.as_secs_f64()).at_most(3.0),
            Row::new("  all workers back", "s", back.as_secs_f64()),
            Row::new("  writes after it", "writes", writes as f64).at_most(0.0),
            Row::new("  processor until quiet", "s", self.manager.spent()?.as_secs_f64()),
            Row::new("  resident", "MiB", resident).at_most(1024.0),
            Row::new("  … at most", "MiB", peak).at_most(1024.0),
        ])
    }
}
