//! How a change of the template may be carried out: how many more, how many fewer.
use std::fmt;

use cube_api::{
    deployment::{Deployment, StrategyType},
    task::Protocol,
};

use crate::scheduler::fixed_ports;

/// How a change of the template is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// New ones before old ones go, within bounds.
    Rolling(Bounds),
    /// An old one goes before a new one comes, because both want the same port of the node.
    StopFirst {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// The bounds.
        bounds: Bounds,
    },
    /// All old ones go before the first new one comes.
    Recreate,
}

/// How many Tasks more or fewer than wished there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// More.
    pub surge: u32,
    /// Fewer.
    pub unavailable: u32,
}

impl Way {
    /// The way that the Deployment's strategy says, with Kubernetes' rounding.
    pub fn of(deployment: &Deployment) -> Self {
        let spec = &deployment.spec;
        if spec.strategy.kind == StrategyType::Recreate {
            return Self::Recreate;
        }
        let rolling = &spec.strategy.rolling_update;
        let mut bounds = Bounds {
            surge: rolling.max_surge.ceil_of(spec.replicas),
            unavailable: rolling.max_unavailable.floor_of(spec.replicas).min(spec.replicas),
        };
        if let Some((protocol, port, _)) = fixed_ports(&spec.template.spec).into_iter().next() {
            bounds.surge = 0;
            bounds.unavailable = bounds.unavailable.max(1);
            return Self::StopFirst { port, protocol, bounds };
        }
        if bounds.surge == 0 && bounds.unavailable == 0 {
            bounds.unavailable = 1;
        }
        Self::Rolling(bounds)
    }

    /// The bounds while there are old Tasks.
    pub fn bounds(self, replicas: u32) -> Bounds {
        match self {
            Self::Rolling(bounds) | Self::StopFirst { bounds, .. } => bounds,
            Self::Recreate => Bounds {
                surge: 0,
                unavailable: replicas,
            },
        }
    }

    /// Whether Tasks that are being deleted stand in the way of new ones.
    pub fn waits_for_ends(self) -> bool {
        !matches!(self, Self::Rolling(_))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling(Bounds { surge, unavailable }) => {
                write!(f, "at most {surge} more and {unavailable} fewer at a time")
            }
            Self::StopFirst { port, protocol, .. } => {
                let protocol = match protocol {
                    Protocol::Tcp => "",
                    Protocol::Udp => "/udp",
                };
                write!(f, "stop-first, because port {port}{protocol} of the node is fixed")
            }
            Self::Recreate => f.write_str("all old ones go before the first new one starts (Recreate)"),
        }
    }
}
