//! Samples, what they amount to, and the table.
use std::time::Duration;

/// Numbers of one kind: milliseconds, or whatever the row's unit is.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn time(&mut self, took: Duration) {
        self.add(took.as_secs_f64() * 1e3);
    }

    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// All of them, in the order in which they came.
    pub fn all(&self) -> &[f64] {
        &self.0
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value below which so many of a hundred lie; the nearest one there is.
    pub fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.clamp(1, sorted.len().max(1)) - 1)
            .copied()
            .unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

impl From<f64> for Samples {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug)]
enum Target {
    None,
    AtMost(f64),
    AtLeast(f64),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    name: String,
    unit: &'static str,
    samples: Samples,
    /// What is judged.
    judged: (String, f64),
    target: Target,
}

impl Row {
    /// Judged by its median.
    pub fn new(name: impl Into<String>, unit: &'static str, samples: impl Into<Samples>) -> Self {
        let samples = samples.into();
        let judged = ("median".to_owned(), samples.median());
        Self {
            name: name.into(),
            unit,
            samples,
            judged,
            target: Target::None,
        }
    }

    /// Judged by another figure than the median: a ratio, a difference, a percentile.
    pub fn judged(mut self, what: impl Into<String>, value: f64) -> Self {
        self.judged = (what.into(), value);
        self
    }

    pub fn p99(self) -> Self {
        let value = self.samples.percentile(99.0);
        self.judged("p99", value)
    }

    /// Judged by its median after all.
    pub fn by_itself(self) -> Self {
        let value = self.samples.median();
        self.judged("median", value)
    }

    pub fn at_most(mut self, bound: f64) -> Self {
        self.target = Target::AtMost(bound);
        self
    }

    pub fn at_least(mut self, bound: f64) -> Self {
        self.target = Target::AtLeast(bound);
        self
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Prints rows, aligned.
pub fn print(rows: &[Row]) {
    let titles = [
        "figure", "unit", "n", "median", "min", "max", "judged", "", "target", "",
    ];
    let mut lines = vec![titles.map(str::to_owned)];
    for row in rows {
        let (what, value) = &row.judged;
        let (target, verdict) = match row.target {
            Target::None => (String::new(), ""),
            Target::AtMost(bound) => (format!("<= {bound}"), if *value <= bound { "ok" } else { "SHORT" }),
            Target::AtLeast(bound) => (format!(">= {bound}"), if *value >= bound { "ok" } else { "SHORT" }),
        };
        lines.push([
            row.name.clone(),
            row.unit.to_owned(),
            row.samples.count().to_string(),
            number(row.samples.median()),
            number(row.samples.least()),
            number(row.samples.most()),
            what.clone(),
            number(*value),
            target,
            verdict.to_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..titles.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            // Numbers to the right, words to the left.
            if matches!(at, 2..=5 | 7) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        println!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// The machine's load over the last minute, and what else the kernel says there.
pub fn load() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Says where all this was measured.
pub fn machine() {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = file("/proc/cpuinfo");
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(": "))
        .map_or("", |(_, name)| name);
    let memory = file("/proc/meminfo");
    let memory = memory.lines().next().unwrap_or_default().replace("MemTotal:", "");
    println!("machine: {cpus} cpus ({model}), {} memory", memory.trim());
    println!("kernel: {}", file("/proc/sys/kernel/osrelease").trim());
    println!("load at the beginning: {}", load());
}
