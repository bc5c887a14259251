//! Parts that many objects have in common, held once: thousands of Tasks of a Deployment have one wish, one set of labels.
//!
//! A [`Shared`] part reads as what it holds; who changes it gets a copy of its own. [`Pool`] is where what is read from
//! stored text finds the part that is there already.
use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::BTreeMap,
    convert::Infallible,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A part of an object, perhaps held by others too.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Ord> PartialOrd for Shared<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for Shared<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        match Arc::ptr_eq(&self.0, &other.0) {
            true => Ordering::Equal,
            false => self.0.cmp(&other.0),
        }
    }
}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<'a, T> IntoIterator for &'a Shared<T>
where
    &'a T: IntoIterator,
{
    type Item = <&'a T as IntoIterator>::Item;
    type IntoIter = <&'a T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&**self).into_iter()
    }
}

impl<A, T: FromIterator<A>> FromIterator<A> for Shared<T> {
    fn from_iter<I: IntoIterator<Item = A>>(parts: I) -> Self {
        T::from_iter(parts).into()
    }
}

impl<T> From<T> for Shared<T> {
    fn from(part: T) -> Self {
        Self(Arc::new(part))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

impl<T: JsonSchema> JsonSchema for Shared<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Parts by their text, for as long as somebody else has them.
pub(crate) struct Pool<T>(Mutex<Parts<T>>);

struct Parts<T> {
    by_text: BTreeMap<Box<str>, Shared<T>>,
    /// With so many it is looked which of them nobody has any more.
    full: usize,
}

/// The fewest that are looked through.
const FEW: usize = 64;

impl<T> Pool<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Parts {
            by_text: BTreeMap::new(),
            full: FEW,
        }))
    }

    /// The part of that text; made where there is none.
    pub fn get<E>(&self, text: &str, make: impl FnOnce() -> Result<Shared<T>, E>) -> Result<Shared<T>, E> {
        let known = |parts: &Parts<T>| parts.by_text.get(text).cloned();
        if let Some(part) = known(&self.parts()) {
            return Ok(part);
        }
        let made = make()?;
        let mut parts = self.parts();
        if parts.by_text.len() >= parts.full {
            parts.by_text.retain(|_, part| Arc::strong_count(&part.0) > 1);
            parts.full = FEW.max(2 * parts.by_text.len());
        }
        // Another thread may have been first.
        Ok(known(&parts).unwrap_or_else(|| {
            parts.by_text.insert(text.into(), made.clone());
            made
        }))
    }

    fn parts(&self) -> MutexGuard<'_, Parts<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Serialize> Pool<T> {
    /// Has the part be the one that others have, if they have an equal one.
    pub fn share(&self, part: &mut Shared<T>) {
        let Ok(text) = serde_json::to_string(&**part) else {
            return;
        };
        let Ok(known) = self.get(&text, || Ok::<_, Infallible>(part.clone()));
        *part = known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_held_once_for_as_long_as_somebody_has_it() {
        let pool = Pool::<String>::new();
        let get = |text: &str| pool.get(text, || Ok::<_, Infallible>(text.to_owned().into())).unwrap();
        let held = get("a");
        assert!(Arc::ptr_eq(&held.0, &get("a").0));
        for number in 0..10 * FEW {
            get(&number.to_string());
        }
        assert!(pool.parts().by_text.len() <= 2 * FEW);
        assert!(Arc::ptr_eq(&held.0, &get("a").0));
        let mut own = held.clone();
        own.push('b');
        assert_eq!((held.as_str(), own.as_str()), ("a", "ab"));
        pool.share(&mut own);
        let mut other = Shared::from("ab".to_owned());
        pool.share(&mut other);
        assert!(Arc::ptr_eq(&own.0, &other.0));
    }
}
