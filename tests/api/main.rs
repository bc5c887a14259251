//! The judges of the API: real clients of Kubernetes, unchanged, against the server on loopback.
mod kube_rs;
mod kubectl;
mod serving;
