//! Why a verb failed, by what a worker can do about it.
use std::time::Duration;

/// What every verb gives.
pub type Result<T> = std::result::Result<T, EngineError>;

/// A verb that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine is gone or went during the call. Says nothing about its containers. Retry later.
    #[error("engine unreachable: {message}")]
    Unreachable {
        /// The transport's words.
        message: String,
    },
    /// The engine did not answer in time. The verb may have taken effect, or do so later. Look again.
    #[error("engine: {verb} had no answer within {after:?}")]
    TimedOut {
        /// The verb.
        verb: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// What the verb is about, or a network that it needs, is not there. A retry of the same call will not help.
    #[error("{what} not found")]
    NotFound {
        /// The kind and name of what is missing, or the engine's words.
        what: String,
    },
    /// The name is taken. Inspect what has it.
    #[error("name {name:?} is in use")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// The image is not on the node. Pull it.
    #[error("image {image:?} is not on this node")]
    NoSuchImage {
        /// Its reference.
        image: String,
    },
    /// A port of the machine is taken, by a container or by anything else. A retry helps once it is free.
    #[error("port {port} of the node is in use: {message}", port = .port.map_or("?".to_owned(), |port| port.to_string()))]
    PortInUse {
        /// The port, where the engine told it.
        port: Option<u16>,
        /// The engine's words.
        message: String,
    },
    /// What the container should run cannot be run. Only another command or image helps.
    #[error("command cannot be run: {message}")]
    InvalidCommand {
        /// 127 when it is not found, 126 when it is there but cannot be run.
        code: i64,
        /// The engine's words.
        message: String,
    },
    /// The container does not run.
    #[error("container {id} is not running")]
    NotRunning {
        /// Its id or name as it was given.
        id: String,
    },
    /// What should be removed is in use, or runs. A retry helps once it is not.
    #[error("{what} is in use")]
    InUse {
        /// The kind and name, or the engine's words.
        what: String,
    },
    /// What should be removed was not made by Cube, or not to be removed by it. A retry never helps.
    #[error("{what} is not Cube's to remove")]
    NotOurs {
        /// The kind and name.
        what: String,
    },
    /// The network's addresses overlap another's. Choose others.
    #[error("subnet {subnet} overlaps another network")]
    SubnetInUse {
        /// The subnet, empty where the engine should have chosen.
        subnet: String,
    },
    /// The image could not be fetched.
    #[error("pull image {image:?}: {message}")]
    PullFailed {
        /// Its reference.
        image: String,
        /// Whether a retry is pointless until someone changes something: no such image, or no right to it.
        permanent: bool,
        /// The registry's or engine's words.
        message: String,
    },
    /// What is asked for can never be; refused before the engine was asked.
    #[error("{field}: {message}")]
    InvalidSpec {
        /// The field of [`ContainerSpec`](super::ContainerSpec).
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The engine refused for a reason that has no kind of its own.
    #[error("engine refused ({status}): {message}")]
    Refused {
        /// Its HTTP status; below 500 a retry of the same call is unlikely to help.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The engine's answer could not be understood; a bug of ours or of its.
    #[error("engine's answer: {message}")]
    BadAnswer {
        /// What was wrong with it.
        message: String,
    },
}

impl EngineError {
    /// Whether the verb may have taken effect all the same.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// Whether the same call may succeed later, without anybody changing what is asked for.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::PortInUse { .. } | Self::InUse { .. } => true,
            Self::PullFailed { permanent, .. } => !permanent,
            Self::Refused { status, .. } => *status >= 500,
            Self::NotFound { .. }
            | Self::NameInUse { .. }
            | Self::NoSuchImage { .. }
            | Self::InvalidCommand { .. }
            | Self::NotRunning { .. }
            | Self::NotOurs { .. }
            | Self::SubnetInUse { .. }
            | Self::InvalidSpec { .. }
            | Self::BadAnswer { .. } => false,
        }
    }
}
