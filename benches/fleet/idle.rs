//! What all of it costs while nothing happens.
use std::time::Duration;

use cube_bench::report::Row;

use crate::{Fleet, Result};

/// What follows a change (Events, statuses of Deployments) is over when nothing was written for so long.
const QUIET: Duration = Duration::from_secs(3);
/// The same where next to nothing happens.
const SOON_QUIET: Duration = Duration::from_millis(300);
const WATCHED: Duration = Duration::from_secs(20);

impl Fleet {
    /// Waits until nothing is written any more.
    pub async fn rest(&self) -> Result<()> {
        let quiet = if self.size.small { SOON_QUIET } else { QUIET };
        let mut revision = self.manager.revision().await?;
        for _ in 0..100 {
            tokio::time::sleep(quiet).await;
            let now = self.manager.revision().await?;
            if now == revision {
                return Ok(());
            }
            revision = now;
        }
        Err("it is never quiet".into())
    }

    pub async fn idle(&self) -> Result<Vec<Row>> {
        self.rest().await?;
        let watched = if self.size.small { QUIET } else { WATCHED };
        let (revision, spent) = (self.manager.revision().await?, self.manager.spent()?);
        tokio::time::sleep(watched).await;
        let spent = self.manager.spent()? - spent;
        let writes = self.manager.revision().await? - revision;
        let (resident, _) = self.manager.memory()?;
        Ok(vec![
            Row::new("idle: writes", "writes", writes as f64).at_most(0.0),
            Row::new(
                "idle: processor of the manager",
                "% of a core",
                100.0 * spent.as_secs_f64() / watched.as_secs_f64(),
            ),
            Row::new("idle: resident", "MiB", resident),
        ])
    }
}
