//! Networks of an engine.
use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptions};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;

use super::wire::segment;
use super::{DockerEngine, fault, seen};
use crate::engine::{CLUSTER_LABEL, EngineError, NetworkInfo, NetworkSpec, Result};

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
        if let Some(there) = self.network(&spec.name).await? {
            return ours(spec, there);
        }
        let made = self.make(spec).await;
        let there = || EngineError::BadAnswer {
            message: format!("network {} is neither there nor made", spec.name),
        };
        match made {
            Ok(()) => self.network(&spec.name).await?.ok_or_else(there),
            Err(EngineError::Refused { status: 409, message }) => match self.network(&spec.name).await? {
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

    /// The network of exactly this name; the engine itself would also take an id's beginning.
    async fn network(&self, name: &str) -> Result<Option<NetworkInfo>> {
        let Ok(path) = segment(name) else { return Ok(None) };
        let asked = self.docker.inspect_network(&path, None::<InspectNetworkOptions>).await;
        match asked.map_err(fault::of) {
            Ok(answer) => {
                let network = seen::network(answer.id, answer.name, answer.labels, answer.ipam)?;
                Ok(Some(network).filter(|network| network.name == name))
            }
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn networks_of(&self, cluster: &str) -> Result<Vec<NetworkInfo>> {
        let label = format!("{CLUSTER_LABEL}={cluster}");
        let options = ListNetworksOptions {
            filters: Some(HashMap::from([("label".to_owned(), vec![label])])),
        };
        let answers = self.docker.list_networks(Some(options)).await.map_err(fault::of)?;
        let seen = |answer: bollard::models::Network| seen::network(answer.id, answer.name, answer.labels, answer.ipam);
        let mut networks = answers.into_iter().map(seen).collect::<Result<Vec<_>>>()?;
        networks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(networks)
    }

    pub(super) async fn drop_network(&self, name: &str) -> Result<()> {
        let Some(network) = self.network(name).await? else {
            return Ok(());
        };
        let what = format!("network {name}");
        if !network.labels.contains_key(CLUSTER_LABEL) {
            return Err(EngineError::NotOurs { what });
        }
        match self.docker.remove_network(&network.id).await.map_err(fault::of) {
            Err(EngineError::Refused { status: 404, .. }) => Ok(()),
            Err(EngineError::Refused { status: 403 | 409, .. }) => Err(EngineError::InUse { what }),
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
