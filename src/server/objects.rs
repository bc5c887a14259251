//! The dialect's verbs on objects: which one a request means, and the ones that read.
use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts as _, Path, Request, State, WebSocketUpgrade, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::{
    Server, accept,
    answer::{self, Refusal},
    exec, logs,
    metrics::Labels,
    pages::{self, Place},
    params::Params,
    placement,
    render::Renderer,
    target::{Api, Part, Target},
    watch, write,
};
use crate::registry::{self, ApiError, Object};

/// A request about objects, taken apart.
pub(super) struct Call {
    pub server: Arc<Server>,
    pub target: Target,
    pub params: Params,
    pub headers: HeaderMap,
    /// The wish to go on as a WebSocket.
    pub upgrade: Option<WebSocketUpgrade>,
    pub renderer: Renderer,
}

/// Serves `/apis/cube/v1/…`.
pub(super) async fn cube(State(server): State<Arc<Server>>, path: Rest, request: Request) -> Response {
    serve(server, target(Api::Cube, path, request.uri()), request).await
}

/// Serves `/api/v1/…`: Events and Namespaces, for clients that look for them in Kubernetes' core.
pub(super) async fn core(State(server): State<Arc<Server>>, path: Rest, request: Request) -> Response {
    serve(server, target(Api::Core, path, request.uri()), request).await
}

/// What follows in a path; an error if it is no text.
type Rest = Result<Path<String>, PathRejection>;

fn target(api: Api, path: Rest, uri: &Uri) -> Option<Target> {
    // A slash that is written so is part of a name, and no name has one: taken for a slash it would lead elsewhere.
    let escaped_slash = uri
        .path()
        .as_bytes()
        .windows(3)
        .any(|three| three.eq_ignore_ascii_case(b"%2f"));
    Target::parse(api, &path.ok()?.0).filter(|_| !escaped_slash)
}

async fn serve(server: Arc<Server>, target: Option<Target>, request: Request) -> Response {
    let Some(target) = target else {
        return Refusal::no_such_path().into_response();
    };
    let (mut parts, body) = request.into_parts();
    let upgrade = match target.part {
        Part::Exec => WebSocketUpgrade::from_request_parts(&mut parts, &()).await.ok(),
        _ => None,
    };
    let params = Params::parse(parts.uri.query());
    let verb = verb(&parts.method, &target, &params);
    let kind = target.kind.info().plural;
    let mut response = match accept::form(&parts.headers) {
        // The output of a Task is text, and a stream no object, whatever form objects are wished in.
        Err(refusal) if !matches!(target.part, Part::Log | Part::Exec) => refusal.into_response(),
        form => {
            let form = form.unwrap_or(accept::Form::Plain);
            let renderer = Renderer::new(&target, form, &params, server.registry.world());
            let call = Call {
                server,
                target,
                params,
                headers: parts.headers,
                upgrade,
                renderer,
            };
            call.answer(verb, body).await.unwrap_or_else(Refusal::into_response)
        }
    };
    response.extensions_mut().insert(Labels {
        verb: verb.map_or("none", Verb::as_str),
        kind,
    });
    response
}

/// What is done, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Bind,
    Log,
    Exec,
    Survey,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Bind => "bind",
            Self::Log => "log",
            Self::Exec => "exec",
            Self::Survey => "survey",
        }
    }
}

/// What the method means there; none when the path does not take it.
fn verb(method: &Method, target: &Target, params: &Params) -> Option<Verb> {
    let named = target.name.is_some();
    let verb = match (method, target.part) {
        (&Method::GET, Part::Log) => Verb::Log,
        (&Method::GET, Part::Exec) => Verb::Exec,
        (&Method::POST, Part::Binding) => Verb::Bind,
        (&Method::GET, Part::Placement) => Verb::Survey,
        (_, Part::Log | Part::Exec | Part::Binding | Part::Placement) => return None,
        (&Method::GET, Part::Whole) if params.flag("watch") => Verb::Watch,
        (&Method::GET, _) if named => Verb::Get,
        (&Method::GET, _) => Verb::List,
        // The rest of a facade is not there.
        _ if target.api == Api::Core => return None,
        (&Method::PUT, _) if named => Verb::Update,
        (&Method::PATCH, _) if named => Verb::Patch,
        (&Method::DELETE, Part::Whole) if named => Verb::Delete,
        // Across namespaces one reads, and does not write.
        _ if target.namespace.is_none() && target.kind.info().namespaced => return None,
        (&Method::POST, _) if !named => Verb::Create,
        (&Method::DELETE, Part::Whole) => Verb::DeleteCollection,
        _ => return None,
    };
    Some(verb)
}

impl Call {
    async fn answer(self, verb: Option<Verb>, body: Body) -> Result<Response, Refusal> {
        match verb.ok_or_else(Refusal::no_such_verb)? {
            Verb::Get => self.get(),
            Verb::List => self.list().await,
            Verb::Watch => watch::watch(self),
            Verb::Create => write::create(self, body).await,
            Verb::Update => write::update(self, body).await,
            Verb::Patch => write::patch(self, body).await,
            Verb::Delete => write::delete(self, body).await,
            Verb::DeleteCollection => write::delete_collection(self, body).await,
            Verb::Bind => write::bind(self, body).await,
            Verb::Log => logs::logs(self).await,
            Verb::Exec => exec::exec(self).await,
            Verb::Survey => placement::placement(&self),
        }
    }

    /// The object's name; there is one wherever a verb needs it.
    pub fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    /// The object that the path names.
    pub fn object(&self) -> Result<Object, ApiError> {
        let target = &self.target;
        self.server.registry.get(target.kind, target.namespace(), self.name())
    }

    fn get(self) -> Result<Response, Refusal> {
        self.reachable_revision()?;
        let object = self.object()?;
        self.shown(StatusCode::OK, &object)
    }

    async fn list(self) -> Result<Response, Refusal> {
        let filter = self.params.filter(self.target.kind, self.target.namespace.as_deref())?;
        self.check_revision_match()?;
        let (registry, kind) = (&self.server.registry, self.target.kind);
        let place = match self.params.get("continue").filter(|token| !token.is_empty()) {
            Some(_) if self.params.revision()?.is_some() => {
                let message = "specifying resource version is not allowed when using continue";
                return Err(ApiError::bad_request(message).into());
            }
            Some(token) => Some(Place::read(token, kind, &filter)?),
            None => None,
        };
        self.reachable_revision()?;
        let after = place.as_ref().map(|(revision, key)| (*revision, key));
        let most = self.params.limit()?.unwrap_or(usize::MAX);
        let _turn = match registry.looks_at_more_than(pages::SHORT, kind, &filter, most) {
            true => self.server.long_lists.acquire().await.ok(),
            false => None,
        };
        let piece = registry.list_piece(kind, &filter, most, after)?;
        let rest = Place::after(&piece);
        let list = piece.list;
        if let Some(asked) = self.params.revision()?
            && self.params.revision_match() == Some("Exact")
            && asked != list.revision
        {
            return Err(ApiError::expired(asked, list.revision).into());
        }
        Ok(answer::json(StatusCode::OK, self.renderer.list(&list, rest)))
    }

    /// What is newest is always served, so an older revision is no matter; but one that is not there yet is.
    fn reachable_revision(&self) -> Result<(), Refusal> {
        let newest = self.server.registry.store().revision();
        match self.params.revision()? {
            Some(asked) if asked > newest => Err(Refusal::too_large(asked, newest)),
            _ => Ok(()),
        }
    }

    fn check_revision_match(&self) -> Result<(), Refusal> {
        let Some(text) = self.params.revision_match() else {
            return Ok(());
        };
        let wrong = |message: &str| Err(Refusal::new(422, "Invalid", format!("resourceVersionMatch: {message}")));
        if !self.params.has_revision() {
            return wrong("Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        match text {
            "NotOlderThan" => Ok(()),
            "Exact" if self.params.revision()?.is_some() => Ok(()),
            "Exact" => wrong("Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\""),
            _ => wrong("Unsupported value: supported values: \"Exact\", \"NotOlderThan\""),
        }
    }

    /// The answer that shows an object, or its Scale where that was asked for.
    pub fn shown(&self, code: StatusCode, object: &Object) -> Result<Response, Refusal> {
        Ok(match self.target.part {
            Part::Scale => answer::value(code, &registry::scale(object)?),
            _ => answer::json(code, self.renderer.object(object)),
        })
    }

    /// The answer that shows what was written, with warnings that kubectl and others print.
    pub fn written(&self, code: StatusCode, object: &Object, warnings: &[String]) -> Result<Response, Refusal> {
        let mut response = self.shown(code, object)?;
        answer::warn(&mut response, warnings);
        Ok(response)
    }
}
