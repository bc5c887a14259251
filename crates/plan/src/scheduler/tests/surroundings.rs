//! Affinity to other Tasks, spread, and volumes: what depends on more than one node.
use super::*;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Four nodes in two zones: a and b in east, c and d in west.
fn zones() -> [Node; 4] {
    let zoned = |name: &str, zone: &str| {
        node(
            name,
            json!({ "metadata": { "name": name, "labels": { "zone": zone, "cube/node": name } } }),
        )
    };
    [
        zoned("a", "east"),
        zoned("b", "east"),
        zoned("c", "west"),
        zoned("d", "west"),
    ]
}

fn labelled(app: &str, spec: Value) -> Task {
    let mut task = task(app, spec);
    task.metadata.labels.insert("app".to_owned(), app.to_owned());
    task
}

fn term(app: &str, key: &str) -> Value {
    json!({ "labelSelector": { "matchLabels": { "app": app } }, "topologyKey": key })
}

fn near(app: &str, key: &str) -> Value {
    json!({ "affinity": { "taskAffinity": { REQUIRED: [term(app, key)] } } })
}

fn far(app: &str, key: &str) -> Value {
    json!({ "affinity": { "taskAntiAffinity": { REQUIRED: [term(app, key)] } } })
}

fn spread(skew: u32, key: &str, how: &str) -> Value {
    json!({ "topologySpreadConstraints": [{ "maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": how,
        "labelSelector": { "matchLabels": { "app": "web" } } }] })
}

/// Gives each Task its place, one after the other.
fn place_all(index: &mut Index, tasks: &[Task]) -> Vec<String> {
    let mut placed = Vec::new();
    for (number, task) in tasks.iter().enumerate() {
        let place = place_task(index, task);
        if place.len() == 1 {
            index.set_task(&format!("default/{}-{number}", task.metadata.name), task, Some(&place));
        }
        placed.push(place);
    }
    placed
}

#[test]
fn a_task_goes_where_those_are_that_it_must_be_near_to() {
    let mut index = index(&zones(), &[]);
    let web = labelled("web", near("db", "zone"));
    assert_eq!(
        place_task(&mut index, &web),
        "0/4 nodes can run this: 4 have no task app=db in the same zone"
    );
    index.set_task("default/db", &labelled("db", json!({})), Some("c"));
    assert_eq!(
        place_task(&mut index, &web),
        "d",
        "the zone, and there the emptier node"
    );
    // Elsewhere is another namespace's affair.
    let mut elsewhere = web.clone();
    elsewhere.metadata.namespace = Some("shop".to_owned());
    assert!(place_task(&mut index, &elsewhere).starts_with("0/4"));
    let mut web = near("db", "zone");
    web["affinity"]["taskAffinity"][REQUIRED][0]["namespaces"] = json!(["shop", ""]);
    elsewhere = labelled("web", web);
    elsewhere.metadata.namespace = Some("shop".to_owned());
    assert_eq!(place_task(&mut index, &elsewhere), "d");
}

#[test]
fn the_first_of_those_that_want_to_be_together_is_placed() {
    let mut index = index(&zones(), &[]);
    let web = labelled("web", near("web", "zone"));
    assert_eq!(place_all(&mut index, &[web.clone(), web.clone(), web]), ["a", "b", "a"]);
}

#[test]
fn anti_affinity_holds_for_both_sides() {
    let mut index = index(&zones(), &[]);
    let (loner, web) = (labelled("loner", far("web", "zone")), labelled("web", json!({})));
    assert_eq!(
        place_all(&mut index, &[web.clone(), loner.clone(), web.clone(), web.clone()]),
        ["a", "c", "b", "a"],
        "what runs keeps those away that it must be far from"
    );
    index.remove_task("default/web-0");
    index.remove_task("default/web-2");
    index.remove_task("default/web-3");
    let east = index.clone().place(&Demand::of(&loner));
    assert!(east.is_some());
    index.set_task("default/loner", &loner, Some("b"));
    assert_eq!(
        place_task(&mut index, &web),
        "0/4 nodes can run this: 4 have a task in the same zone that must be far from this one"
    );
    let mut two = super::index(&zones(), &[]);
    two.set_task("default/web", &web, Some("a"));
    two.set_task("default/web2", &web, Some("d"));
    assert_eq!(
        place_task(&mut two, &loner),
        "0/4 nodes can run this: 4 have a task app=web in the same zone"
    );
}

#[test]
fn one_a_node_by_anti_affinity_to_itself() {
    let mut index = index(&zones(), &[]);
    let web = labelled("web", far("web", "cube/node"));
    let placed = place_all(&mut index, &vec![web.clone(); 5]);
    assert_eq!(placed[..4], ["a", "b", "c", "d"]);
    assert_eq!(
        placed[4],
        "0/4 nodes can run this: 4 have a task app=web in the same node"
    );
}

#[test]
fn preferred_affinity_weighs_and_does_not_refuse() {
    let mut index = index(&zones(), &[]);
    index.set_task("default/db", &labelled("db", json!({})), Some("c"));
    let weighted = |weight: u8, app: &str| json!({ "weight": weight, "taskAffinityTerm": term(app, "zone") });
    let near = json!({ "affinity": { "taskAffinity": { PREFERRED: [weighted(10, "db")] } } });
    let far = json!({ "affinity": { "taskAntiAffinity": { PREFERRED: [weighted(10, "db")] } } });
    assert_eq!(place(&mut index, near), "d");
    assert_eq!(place(&mut index, far), "a");
    let none = json!({ "affinity": { "taskAffinity": { PREFERRED: [weighted(10, "nobody")] } } });
    assert_eq!(place(&mut index, none), "a");
}

#[test]
fn a_hard_spread_holds_its_skew_and_a_soft_one_leans() {
    let mut hard = index(&zones(), &[("c", needs("3", "3Gi")), ("d", needs("3", "3Gi"))]);
    let web = labelled("web", spread(1, "zone", "DoNotSchedule"));
    assert_eq!(place_all(&mut hard, &vec![web.clone(); 4]), ["a", "c", "b", "d"]);
    let mut full = index(&zones(), &[("c", needs("4", "4Gi")), ("d", needs("4", "4Gi"))]);
    let mut wants = spread(1, "zone", "DoNotSchedule");
    wants["resources"] = json!({ "requests": { "cpu": "1" } });
    let web = labelled("web", wants);
    let placed = place_all(&mut full, &[web.clone(), web.clone()]);
    assert_eq!(
        placed,
        [
            "a",
            "0/4 nodes can run this: 2 would have more than 1 above the zone with fewest, \
             2 lack cpu (needs 1, most free is 0 on c); with maxSkew 2 over zone it would fit now on a",
        ]
    );
    let mut soft = index(&zones(), &[("c", needs("3", "3Gi")), ("d", needs("3", "3Gi"))]);
    let web = labelled("web", spread(1, "zone", "ScheduleAnyway"));
    assert_eq!(place_all(&mut soft, &vec![web.clone(); 3]), ["a", "c", "b"]);
}

#[test]
fn a_spread_counts_places_where_the_task_may_be_and_tasks_that_stay() {
    let mut index = index(&zones(), &[]);
    let mut east = spread(1, "zone", "DoNotSchedule");
    east["nodeSelector"] = json!({ "zone": "east" });
    let web = labelled("web", east);
    assert_eq!(
        place_all(&mut index, &vec![web.clone(); 3]),
        ["a", "b", "a"],
        "where it cannot be is no place to be even with"
    );
    let mut anywhere = labelled("web", spread(1, "zone", "DoNotSchedule"));
    assert_eq!(place_task(&mut index, &anywhere), "c");
    // Those on their way out are not counted.
    let mut leaving = web.clone();
    leaving.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH);
    for (number, node) in ["a", "b", "a"].iter().enumerate() {
        index.set_task(&format!("default/web-{number}"), &leaving, Some(node));
    }
    anywhere.spec.node_selector = [("zone".to_owned(), "east".to_owned())].into();
    assert_eq!(place_task(&mut index, &anywhere), "b");
    // Without the label a node is no place.
    let mut bare = super::index(&[node("x", json!({}))], &[]);
    anywhere.spec.node_selector.clear();
    assert_eq!(
        place_task(&mut bare, &anywhere),
        "0/1 node can run this: 1 has no label zone"
    );
}

#[test]
fn a_spread_that_names_nobody_is_over_the_tasks_own_kind() {
    let mut index = index(&zones(), &[]);
    let mut own = spread(1, "zone", "DoNotSchedule");
    own["topologySpreadConstraints"][0]
        .as_object_mut()
        .unwrap()
        .remove("labelSelector");
    own["schedulingPolicy"] = json!("greedy");
    let web = of("web", task("web", own.clone()));
    assert_eq!(place_all(&mut index, &vec![web.clone(); 4]), ["a", "c", "a", "c"]);
    assert_eq!(
        place(&mut index, own),
        "a",
        "of a Task that nobody controls it says nothing"
    );
}

#[test]
fn data_stays_where_it_is() {
    let mounts = |volume: &str| json!({ "volumes": [{ "name": "data", "volume": volume }], "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
    let has = |name: &str, volume: &str| node(name, json!({ "status": { "volumes": [volume] } }));
    let mut index = index(&[node("a", json!({})), has("b", "shop")], &[]);
    assert_eq!(place(&mut index, json!({})), "a");
    assert_eq!(place(&mut index, mounts("shop")), "b");
    assert_eq!(place(&mut index, mounts("new")), "a");
    // One that was just assigned counts before the node tells of its volume.
    index.set_task("default/new", &task("new", mounts("new")), Some("b"));
    assert_eq!(place(&mut index, mounts("new")), "b");
    // A lost node keeps its data, and so its Tasks.
    let mut away = has("b", "shop");
    away.status.conditions.clear();
    index.set_node(&away);
    assert_eq!(
        place(&mut index, mounts("shop")),
        "0/2 nodes can run this: 1 has not volume shop, which is on b, \
         1 is not ready (b: its worker has not told of it yet)"
    );
    // One that is deleted is given up.
    index.remove_node("b");
    assert_eq!(place(&mut index, mounts("shop")), "a");
}

#[test]
fn what_waits_for_other_tasks_is_taken_up_when_they_come_or_go() {
    let mut index = index(&zones(), &[]);
    let mut queue = Queue::default();
    let wait = |queue: &mut Queue, index: &mut Index, task: &Task| {
        queue.set(&format!("default/{}", task.metadata.name), task, Demand::of(task));
        queue.wake(index);
        let (rank, demand) = queue.take().unwrap();
        assert_eq!(index.place(&demand), None);
        queue.wait(rank, demand);
    };
    let taken = |queue: &mut Queue, index: &mut Index| {
        queue.wake(index);
        queue.take().map(|(rank, _)| rank.key)
    };
    let (web, db) = (labelled("web", near("db", "zone")), labelled("db", json!({})));
    wait(&mut queue, &mut index, &web);
    assert_eq!(taken(&mut queue, &mut index), None);
    index.set_task("default/db", &db, Some("c"));
    assert_eq!(
        taken(&mut queue, &mut index).as_deref(),
        Some("default/web"),
        "those came"
    );

    index.set_task("default/loner-1", &labelled("loner", far("web", "zone")), Some("a"));
    index.set_task("default/loner-2", &labelled("loner", far("web", "zone")), Some("c"));
    // It cannot be where those go, only beside it.
    let beside = labelled("web", json!({ "nodeSelector": { "cube/node": "b" } }));
    wait(&mut queue, &mut index, &beside);
    index.remove_task("default/db");
    assert_eq!(taken(&mut queue, &mut index), None);
    index.remove_task("default/loner-1");
    assert_eq!(
        taken(&mut queue, &mut index).as_deref(),
        Some("default/web"),
        "those went that kept it away"
    );
}
