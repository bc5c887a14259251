//! Networks of an engine.
use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;

use super::{DockerEngine, fault, form, seen};
use crate::engine::{CLUSTER_LABEL, EngineError, Network, NetworkInfo, NetworkSpec, Result};

/// bollard's request knows no `CheckDuplicate`, without which engines before 25.0 make a second network of the same name.
#[derive(Serialize)]
struct Create {
    #[serde(flatten)]
    request: NetworkCreateRequest,
    #[serde(rename = "CheckDuplicate")]
    check_duplicate: bool,
}

impl DockerEngine {
    pub(super) async fn ensure(&self, spec: &NetworkSpec) -> Result<NetworkInfo> {
        // Not even with CheckDuplicate do old engines see two that are made at the same moment.
        let _one_at_a_time = self.making_networks.lock().await;
        if let Some(there) = self.the_one(&spec.name).await? {
            return ours(spec, there);
        }
        let made = self.make(spec).await;
        let there = || EngineError::BadAnswer {
            message: format!("network {} is neither there nor made", spec.name),
        };
        match made {
            Ok(()) => self.the_one(&spec.name).await?.ok_or_else(there),
            Err(EngineError::Refused { status: 409, message }) => match self.the_one(&spec.name).await? {
                Some(there) => ours(spec, there),
                None => Err(EngineError::Refused { status: 409, message }),
            },
            Err(EngineError::Refused { message, .. }) if fault::is_overlap(&message) => Err(EngineError::SubnetInUse {
                subnet: spec.subnet.clone().unwrap_or_default(),
            }),
            Err(error) => Err(error),
        }
    }

    async fn make(&self, spec: &NetworkSpec) -> Result<()> {
        let range = spec.subnet.clone().map(|subnet| IpamConfig {
            subnet: Some(subnet),
            ..IpamConfig::default()
        });
        let create = Create {
            request: NetworkCreateRequest {
                name: spec.name.clone(),
                driver: Some("bridge".to_owned()),
                labels: Some(spec.labels.clone().into_iter().collect()),
                ipam: range.map(|range| Ipam {
                    config: Some(vec![range]),
                    ..Ipam::default()
                }),
                ..NetworkCreateRequest::default()
            },
            check_duplicate: true,
        };
        let body = serde_json::to_vec(&create).map_err(|error| fault::of(error.into()))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let sent = self
            .wire
            .request(Method::POST, "/networks/create", &[], headers, Bytes::from(body));
        sent.await.map(drop)
    }

    /// The network of this name. Engines before 25.0 may have two: a request of a process that was killed is carried out
    /// all the same, beside the one of the process that came after it. Of those, what is ours and unused is removed.
    async fn the_one(&self, name: &str) -> Result<Option<NetworkInfo>> {
        let mut there = self.named(name).await?;
        let mut at = 0;
        while there.len() > 1 && at < there.len() {
            let ours = there[at].labels.contains_key(CLUSTER_LABEL);
            match ours && self.drop_by_id(&there[at]).await.is_ok() {
                true => drop(there.remove(at)),
                false => at += 1,
            }
        }
        Ok(there.into_iter().next())
    }

    /// Every network of exactly this name.
    async fn named(&self, name: &str) -> Result<Vec<NetworkInfo>> {
        let mut networks = self.listed("name", name).await?;
        // The engine's filter takes any part of a name.
        networks.retain(|network| network.name == name);
        Ok(networks)
    }

    pub(super) async fn networks_of(&self, cluster: &str) -> Result<Vec<NetworkInfo>> {
        let mut networks = self.listed("label", &format!("{CLUSTER_LABEL}={cluster}")).await?;
        networks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(networks)
    }

    async fn listed(&self, filter: &str, value: &str) -> Result<Vec<NetworkInfo>> {
        let options = ListNetworksOptions {
            filters: Some(HashMap::from([(filter.to_owned(), vec![value.to_owned()])])),
        };
        let answers = self.docker.list_networks(Some(options)).await.map_err(fault::of)?;
        let seen = |answer: bollard::models::Network| seen::network(answer.id, answer.name, answer.labels, answer.ipam);
        answers.into_iter().map(seen).collect()
    }

    pub(super) async fn connect_container(&self, id: &str, network: &Network) -> Result<()> {
        let Network::Named { name, aliases } = network else {
            return Ok(());
        };
        let request = NetworkConnectRequest {
            container: id.to_owned(),
            endpoint_config: Some(form::settings(aliases)),
        };
        match self.docker.connect_network(name, request).await.map_err(fault::of) {
            // It is in it already.
            Err(EngineError::Refused { status: 403, message }) if message.contains("already exists") => Ok(()),
            Err(error) => Err(fault::missing(error, &format!("network {name}"))),
            Ok(()) => Ok(()),
        }
    }

    pub(super) async fn drop_network(&self, name: &str) -> Result<()> {
        for network in self.named(name).await? {
            if !network.labels.contains_key(CLUSTER_LABEL) {
                let what = format!("network {name}");
                return Err(EngineError::NotOurs { what });
            }
            self.drop_by_id(&network).await?;
        }
        Ok(())
    }

    async fn drop_by_id(&self, network: &NetworkInfo) -> Result<()> {
        match self.docker.remove_network(&network.id).await.map_err(fault::of) {
            Err(EngineError::Refused { status: 404, .. }) => Ok(()),
            Err(EngineError::Refused { status: 403 | 409, .. }) => Err(EngineError::InUse {
                what: format!("network {}", network.name),
            }),
            other => other,
        }
    }
}

/// The network that is there, unless it is another cluster's, or nobody's.
fn ours(spec: &NetworkSpec, there: NetworkInfo) -> Result<NetworkInfo> {
    match there.labels.get(CLUSTER_LABEL) == spec.labels.get(CLUSTER_LABEL) {
        true => Ok(there),
        false => Err(EngineError::NameInUse {
            name: spec.name.clone(),
        }),
    }
}
