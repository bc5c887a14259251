//! Lists in pieces: `limit` says how many objects a piece has at most, its `continue` where the next one begins.
//!
//! All pieces of a list are of one revision. Nothing is held for them: a client that does not come back costs nothing, and one
//! that comes back too late is told so (410), as in Kubernetes.
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cube_api::kinds::Kind;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::answer::Refusal;
use crate::{
    registry::{Filter, Piece},
    store::Key,
};

/// A list that looks at more objects than these, about a millisecond's worth, waits for its turn among all such.
pub(super) const SHORT: usize = 500;

/// So many long lists are made at once. Each holds a thread while it is made, and one thread is always left for all else: however
/// many clients list, workers are heard and what is wished is done.
pub(super) fn long_lists_at_once() -> usize {
    let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
    threads.saturating_sub(1).max(1)
}

/// Where a list goes on. What it says is nobody's business but ours.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    revision: u64,
    /// The last object that was told.
    after: String,
}

impl Place {
    /// Where what follows a piece begins.
    pub fn after(piece: &Piece) -> Option<Self> {
        let rest = piece.rest.as_ref()?;
        Some(Self {
            revision: piece.list.revision,
            after: rest.as_str().to_owned(),
        })
    }

    /// As clients are told it.
    pub fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// What a client was told: the revision, and the key after which it goes on, which the list can have.
    pub fn read(token: &str, kind: Kind, filter: &Filter) -> Result<(u64, Key), Refusal> {
        let unknown = || {
            let message = "the provided continue parameter is not known; list again without it";
            Refusal::new(410, "Expired", message)
        };
        let text = URL_SAFE_NO_PAD.decode(token).map_err(|_| unknown())?;
        let place: Self = serde_json::from_slice(&text).map_err(|_| unknown())?;
        let key = Key::parse(&place.after).filter(|key| {
            let namespace = filter.namespace.as_deref();
            key.plural() == kind.info().plural && namespace.is_none_or(|namespace| namespace == key.namespace())
        });
        Ok((place.revision, key.ok_or_else(unknown)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_only_where_it_can_be() {
        let place = |after: &str| {
            let after = after.to_owned();
            Place { revision: 7, after }.token()
        };
        let all = Filter::default();
        let read = Place::read(&place("tasks/default/web"), Kind::Task, &all).ok();
        assert_eq!(read, Some((7, Key::new("tasks", "default", "web"))));
        let other = Filter::namespace("other");
        for (token, filter) in [
            (place("tasks/default/web"), &other),
            (place("nodes//a"), &all),
            (place("tasks"), &all),
            (URL_SAFE_NO_PAD.encode("{}"), &all),
            ("no token".to_owned(), &all),
        ] {
            assert!(Place::read(&token, Kind::Task, filter).is_err(), "{token}");
        }
    }
}
