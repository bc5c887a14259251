//! How people name objects: `task web`, `task/web`, `tasks,deployments`, `all`, and `task/other/web` across namespaces.
use cube_api::{deployment::Deployment, kinds::Kind, shape::nearest};
use serde_json::Value;

use super::{Context, error::CliError};
use crate::{
    client::{Client, Selection},
    source::ObjectId,
};

/// What a person means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of these kinds.
    Kinds(Vec<Kind>),
    /// These objects.
    Objects(Vec<ObjectId>),
}

/// Reads `KIND[,KIND…]`, `all`, `KIND NAME…`, or `KIND/NAME…`.
///
/// # Errors
/// When a kind is unknown, or both ways are mixed.
pub fn wanted(words: &[String], context: &Context) -> Result<Wanted, CliError> {
    let Some((first, rest)) = words.split_first() else {
        return Err(CliError::usage("say of which kind").with_hint(format!("the kinds are {}", plurals())));
    };
    if first.contains('/') {
        return words
            .iter()
            .map(|word| object(word, context))
            .collect::<Result<_, _>>()
            .map(Wanted::Objects);
    }
    if let Some(mixed) = rest.iter().find(|word| word.contains('/')) {
        return Err(
            CliError::usage(format!("`{first} {mixed}` mixes two ways to name objects"))
                .with_hint("write KIND NAME… or KIND/NAME…"),
        );
    }
    let kinds = kinds(first)?;
    match (&kinds[..], rest) {
        (_, []) => Ok(Wanted::Kinds(kinds)),
        ([kind], names) => Ok(Wanted::Objects(
            names.iter().map(|name| of_kind(*kind, name, context)).collect(),
        )),
        (several, names) => {
            let ids = several
                .iter()
                .flat_map(|kind| names.iter().map(|name| of_kind(*kind, name, context)));
            Ok(Wanted::Objects(ids.collect()))
        }
    }
}

/// Reads what a verb of Tasks is given: a Task's name, or `KIND/NAME`.
///
/// # Errors
/// When the kind is unknown.
pub fn task_or(what: &str, context: &Context) -> Result<ObjectId, CliError> {
    match what.contains('/') {
        true => object(what, context),
        false => Ok(of_kind(Kind::Task, what, context)),
    }
}

/// Which Tasks are a Deployment's.
///
/// # Errors
/// When the server does not tell.
pub async fn tasks_of(id: &ObjectId, client: &Client, context: &Context) -> Result<Selection, CliError> {
    let deployment: Deployment = client
        .typed(&id.namespace, &id.name)
        .await
        .map_err(|error| context.explain(id, error))?;
    Ok(Selection {
        labels: deployment.selector(),
        ..Selection::of(&id.namespace)
    })
}

/// The objects of some kinds that have these labels, in the namespace that is meant.
///
/// # Errors
/// When the server does not give them.
pub async fn listed(
    client: &Client,
    kinds: &[Kind],
    labels: &str,
    context: &Context,
) -> Result<Vec<(ObjectId, Value)>, CliError> {
    let selection = Selection {
        labels: labels.to_owned(),
        ..Selection::of(context.namespace())
    };
    let mut found = Vec::new();
    for kind in kinds {
        let items = client.list(*kind, &selection).await?.items;
        found.extend(items.into_iter().map(|value| (context.id_of(*kind, &value), value)));
    }
    Ok(found)
}

/// The objects that a person names, one at least.
///
/// # Errors
/// When a kind is unknown, or no name is given.
pub fn objects(words: &[String], context: &Context) -> Result<Vec<ObjectId>, CliError> {
    match wanted(words, context)? {
        Wanted::Objects(objects) => Ok(objects),
        Wanted::Kinds(kinds) => {
            let singular = kinds.first().map_or("task", |kind| kind.info().singular);
            Err(CliError::usage(format!("say which {singular}"))
                .with_hint(format!("`cube get {}` shows what there is", words.join(" "))))
        }
    }
}

/// Reads `KIND/NAME` or `KIND/NAMESPACE/NAME`.
///
/// # Errors
/// When it is neither.
pub fn object(word: &str, context: &Context) -> Result<ObjectId, CliError> {
    let parts: Vec<&str> = word.split('/').collect();
    let wrong = || CliError::usage(format!("`{word}` does not name an object")).with_hint("write KIND/NAME");
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong());
    }
    match parts[..] {
        [kind, name] => Ok(of_kind(one_kind(kind)?, name, context)),
        [kind, namespace, name] => {
            let kind = one_kind(kind)?;
            if !kind.info().namespaced {
                return Err(wrong());
            }
            Ok(ObjectId {
                kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Err(wrong()),
    }
}

/// An object of a kind in the current namespace.
pub fn of_kind(kind: Kind, name: &str, context: &Context) -> ObjectId {
    let namespace = if kind.info().namespaced {
        context.namespace()
    } else {
        ""
    };
    ObjectId {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// One kind by any of its names.
///
/// # Errors
/// When there is none of that name.
pub fn one_kind(word: &str) -> Result<Kind, CliError> {
    Kind::from_name(word).ok_or_else(|| {
        let names = Kind::ALL
            .iter()
            .flat_map(|kind| [kind.info().plural, kind.info().singular]);
        let error = CliError::usage(format!("there is no kind `{word}`"));
        match nearest(word, names) {
            Some(meant) => error.with_hint(format!("did you mean `{meant}`? The kinds are {}", plurals())),
            None => error.with_hint(format!("the kinds are {}", plurals())),
        }
    })
}

/// Kinds with commas between them; `all` are those that run.
fn kinds(words: &str) -> Result<Vec<Kind>, CliError> {
    let mut kinds = Vec::new();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        let meant = match word {
            "all" => vec![Kind::Deployment, Kind::Task],
            word => vec![one_kind(word)?],
        };
        for kind in meant {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    if kinds.is_empty() {
        Err(CliError::usage(format!("`{words}` names no kind")))
    } else {
        Ok(kinds)
    }
}

fn plurals() -> String {
    let names = Kind::ALL
        .iter()
        .map(|kind| kind.info())
        .map(|info| match info.short_names {
            [] => info.plural.to_owned(),
            short => format!("{} ({})", info.plural, short.join(", ")),
        });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> String {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        match wanted(&words, &Context::for_tests("x")) {
            Ok(Wanted::Kinds(kinds)) => format!("{kinds:?}"),
            Ok(Wanted::Objects(ids)) => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn all_the_ways_to_name_objects() {
        for (words, meaning) in [
            ("tasks", "[Task]"),
            ("t,deploy,tasks", "[Task, Deployment]"),
            ("all", "[Deployment, Task]"),
            ("Task web", "task/x/web"),
            ("task a b", "task/x/a task/x/b"),
            ("ns a", "namespace/a"),
            ("task/a deploy/b no/c", "task/x/a deployment/x/b node/c"),
            ("task/y/a", "task/y/a"),
            ("tsak", "error: there is no kind `tsak`"),
            ("task a/b", "error: `task a/b` mixes two ways to name objects"),
            ("task/", "error: `task/` does not name an object"),
            ("node/a/b", "error: `node/a/b` does not name an object"),
            (",", "error: `,` names no kind"),
        ] {
            assert_eq!(read(words), meaning, "{words}");
        }
    }
}
