//! What every filter and score makes of every node, for people who ask why a Task is where it is.
use cube_api::{
    survey::{PlacementSurvey, Scores, SurveyedNode, Verdict},
    task::Task,
};

use super::{Demand, Index, Refusal, explain, filter, index::NodeLook, surroundings};

/// Where the Task could run. One that has a node is looked at as if it had none yet; the index is left so.
pub fn survey(index: &mut Index, key: &str, task: &Task) -> PlacementSurvey {
    index.remove_task(key);
    let demand = Demand::of(task);
    let chosen = index.place(&demand);
    PlacementSurvey {
        policy: index.policy_of(&demand),
        node: task.status.node.clone(),
        message: match chosen {
            Some(_) => String::new(),
            None => index.explain(&demand).message,
        },
        chosen: chosen.map(|node| node.to_string()),
        nodes: index.looks(&demand).into_iter().map(surveyed).collect(),
    }
}

fn surveyed(look: NodeLook) -> SurveyedNode {
    let alone = filter::FILTERS.iter().map(|(name, _)| *name);
    let alone = alone.zip(look.alone.iter().map(|verdict| verdict.as_ref().err()));
    let alone = alone.map(|(name, refusal)| verdict(name, refusal.into_iter()));
    let around = surroundings::FILTERS.iter().map(|name| {
        let of_it = look.around.iter().filter(|(filter, _)| filter == &Some(*name));
        verdict(name, of_it.filter_map(|(_, verdict)| verdict.as_ref().err()))
    });
    let filters: Vec<Verdict> = alone.chain(around).collect();
    let leanings = look.around.iter().filter_map(|(_, verdict)| verdict.as_ref().ok());
    let score = leanings.fold(look.score, |score, leaning| score.leaning(*leaning));
    SurveyedNode {
        name: look.node.to_string(),
        fits: filters.iter().all(|verdict| verdict.passes),
        filters,
        scores: Scores {
            prefer_no_schedule: score.avoided,
            preferred: -score.unwanted,
            crowded: score.crowded,
            same_controller: score.kin,
            cost: score.cost,
            tasks: score.tasks,
        },
    }
}

fn verdict<'a>(filter: &str, refusals: impl Iterator<Item = &'a Refusal>) -> Verdict {
    let told: Vec<String> = refusals.map(explain::of_one).collect();
    Verdict {
        filter: filter.to_owned(),
        passes: told.is_empty(),
        message: told.join(", "),
    }
}
