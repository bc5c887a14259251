//! Walks through every field of every kind, each with good, extreme and bad values: what is allowed is reached, what is not is
//! refused and changes nothing, and from everywhere the way back leads to exactly where it was (after Acto, SOSP 2023).
mod bases;
mod fields;

use std::{collections::BTreeSet, time::Duration};

use cube::client::{Apply, Client, Outcome};
use cube_api::{kinds::Kind, placement::SchedulingPolicy};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::{
    bases::{bases, friend},
    fields::{Step, Walker, all},
};
use crate::{
    chance::Chance,
    cluster::{Cluster, Layout},
    history::History,
    panics,
    trap::Trap,
};

/// A wish is taken up within this time.
const REACHED: Duration = Duration::from_secs(120);
/// What was wished for before is so again within this time: the longest back-off, and what follows it.
const RECOVERED: Duration = Duration::from_secs(420);

/// What the walk came by.
#[derive(Default)]
pub struct Walked {
    /// Values that were taken.
    pub taken: usize,
    /// Values that were refused.
    pub refused: usize,
    /// What was not as promised.
    pub wrong: Vec<String>,
}

/// Walks all kinds that people write.
pub fn walk() -> Walked {
    let mut walked = Walked::default();
    let all_bases = bases();
    let mut kinds: Vec<Kind> = all_bases.iter().map(|(kind, _)| *kind).collect();
    kinds.dedup();
    let mut met = BTreeSet::new();
    for (kind, base) in &all_bases {
        let schema = kind.schema();
        let walker = Walker::of(&schema, base);
        met.extend(walker.met);
        walk_base(*kind, base, &walker.steps, &mut walked);
    }
    let fields: BTreeSet<String> = kinds.iter().flat_map(|kind| all(&kind.schema())).collect();
    let missed = fields
        .difference(&met)
        .map(|field| format!("no base of the walk has the field {field}"));
    walked.wrong.extend(missed);
    walked
}

fn walk_base(kind: Kind, base: &Value, steps: &[Step], walked: &mut Walked) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without a driver for IO always starts");
    runtime.block_on(async {
        let mut way = Way::begin(kind, base).await;
        if let Err(why) = way.go_back().await {
            walked.wrong.push(format!("{}: {why}", way.shown("its base")));
            return;
        }
        for step in steps {
            match way.there_and_back(step).await {
                Ok(true) => walked.taken += 1,
                Ok(false) => walked.refused += 1,
                Err(why) => {
                    walked.wrong.push(format!("{}: {why}", way.shown(&step.field)));
                    // Somewhere else it goes on from a clean start.
                    way = Way::begin(kind, base).await;
                    if way.go_back().await.is_err() {
                        return;
                    }
                }
            }
        }
    });
}

/// What came of a wish.
#[derive(Debug, PartialEq)]
enum Answer {
    Taken,
    Unchanged,
    Refused(String),
}

/// The merge patch (RFC 7396) that makes the one the other.
fn difference(before: &Value, wanted: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, wanted) else {
        return wanted.clone();
    };
    let mut patch: Map<String, Value> = old.keys().map(|key| (key.clone(), Value::Null)).collect();
    patch.extend(
        new.iter()
            .map(|(key, value)| (key.clone(), difference(&before[key], value))),
    );
    Value::Object(patch)
}

/// One base's way through its fields.
struct Way {
    cluster: Cluster,
    history: History,
    client: Client,
    kind: Kind,
    base: Value,
    /// The base as it is stored, once it is.
    stored: Option<Value>,
}

impl Way {
    async fn begin(kind: Kind, base: &Value) -> Self {
        let history = History::begin(false);
        let layout = Layout {
            nodes: (0..2).map(|n| (format!("n{n}"), 4, 8)).collect(),
            own: false,
            folders: 0,
            policy: SchedulingPolicy::Spread,
            latency: (1, 1, 1),
            history_events: 10_000,
        };
        let mut cluster = Cluster::new(layout, &Chance::new(1), history.clone(), Trap::default());
        cluster.start_all();
        tokio::time::sleep(Duration::from_secs(5)).await;
        Self {
            client: cluster.client("walker"),
            cluster,
            history,
            kind,
            base: base.clone(),
            stored: None,
        }
    }

    fn shown(&self, field: &str) -> String {
        let name = self.base["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}, {field}", self.kind.info().kind)
    }

    async fn apply(&self, object: &Value) -> Result<Answer, String> {
        if self.kind == Kind::Node {
            return self.patch(object).await;
        }
        let batch = Apply {
            objects: vec![object.clone()],
            ..Apply::default()
        };
        let mut applied = self.client.apply(&batch).await.map_err(|error| error.to_string())?;
        let applied = applied.pop().ok_or("an apply without an answer")?;
        Ok(match applied.outcome {
            Outcome::Refused(why) => Answer::Refused(why.message),
            Outcome::Unchanged => Answer::Unchanged,
            Outcome::Created | Outcome::Configured | Outcome::Withheld => Answer::Taken,
        })
    }

    /// A Node is made by its worker, and people only change it.
    async fn patch(&self, object: &Value) -> Result<Answer, String> {
        let before = self.object().await?;
        let patch = json!({ "spec": difference(&before["spec"], &object["spec"]) });
        let name = self.base["metadata"]["name"].as_str().unwrap_or_default();
        match self.client.merge_patch(self.kind, "", name, &patch).await {
            Ok(after) if after["metadata"]["generation"] == before["metadata"]["generation"] => Ok(Answer::Unchanged),
            Ok(_) => Ok(Answer::Taken),
            Err(error) => match error.refusal() {
                Some(why) => Ok(Answer::Refused(why.message.clone())),
                None => Err(error.to_string()),
            },
        }
    }

    async fn object(&self) -> Result<Value, String> {
        let meta = |field: &str| self.base["metadata"][field].as_str().unwrap_or_default();
        let got = self.client.get(self.kind, meta("namespace"), meta("name")).await;
        got.map_err(|error| error.to_string())
    }

    /// Whether the wish has been taken up by whoever sees to it.
    async fn reached(&self) -> Result<(), String> {
        let observes = matches!(self.kind, Kind::Task | Kind::Deployment);
        let limit = Instant::now() + REACHED;
        loop {
            let object = self.object().await?;
            if !observes || object["status"]["observedGeneration"] == object["metadata"]["generation"] {
                return Ok(());
            }
            if Instant::now() > limit {
                return Err(format!("not taken up after {REACHED:?}: {}", object["status"]));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Applies the base and waits until all is as it wishes; from then on it is to be exactly so each time.
    async fn go_back(&mut self) -> Result<(), String> {
        if self.stored.is_none() {
            let batch = Apply {
                objects: vec![friend()],
                ..Apply::default()
            };
            self.client.apply(&batch).await.map_err(|error| error.to_string())?;
        }
        if let Answer::Refused(why) = self.apply(&self.base).await? {
            return Err(format!("the base is refused: {why}"));
        }
        let limit = Instant::now() + RECOVERED;
        while let Some(unsettled) = self.cluster.oracle.unsettled(&[]) {
            if Instant::now() > limit {
                return Err(format!("not back after {RECOVERED:?}: {unsettled}"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.reached().await?;
        let object = self.object().await?;
        let spec = object["spec"].clone();
        if let Some(stored) = self.stored.as_ref().filter(|stored| **stored != spec) {
            return Err(format!(
                "the way back does not lead to where it was: {stored}, now {spec}"
            ));
        }
        self.stored = Some(spec);
        let again = self.apply(&self.base).await?;
        let revision = &object["metadata"]["resourceVersion"];
        if again != Answer::Unchanged
            || self.object().await?["metadata"]["generation"] != object["metadata"]["generation"]
        {
            return Err(format!("applied again as it is at {revision}: {again:?}"));
        }
        Ok(())
    }

    /// Whether the value was taken; what is refused has changed nothing.
    async fn there_and_back(&mut self, step: &Step) -> Result<bool, String> {
        let before = self.object().await?;
        let answer = self.apply(&step.object).await?;
        let value = step
            .object
            .pointer(&step.field)
            .map_or_else(|| "left out".to_owned(), Value::to_string);
        match answer {
            Answer::Refused(why) => {
                let now = self.object().await?;
                if now["spec"] != before["spec"] || now["metadata"]["generation"] != before["metadata"]["generation"] {
                    return Err(format!("{value} is refused ({why}), and has changed it"));
                }
                if why.is_empty() {
                    return Err(format!("{value} is refused without a word"));
                }
                Ok(false)
            }
            _ if !step.allowed => Err(format!("{value} is taken, which its schema does not allow")),
            _ => {
                self.reached().await.map_err(|why| format!("{value}: {why}"))?;
                self.go_back().await.map_err(|why| format!("after {value}: {why}"))?;
                self.quiet(&value)?;
                Ok(true)
            }
        }
    }

    /// Nothing that must never be has been.
    fn quiet(&self, value: &str) -> Result<(), String> {
        self.cluster.oracle.look();
        if let Some(panic) = panics::take() {
            return Err(format!("{value}: a panic: {panic}"));
        }
        match self.history.violation() {
            Some(violation) => Err(format!("{value}: {}: {}", violation.invariant, violation.what)),
            None => Ok(()),
        }
    }
}
