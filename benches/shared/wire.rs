//! One kept connection to Cube's API.
use std::path::Path;

use bytes::Bytes;
use cube::client::{Client, Endpoint};
use cube::world::World;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;

use crate::Result;

/// A connection over which one request follows the other.
pub struct Wire(SendRequest<Full<Bytes>>);

impl Wire {
    pub async fn open(socket: &Path) -> Result<Self> {
        Self::to(Endpoint::Unix(socket.to_owned())).await
    }

    /// To whatever speaks HTTP there.
    pub async fn to(endpoint: Endpoint) -> Result<Self> {
        let client = Client::new(endpoint, World::real().network());
        Ok(Self(client.connect().await?))
    }

    /// Sends a request; gives the code and the whole answer.
    pub async fn send(&mut self, method: Method, target: &str, body: impl Into<Bytes>) -> Result<(u16, Bytes)> {
        let answer = self.begin(method, target, body).await?;
        let code = answer.status().as_u16();
        Ok((code, answer.into_body().collect().await?.to_bytes()))
    }

    /// Sends a merge patch; gives the code and the whole answer.
    pub async fn patch(&mut self, target: &str, body: impl Into<Bytes>) -> Result<(u16, Bytes)> {
        let answer = self
            .ask(Method::PATCH, target, "application/merge-patch+json", body)
            .await?;
        let code = answer.status().as_u16();
        Ok((code, answer.into_body().collect().await?.to_bytes()))
    }

    /// Sends a request; the answer's body is still to come.
    pub async fn begin(
        &mut self,
        method: Method,
        target: &str,
        body: impl Into<Bytes>,
    ) -> Result<http::Response<hyper::body::Incoming>> {
        self.ask(method, target, "application/json", body).await
    }

    async fn ask(
        &mut self,
        method: Method,
        target: &str,
        form: &str,
        body: impl Into<Bytes>,
    ) -> Result<http::Response<hyper::body::Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, form)
            .body(Full::new(body.into()))?;
        self.0.ready().await?;
        Ok(self.0.send_request(request).await?)
    }
}
