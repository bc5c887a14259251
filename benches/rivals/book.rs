//! What was measured, of which side: the table, with each side beside Cube, and the raw samples.
use std::collections::BTreeMap;
use std::time::Duration;

use cube_bench::report::{self, Row, Samples};
use serde_json::{Value, json};

use crate::side::Side;
use crate::targets;

/// What a number says: the benchmark, the figure, its unit.
pub type Key = (&'static str, String, &'static str);

/// All samples of a run, in the order in which figures came up first.
#[derive(Default)]
pub struct Book {
    order: Vec<Key>,
    samples: BTreeMap<(Key, Side), Samples>,
    /// Benchmark, load, seed.
    begun: Vec<(&'static str, String, u64)>,
    /// What could not be measured, and why.
    failed: Vec<(&'static str, Side, String)>,
}

impl Book {
    /// What was the case when a benchmark began.
    pub fn begin(&mut self, bench: &'static str, load: &str, seed: u64) {
        self.begun.push((bench, load.to_owned(), seed));
    }

    pub fn add(&mut self, bench: &'static str, figure: &str, unit: &'static str, side: Side, value: f64) {
        let key = (bench, figure.to_owned(), unit);
        if !self.order.contains(&key) {
            self.order.push(key.clone());
        }
        self.samples.entry((key, side)).or_default().add(value);
    }

    /// A time, in milliseconds.
    pub fn time(&mut self, bench: &'static str, figure: &str, side: Side, took: Duration) {
        self.add(bench, figure, "ms", side, took.as_secs_f64() * 1e3);
    }

    pub fn failed(&mut self, bench: &'static str, side: Side, reason: String) {
        let failure = (bench, side, reason);
        if !self.failed.contains(&failure) {
            self.failed.push(failure);
        }
    }

    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Prints what there is of a benchmark.
    pub fn print(&self, bench: &str) {
        let rows: Vec<Row> = self
            .order
            .iter()
            .filter(|key| key.0 == bench)
            .flat_map(|key| self.rows(key))
            .collect();
        report::print(&rows);
        for (_, side, reason) in self.failed.iter().filter(|failure| failure.0 == bench) {
            println!("  not run: {}: {reason}", side.name());
        }
    }

    /// A row a side. Cube's is judged over the engine's or by itself, a rival's by how many times Cube's it is.
    fn rows(&self, key: &Key) -> Vec<Row> {
        let of = |side| self.samples.get(&(key.clone(), side));
        let sides = self.samples.keys().filter(|(of, _)| of == key).map(|(_, side)| *side);
        let mut rows = Vec::new();
        for side in sides {
            let Some(samples) = of(side) else { continue };
            let row = Row::new(format!("{}: {}", key.1, side.name()), key.2, samples.clone());
            let (beside, what) = match side {
                Side::Engine | Side::Disk => (None, ""),
                Side::Cube if key.0 == "B9" => (of(Side::Disk), "over the disk's"),
                Side::Cube => (of(Side::Engine), "over the engine's"),
                _ => (of(Side::Cube), "over cube's"),
            };
            let row = match beside.map(Samples::median) {
                Some(other) if other > 0.0 => row.judged(what, samples.median() / other),
                _ => row,
            };
            rows.push(targets::judge(row, key.0, &key.1, side));
        }
        rows
    }

    /// The raw samples, an entry a figure and side.
    pub fn raw(&self, versions: &[String]) -> Vec<Value> {
        let mut raw = Vec::new();
        for (bench, load, seed) in &self.begun {
            raw.push(json!({ "benchmark": bench, "seed": seed, "load": load, "versions": versions }));
        }
        for key in &self.order {
            for ((_, side), samples) in self.samples.iter().filter(|((of, _), _)| of == key) {
                raw.push(json!({
                    "benchmark": key.0, "figure": key.1, "unit": key.2, "side": side.name(), "samples": samples.all(),
                }));
            }
        }
        for (bench, side, reason) in &self.failed {
            raw.push(json!({ "benchmark": bench, "side": side.name(), "notRun": reason }));
        }
        raw
    }
}
