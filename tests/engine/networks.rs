//! Networks, names within them, and ports of the machine.
use cube::engine::{
    CLUSTER_LABEL, ContainerSpec, EngineError, LogOptions, Network, NetworkSpec, PortSpec, Protocol, PublishedPort,
};

use crate::bench::{Bench, subnet};

impl Bench {
    fn network(&self, name: &str, subnet: Option<String>) -> NetworkSpec {
        NetworkSpec {
            name: self.name(name),
            labels: self.labels(),
            subnet,
        }
    }

    fn member(&self, spec: ContainerSpec, network: &NetworkSpec, aliases: &[&str]) -> ContainerSpec {
        ContainerSpec {
            network: Network::Named {
                name: network.name.clone(),
                aliases: crate::bench::words(aliases),
            },
            ..spec
        }
    }

    fn publishing(&self, name: &str, network: &NetworkSpec, host_port: u16) -> ContainerSpec {
        ContainerSpec {
            ports: vec![PortSpec {
                container_port: 80,
                protocol: Protocol::Tcp,
                host_ip: Some("127.0.0.1".to_owned()),
                host_port: Some(host_port),
            }],
            ..self.member(self.sleeper(name), network, &[])
        }
    }
}

pub async fn a_network_is_made_once(bench: Bench) {
    let engine = &bench.engine;
    let wanted = bench.network("net", Some(subnet(1)));
    let made = engine.ensure_network(&wanted).await.expect("made");
    assert_eq!((&made.name, &made.subnet), (&wanted.name, &wanted.subnet));
    assert_eq!(made.labels.get(CLUSTER_LABEL), Some(&bench.cluster));
    let other = NetworkSpec {
        subnet: None,
        ..wanted.clone()
    };
    assert_eq!(
        engine.ensure_network(&other).await.as_ref(),
        Ok(&made),
        "as it is there"
    );
    assert_eq!(engine.networks(&bench.cluster).await, Ok(vec![made]));

    let wishes = ["c", "a", "b"].map(|name| bench.network(name, None));
    let (one, two, three) = tokio::join!(
        engine.ensure_network(&wishes[0]),
        engine.ensure_network(&wishes[1]),
        engine.ensure_network(&wishes[1])
    );
    assert!(one.expect("made").subnet.is_some(), "the engine chose one");
    assert_eq!(two.expect("made"), three.expect("made"), "not even at once");
    let networks = engine.networks(&bench.cluster).await.expect("a list");
    let names: Vec<&String> = networks.iter().map(|network| &network.name).collect();
    assert_eq!(
        names,
        [&wishes[1].name, &wishes[0].name, &wanted.name],
        "ordered by name"
    );
    for network in &networks {
        engine.remove_network(&network.name).await.expect("removed");
        engine.remove_network(&network.name).await.expect("removed already");
    }
    assert_eq!(engine.networks(&bench.cluster).await, Ok(vec![]));
}

pub async fn networks_of_others_are_left_alone(bench: Bench) {
    let engine = &bench.engine;
    let mut foreign = bench.network("net", None);
    foreign.labels.insert(CLUSTER_LABEL.to_owned(), "other".to_owned());
    engine.ensure_network(&foreign).await.expect("made");
    let wanted = bench.network("net", None);
    let name = wanted.name.clone();
    assert_eq!(
        engine.ensure_network(&wanted).await,
        Err(EngineError::NameInUse { name })
    );
    assert_eq!(engine.networks(&bench.cluster).await, Ok(vec![]));

    let mut nobodys = bench.network("nobodys", None);
    nobodys.labels.remove(CLUSTER_LABEL);
    engine.ensure_network(&nobodys).await.expect("made");
    let what = format!("network {}", nobodys.name);
    assert_eq!(
        engine.remove_network(&nobodys.name).await,
        Err(EngineError::NotOurs { what })
    );
    let name = nobodys.name.clone();
    let ours = bench.network("nobodys", None);
    assert_eq!(engine.ensure_network(&ours).await, Err(EngineError::NameInUse { name }));
}

pub async fn a_network_in_use_stays(bench: Bench) {
    let engine = &bench.engine;
    let network = bench.network("net", None);
    engine.ensure_network(&network).await.expect("made");
    let id = bench.run(&bench.member(bench.sleeper("it"), &network, &[])).await;
    assert_eq!(bench.see(&id).await.addresses.len(), 1);
    let what = format!("network {}", network.name);
    assert_eq!(
        engine.remove_network(&network.name).await,
        Err(EngineError::InUse { what })
    );
    engine.signal(&id, "KILL").await.expect("signalled");
    bench.ended(&id).await;
    assert!(bench.see(&id).await.addresses.is_empty());
    engine.remove_network(&network.name).await.expect("removed");

    // What needs it says so.
    match engine.start(&id).await {
        Err(EngineError::NotFound { what }) => assert!(what.starts_with("network "), "{what}"),
        other => panic!("{other:?}"),
    }
    let late = bench.member(bench.sleeper("late"), &network, &[]);
    let late = match engine.create(&late).await {
        Ok(id) => engine.start(&id).await,
        Err(error) => Err(error),
    };
    assert!(matches!(late, Err(EngineError::NotFound { .. })), "{late:?}");
}

pub async fn subnets_do_not_overlap(bench: Bench) {
    let engine = &bench.engine;
    let subnet = subnet(2);
    let first = bench.network("first", Some(subnet.clone()));
    engine.ensure_network(&first).await.expect("made");
    let second = bench.network("second", Some(subnet.clone()));
    let overlap = Err(EngineError::SubnetInUse { subnet });
    assert_eq!(engine.ensure_network(&second).await, overlap);
    let around = crate::bench::subnet_around(2);
    let third = bench.network("third", Some(around.clone()));
    let overlap = Err(EngineError::SubnetInUse { subnet: around });
    assert_eq!(engine.ensure_network(&third).await, overlap);
    assert_eq!(engine.networks(&bench.cluster).await.expect("a list").len(), 1);
}

pub async fn containers_find_one_another_by_name(bench: Bench) {
    let engine = &bench.engine;
    let network = bench.network("net", None);
    engine.ensure_network(&network).await.expect("made");
    let server = bench.member(bench.sleeper("server"), &network, &["web", "site"]);
    let id = bench.run(&server).await;
    let address = bench.see(&id).await.addresses;
    assert_eq!(address.len(), 1);
    let listed = engine.list(&bench.cluster).await.expect("a list");
    assert_eq!(listed[0].addresses, address);

    for (number, (name, code)) in [("web", 0), ("site", 0), (&server.name, 0), ("nobody", 1)]
        .into_iter()
        .enumerate()
    {
        let ask = bench.script(&format!("ask{number}"), &format!("nslookup {name}"));
        let id = bench.run(&bench.member(ask, &network, &[])).await;
        let ended = bench.ended(&id).await;
        let (out, error) = bench.log(&id, LogOptions::default()).await;
        // Some say the address, and end with 1 for want of one of IPv6.
        let found = ended == 0 || out.contains(&address[0]);
        assert_eq!(found, code == 0, "{name}: {ended} {out}{error}");
    }
}

pub async fn a_port_is_had_by_one(bench: Bench) {
    let engine = &bench.engine;
    let network = bench.network("net", None);
    engine.ensure_network(&network).await.expect("made");
    let port = crate::bench::free_port();
    let first = bench.run(&bench.publishing("first", &network, port)).await;
    let published = PublishedPort {
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: "127.0.0.1".to_owned(),
        host_port: port,
    };
    assert_eq!(bench.see(&first).await.ports, std::slice::from_ref(&published));
    let listed = engine.list(&bench.cluster).await.expect("a list");
    assert_eq!(listed[0].ports, [published]);

    let second = engine
        .create(&bench.publishing("second", &network, port))
        .await
        .expect("created");
    match engine.start(&second).await {
        Err(EngineError::PortInUse { port: taken, .. }) => assert_eq!(taken, Some(port)),
        other => panic!("{other:?}"),
    }
    assert!(!bench.see(&second).await.state.is_running(), "it is there still");
    engine.remove(&first, true).await.expect("removed");
    engine.start(&second).await.expect("the port is free");
    assert_eq!(bench.see(&second).await.ports.len(), 1);
}

pub async fn a_port_is_chosen_by_the_engine(bench: Bench) {
    let engine = &bench.engine;
    let network = bench.network("net", None);
    engine.ensure_network(&network).await.expect("made");
    let one = bench.run(&bench.publishing("one", &network, 0)).await;
    let other = bench.run(&bench.publishing("other", &network, 0)).await;
    let ports = [bench.see(&one).await.ports, bench.see(&other).await.ports].concat();
    assert_eq!(ports.len(), 2);
    assert!(ports.iter().all(|port| port.host_port > 0 && port.container_port == 80));
    assert_ne!(ports[0].host_port, ports[1].host_port);
    engine.signal(&one, "KILL").await.expect("signalled");
    bench.ended(&one).await;
    assert!(bench.see(&one).await.ports.is_empty());

    // Not published, so nobody else's either.
    let mut quiet = bench.publishing("quiet", &network, 0);
    quiet.ports[0].host_port = None;
    let quiet = bench.run(&quiet).await;
    assert!(bench.see(&quiet).await.ports.is_empty());
}

pub async fn a_port_in_use_by_a_stranger(bench: Bench) {
    let engine = &bench.engine;
    let network = bench.network("net", None);
    engine.ensure_network(&network).await.expect("made");
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = stranger.local_addr().expect("an address").port();
    let id = engine
        .create(&bench.publishing("it", &network, port))
        .await
        .expect("created");
    for _ in 0..2 {
        match engine.start(&id).await {
            Err(EngineError::PortInUse { port: taken, .. }) => assert_eq!(taken, Some(port)),
            other => panic!("{other:?}"),
        }
    }
    drop(stranger);
    engine.start(&id).await.expect("the stranger has left");
    let answer = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    assert!(answer.is_ok(), "the port leads into the container");
}

/// Engines before 25.0 make a second network of a name when two processes ask at once, one of them killed since.
pub async fn two_networks_of_a_name_become_one(bench: Bench) {
    let engine = &bench.engine;
    let wanted = bench.network("net", None);
    let first = engine.ensure_network(&wanted).await.expect("made");
    let member = bench.member(bench.sleeper("member"), &wanted, &[]);
    bench.run(&member).await;
    let second = bollard::models::NetworkCreateRequest {
        name: wanted.name.clone(),
        labels: Some(wanted.labels.clone().into_iter().collect()),
        ..Default::default()
    };
    if let Err(refused) = bench.raw().create_network(second).await {
        // Newer engines never make a second one: then there is nothing to see to.
        assert!(refused.to_string().contains("already exists"), "{refused}");
        return;
    }
    let late = bench.member(bench.sleeper("late"), &wanted, &[]);
    let late = engine.create(&late).await.expect("created");
    let ambiguous = engine.start(&late).await;
    assert!(
        matches!(&ambiguous, Err(EngineError::NotFound { what }) if what.starts_with("network ")),
        "{ambiguous:?}"
    );
    assert_eq!(engine.ensure_network(&wanted).await, Ok(first), "the one in use stays");
    engine.start(&late).await.expect("it starts in it");
}
