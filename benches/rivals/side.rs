//! Who is measured, and what each is wished to run: the same containers, said in the words of each.
use std::fmt::Write as _;

/// Who looks after the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The engine's API alone, called by what wants them: the floor.
    Engine,
    Cube,
    Swarm,
    /// Swarm with `--restart-delay 0s`, which is 5 s by default.
    SwarmAtOnce,
    Compose,
    /// A write and its sync, with nothing else around it.
    Disk,
    Etcd,
}

impl Side {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine alone",
            Self::Cube => "cube",
            Self::Swarm => "swarm",
            Self::SwarmAtOnce => "swarm, restart delay 0",
            Self::Compose => "compose",
            Self::Disk => "the disk alone",
            Self::Etcd => "etcd",
        }
    }
}

/// The network of the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    Host,
    /// The engine's own bridge.
    Bridge,
    /// A bridge made for them.
    Own,
}

/// What a container does when it is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    Obeys,
    /// Until it is killed.
    Ignores,
}

/// What is to run: so many objects of so many containers.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub objects: usize,
    pub replicas: usize,
    pub network: Net,
    pub manners: Manners,
    /// Seconds from the signal to the kill.
    pub grace: i32,
    /// So many more of the first object.
    pub extra: usize,
    /// Another one makes other containers.
    pub version: u32,
}

/// The network that is made on Swarm's side and the engine's, with a name; Cube and Compose make theirs themselves.
pub const NETWORK: &str = "cube-bench-straight";

impl Wish {
    /// One object of so many containers.
    pub const fn of(replicas: usize, network: Net) -> Self {
        Self {
            objects: 1,
            replicas,
            network,
            manners: Manners::Obeys,
            grace: 10,
            extra: 0,
            version: 1,
        }
    }

    pub const fn containers(&self) -> usize {
        self.objects * self.replicas + self.extra
    }

    pub fn program(&self) -> Vec<String> {
        let words: &[&str] = match self.manners {
            Manners::Obeys => &["sleep", "100000"],
            Manners::Ignores => &["sh", "-c", "trap '' TERM; sleep 100000"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// The objects: name and replicas.
    fn each(&self) -> impl Iterator<Item = (String, usize)> {
        let replicas = |number| self.replicas + if number == 0 { self.extra } else { 0 };
        (0..self.objects).map(move |number| (format!("sleeper-{number}"), replicas(number)))
    }

    /// Manifests of Cube's, by name: Deployments.
    pub fn manifests(&self) -> impl Iterator<Item = (String, String)> {
        let network = if self.network == Net::Host {
            "      network: host\n"
        } else {
            ""
        };
        self.each().map(move |(name, replicas)| {
            let text = format!(
                "---\napiVersion: cube/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec:\n  replicas: {replicas}\n  \
                 strategy: {{ rollingUpdate: {{ maxSurge: 25%, maxUnavailable: 0 }} }}\n  template:\n    spec:\n      \
                 env: [{{ name: VERSION, value: '{version}' }}]\n      image: busybox\n      init: true\n      \
                 terminationGracePeriodSeconds: {grace}\n      command: {program:?}\n{network}",
                program = self.program(),
                grace = self.grace,
                version = self.version,
            );
            (name, text)
        })
    }

    /// All of them in one file.
    pub fn manifest(&self) -> String {
        self.manifests().map(|(_, text)| text).collect()
    }

    /// A file of docker-compose's.
    pub fn compose(&self) -> String {
        // Version 2.4 is the one in which `up` heeds `scale` and `network_mode` without a swarm.
        let mut text = "version: '2.4'\nservices:\n".to_owned();
        for (name, replicas) in self.each() {
            let _ = write!(
                text,
                "  {name}:\n    image: busybox\n    init: true\n    scale: {replicas}\n    restart: always\n    \
                 environment: {{ VERSION: '{version}' }}\n    stop_grace_period: {grace}s\n    \
                 command: {program:?}\n",
                program = self.program(),
                grace = self.grace,
                version = self.version,
            );
            match self.network {
                Net::Host => text.push_str("    network_mode: host\n"),
                Net::Bridge => text.push_str("    network_mode: bridge\n"),
                Net::Own => {}
            }
        }
        text
    }

    /// A stack of Swarm's, in compose's third version.
    pub fn stack(&self) -> String {
        let network = self.swarm_network();
        let mut text = format!("version: '3.8'\nnetworks:\n  all: {{ name: {network}, external: true }}\nservices:\n");
        for (name, replicas) in self.each() {
            let _ = write!(
                text,
                "  {name}:\n    image: busybox\n    init: true\n    networks: [all]\n    \
                 environment: {{ VERSION: '{version}' }}\n    stop_grace_period: {grace}s\n    \
                 deploy: {{ replicas: {replicas} }}\n    command: {program:?}\n",
                program = self.program(),
                grace = self.grace,
                version = self.version,
            );
        }
        text
    }

    /// The arguments of `docker` that make the one object.
    pub fn service(&self, side: Side) -> Vec<String> {
        let mut words: Vec<String> = "service create --quiet --detach --no-resolve-image --init --name sleeper-0"
            .split(' ')
            .map(str::to_owned)
            .collect();
        words.extend(["--replicas".to_owned(), self.replicas.to_string()]);
        words.extend(["--network".to_owned(), self.swarm_network().to_owned()]);
        words.extend(["--stop-grace-period".to_owned(), format!("{}s", self.grace)]);
        words.extend(["--env".to_owned(), format!("VERSION={}", self.version)]);
        if side == Side::SwarmAtOnce {
            words.extend(["--restart-delay".to_owned(), "0s".to_owned()]);
        }
        words.push("busybox".to_owned());
        words.extend(self.program());
        words
    }

    const fn swarm_network(&self) -> &'static str {
        match self.network {
            Net::Host => "host",
            Net::Bridge => "bridge",
            Net::Own => NETWORK,
        }
    }

    /// As [`Straight`](cube_bench::straight::Straight) has it.
    pub const fn straight_network(&self) -> &'static str {
        match self.network {
            Net::Host => "host",
            Net::Bridge => "bridge",
            Net::Own => "own",
        }
    }
}
