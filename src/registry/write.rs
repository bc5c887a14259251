//! The verbs of clients: create, update, patch, delete. Each is one object's change by the [`super::rules`].
//!
//! A write that names a revision holds for that revision only; one that names none is decided again when another came
//! between.
use cube_api::{kinds::Kind, shape::UnknownFields};
use serde_json::Value;

use super::{
    ApiError, Object, Patch, Registry,
    commit::{Failed, Step, open_namespace},
    find,
    rules::{self, Next, Part},
    scale,
};
use crate::store::Origin;

/// How often a write is decided again when others keep coming between. Too low refuses writers under load, too high
/// lets them spin; each turn means that somebody else went ahead.
pub(super) const TURNS: usize = 32;

/// Which part of an object a request is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subresource {
    /// All but the status.
    #[default]
    None,
    /// The status alone.
    Status,
    /// `autoscaling/v1` Scale: how many.
    Scale,
}

/// How a write is meant.
#[derive(Clone, Debug)]
pub struct WriteOptions<'a> {
    /// Who writes, for the log: `kubectl`, a loop's name, …
    pub actor: &'a str,
    /// Everything is done but the writing.
    pub dry_run: bool,
    /// What becomes of unknown fields.
    pub unknown: UnknownFields,
    /// Which part is written.
    pub subresource: Subresource,
    /// Whether somebody waits for it.
    pub origin: Origin,
}

impl<'a> WriteOptions<'a> {
    /// A plain write of an actor: strict, and really written.
    pub fn new(actor: &'a str) -> Self {
        Self {
            actor,
            dry_run: false,
            unknown: UnknownFields::Refuse,
            subresource: Subresource::None,
            origin: Origin::Client,
        }
    }

    /// The same, of the status.
    #[must_use]
    pub fn status(self) -> Self {
        Self {
            subresource: Subresource::Status,
            ..self
        }
    }
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// How a deletion is meant.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds that a Task has to stop; none: what its spec says; 0: it is removed at once, whatever its node says.
    pub grace_seconds: Option<u64>,
    /// What becomes of dependents; none: as before, else in the background.
    pub propagation: Option<Propagation>,
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only the object at this revision.
    pub resource_version: Option<u64>,
    /// Who deletes, for the log.
    pub actor: String,
    /// Everything is done but the deleting.
    pub dry_run: bool,
}

/// What a deletion has come to.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Now(Object),
    /// The object is being deleted; it goes when nothing holds it any more.
    Started(Object),
}

impl Deleted {
    /// The object, as it is or was last.
    pub fn object(&self) -> &Object {
        match self {
            Self::Now(object) | Self::Started(object) => object,
        }
    }
}

impl Registry {
    /// Creates an object; without a name, `generateName` makes one.
    ///
    /// # Errors
    /// 404 and 403 for a namespace that is not there or going, 409 for a name that is taken, 400 and 422 for bad fields.
    pub async fn create(
        &self,
        kind: Kind,
        namespace: &str,
        value: Value,
        options: &WriteOptions<'_>,
    ) -> Result<Object, ApiError> {
        if options.subresource != Subresource::None {
            return Err(ApiError::bad_request("a subresource cannot be created"));
        }
        // A name that was made up may be taken: then another is made up for what was given.
        let given = (!is_named(&value)).then(|| value.clone());
        let admitted = |value| rules::create(kind, namespace, value, options.unknown, &self.world);
        let mut step = Step::create(kind, admitted(value)?);
        let mut last = None;
        for _ in 0..TURNS {
            let snapshot = self.snapshot();
            if kind.info().namespaced {
                open_namespace(&snapshot, namespace, kind, &step.name)?;
            }
            if find(&snapshot, kind, namespace, &step.name).is_some() {
                let error = ApiError::already_exists(kind, &step.name);
                let Some(given) = &given else {
                    return Err(error);
                };
                step = Step::create(kind, admitted(given.clone())?);
                last = Some(error);
                continue;
            }
            match self
                .commit(std::slice::from_ref(&step), options.dry_run, options.origin)
                .await
            {
                Ok(mut objects) => return one(objects.pop(), "created", options),
                Err(Failed::Refused(error)) => return Err(error),
                Err(raced) => last = Some(raced.into_error()),
            }
        }
        Err(last.unwrap_or_else(|| ApiError::internal("no turn was taken")))
    }

    /// Puts `value` in the place of an object (or of its part).
    ///
    /// # Errors
    /// 404 when there is none, 409 when it is not at the revision or of the uid that the value names, 400 and 422 for bad fields.
    pub async fn update(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        value: Value,
        options: &WriteOptions<'_>,
    ) -> Result<Object, ApiError> {
        self.modify(kind, namespace, name, options, |before| {
            put(before, value.clone(), options)
        })
        .await
    }

    /// Changes an object (or its part) by a patch.
    ///
    /// # Errors
    /// As for an update; 422 when the patch does not apply.
    pub async fn patch(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        patch: &Patch,
        options: &WriteOptions<'_>,
    ) -> Result<Object, ApiError> {
        self.modify(kind, namespace, name, options, |before| {
            let value = match options.subresource {
                Subresource::Scale => scale::scale(before)?,
                Subresource::None | Subresource::Status => before.to_value(),
            };
            put(before, patch.apply_to(value)?, options)
        })
        .await
    }

    /// Deletes an object, or begins to.
    ///
    /// # Errors
    /// 404 when there is none, 409 when it is another one than meant, 403 for the namespace `default`.
    pub async fn delete(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let write = WriteOptions {
            dry_run: options.dry_run,
            ..WriteOptions::new(&options.actor)
        };
        let mut gone = false;
        let object = self
            .modify(kind, namespace, name, &write, |before| {
                let next = rules::delete(before, options, self.world.now())?;
                gone = next == Next::Gone;
                Ok(next)
            })
            .await?;
        Ok(if gone {
            Deleted::Now(object)
        } else {
            Deleted::Started(object)
        })
    }

    /// The one write of an object that is there: look, decide, write; look again when another came between.
    pub(super) async fn modify(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        options: &WriteOptions<'_>,
        mut decide: impl FnMut(&Object) -> Result<Next, ApiError>,
    ) -> Result<Object, ApiError> {
        for _ in 0..TURNS {
            let before = self.get(kind, namespace, name)?;
            let next = decide(&before)?;
            let verb = if next == Next::Gone { "removed" } else { "changed" };
            match self
                .commit(&[Step::change(before, next)], options.dry_run, options.origin)
                .await
            {
                Ok(mut objects) => return one(objects.pop(), verb, options),
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Raced(..)) => {}
            }
        }
        Err(ApiError::modified(kind, name))
    }
}

fn put(before: &Object, value: Value, options: &WriteOptions<'_>) -> Result<Next, ApiError> {
    let (value, part) = match options.subresource {
        Subresource::None => (value, Part::Main),
        Subresource::Status => (value, Part::Status),
        Subresource::Scale => (scale::scaled(before, &value)?, Part::Main),
    };
    rules::update(before, &before.stored(), value, part, options.unknown)
}

fn is_named(value: &Value) -> bool {
    value["metadata"]["name"].as_str().is_some_and(|name| !name.is_empty())
}

fn one(object: Option<Object>, verb: &str, options: &WriteOptions<'_>) -> Result<Object, ApiError> {
    let object = object.ok_or_else(|| ApiError::internal("a write without an answer"))?;
    tracing::trace!(?object, verb, actor = options.actor, dry_run = options.dry_run);
    Ok(object)
}
