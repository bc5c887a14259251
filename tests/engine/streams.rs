//! What is told without being asked again: logs and events.
use std::time::Duration;

use cube::engine::{Action, EngineEvent, LogOptions, Result};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use crate::bench::{Bench, within};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

pub async fn the_log_is_what_was_written(bench: Bench) {
    let script = "echo one; echo two >&2; echo three; exit 0";
    let id = bench.run(&bench.script("it", script)).await;
    bench.ended(&id).await;
    let (out, error) = bench.log(&id, LogOptions::default()).await;
    assert_eq!((out.as_str(), error.as_str()), ("one\nthree\n", "two\n"));
    let followed = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    assert_eq!(bench.log(&id, followed.clone()).await, (out, error), "it ended already");
    let id = bench.engine.create(&bench.sleeper("new")).await.expect("created");
    assert_eq!(
        bench.log(&id, followed).await,
        Default::default(),
        "nothing is written yet"
    );
}

pub async fn parts_of_the_log(bench: Bench) {
    let script = "echo one; echo two; sleep 0.3; echo three; echo four";
    let id = bench.run(&bench.script("it", script)).await;
    bench.ended(&id).await;
    let timed = LogOptions {
        timestamps: true,
        ..LogOptions::default()
    };
    let (out, _) = bench.log(&id, timed).await;
    let times: Vec<(Timestamp, &str)> = lines(&out)
        .into_iter()
        .map(|line| {
            let (time, rest) = line.split_once(' ').expect("a time");
            (time.parse().expect("a time"), rest)
        })
        .collect();
    let words: Vec<&str> = times.iter().map(|(_, word)| *word).collect();
    assert_eq!(words, ["one", "two", "three", "four"]);
    assert!(times.is_sorted(), "{times:?}");
    let third = times[2].0;

    let part = async |tail, since| {
        let options = LogOptions {
            tail,
            since,
            ..LogOptions::default()
        };
        bench.log(&id, options).await.0
    };
    assert_eq!(part(Some(1), None).await, "four\n");
    assert_eq!(part(Some(0), None).await, "");
    assert_eq!(part(Some(100), None).await, "one\ntwo\nthree\nfour\n");
    assert_eq!(part(None, Some(third)).await, "three\nfour\n", "at or after");
    let just_before = third - Duration::from_millis(100);
    assert_eq!(
        part(None, Some(just_before)).await,
        "three\nfour\n",
        "parts of a second count"
    );
    assert_eq!(part(Some(3), Some(third)).await, "three\nfour\n");
    assert_eq!(part(Some(1), Some(third)).await, "four\n");
    assert_eq!(part(None, Some(third + Duration::from_secs(60))).await, "");
    assert_eq!(part(None, Some(Timestamp::UNIX_EPOCH)).await, "one\ntwo\nthree\nfour\n");
}

pub async fn a_log_is_followed_to_the_end(bench: Bench) {
    let id = bench
        .run(&bench.script("it", "echo one; sleep 1; echo two; exit 0"))
        .await;
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut log = bench.engine.logs(&id, options).await.expect("a log");
    let first = within(log.next()).await.expect("a chunk").expect("a chunk");
    assert_eq!(&first.bytes[..], b"one\n");
    assert!(bench.see(&id).await.state.is_running(), "told before the end");
    let second = within(log.next()).await.expect("a chunk").expect("a chunk");
    assert_eq!(&second.bytes[..], b"two\n");
    assert!(within(log.next()).await.is_none(), "it ends with the container");

    let id = bench.run(&bench.sleeper("silent")).await;
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut log = within(bench.engine.logs(&id, options)).await.expect("a log");
    bench.engine.signal(&id, "KILL").await.expect("signalled");
    assert!(within(log.next()).await.is_none(), "also where nothing was written");
}

/// The next action that tells of `id`.
async fn next_of(events: &mut BoxStream<'static, Result<EngineEvent>>, id: &str) -> (String, Action) {
    loop {
        let event = within(events.next())
            .await
            .expect("an endless stream")
            .expect("an event");
        let EngineEvent::Changed {
            id: of,
            name,
            action,
            at,
        } = event;
        assert!(at > Timestamp::UNIX_EPOCH);
        if of == id {
            return (name, action);
        }
    }
}

pub async fn events_tell_what_happened_in_its_order(bench: Bench) {
    let engine = &bench.engine;
    let mut events = engine.events(&bench.cluster).await.expect("subscribed");
    let mut foreign = bench.sleeper("foreign");
    foreign.labels.insert("cube.cluster".to_owned(), "none".to_owned());
    let foreign = engine.create(&foreign).await.expect("created");

    let spec = bench.sleeper("it");
    let id = bench.run(&spec).await;
    bench.pause(&id).await;
    engine.unpause(&id).await.expect("thawed");
    engine.rename(&id, &bench.name("new")).await.expect("renamed");
    engine.signal(&id, "TERM").await.expect("signalled");
    assert_eq!(bench.ended(&id).await, 143);
    engine.remove(&foreign, true).await.expect("removed");
    engine.remove(&id, false).await.expect("removed");

    let new = bench.name("new");
    for (name, action) in [
        (&spec.name, Action::Create),
        (&spec.name, Action::Start),
        (&spec.name, Action::Pause),
        (&spec.name, Action::Unpause),
        (&new, Action::Rename),
        (&new, Action::Kill { signal: Some(15) }),
        (&new, Action::Die { code: Some(143) }),
        (&new, Action::Destroy),
    ] {
        let (of, named, done) = loop {
            let event = within(events.next())
                .await
                .expect("an endless stream")
                .expect("an event");
            let EngineEvent::Changed { id, name, action, .. } = event;
            // Who leaves a network is told of every container, in an order of its own.
            if action != Action::Disconnect {
                break (id, name, action);
            }
        };
        assert_eq!(
            (of.as_str(), &named, done),
            (id.as_str(), name, action),
            "of this cluster alone"
        );
    }
}

pub async fn events_begin_when_the_future_resolves(bench: Bench) {
    let engine = &bench.engine;
    let id = engine.create(&bench.sleeper("it")).await.expect("created");
    // Each subscription has only just begun when the next thing happens.
    for round in 0..8 {
        let mut events = engine.events(&bench.cluster).await.expect("subscribed");
        let name = bench.name(&format!("round{round}"));
        engine.rename(&id, &name).await.expect("renamed");
        loop {
            // What happened shortly before may be told too.
            let (named, action) = next_of(&mut events, &id).await;
            if (named.as_str(), action) == (name.as_str(), Action::Rename) {
                break;
            }
        }
    }
    let mut events = engine.events(&bench.cluster).await.expect("subscribed");
    let far = bench.script("far", "sleep 0.2; exit 5");
    let id = bench.run(&far).await;
    assert_eq!(next_of(&mut events, &id).await.1, Action::Create);
    assert_eq!(next_of(&mut events, &id).await.1, Action::Start);
    assert_eq!(next_of(&mut events, &id).await.1, Action::Die { code: Some(5) });
}

pub async fn the_log_of_a_terminal_has_no_frames(bench: Bench) {
    let (docker, name) = (bench.raw(), bench.name("tty"));
    let body = bollard::models::ContainerCreateBody {
        image: Some(crate::bench::IMAGE.to_owned()),
        tty: Some(true),
        // A terminal's output may begin with what looks like a frame's type.
        cmd: Some(crate::bench::words(&["printf", r"\001\002plain\n"])),
        labels: Some(bench.labels().into_iter().collect()),
        network_disabled: Some(true),
        ..Default::default()
    };
    let options = bollard::query_parameters::CreateContainerOptionsBuilder::new()
        .name(&name)
        .build();
    docker.create_container(Some(options), body).await.expect("created");
    bench.engine.start(&name).await.expect("started");
    assert_eq!(bench.ended(&name).await, 0);
    let (out, error) = bench.log(&name, LogOptions::default()).await;
    assert_eq!((out.as_str(), error.as_str()), ("\u{1}\u{2}plain\r\n", ""));
}
