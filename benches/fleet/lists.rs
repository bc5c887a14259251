//! All Tasks listed, at once and in pages: a list must not have the manager hold much more than it does anyway.
use std::time::Instant;

use cube_bench::report::Row;
use http::Method;
use serde_json::Value;

use crate::{Fleet, Result};

/// As kubectl's.
const PAGE: usize = 500;

impl Fleet {
    pub async fn lists(&mut self) -> Result<Vec<Row>> {
        self.rest().await?;
        let mut rows = Vec::new();
        for page in [PAGE.min(self.size.tasks / 4), 0] {
            let (resident, _) = self.manager.memory()?;
            self.manager.forget_peak()?;
            let began = Instant::now();
            let (mut pages, mut items, mut token) = (0, 0, String::new());
            loop {
                let target = format!("/apis/cube/v1/tasks?limit={page}&continue={token}");
                let list = self.manager.ask(Method::GET, &target, &Value::Null).await?;
                pages += 1;
                items += list["items"].as_array().map_or(0, Vec::len);
                token = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
                if token.is_empty() {
                    break;
                }
            }
            if items != self.size.tasks {
                return Err(format!("{items} Tasks in {pages} pages").into());
            }
            let took = began.elapsed().as_secs_f64();
            let (_, peak) = self.manager.memory()?;
            let more = Row::new("  memory at most, beyond what there was", "MiB", peak - resident);
            rows.push(Row::new(format!("{items} Tasks in {pages} pages"), "s", took));
            rows.push(if page > 0 { more.at_most(32.0) } else { more });
        }
        Ok(rows)
    }
}
