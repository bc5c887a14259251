//! Reading an object straight from its text, without the fields that say what it is: its type is known then.
use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, de,
    de::{DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};

/// What reads a map, less its `apiVersion` and `kind`.
pub(crate) struct Typeless<D>(pub D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Typeless<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Less(visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Hands the map on to a visitor, less these fields.
struct Less<T>(T);

impl<'de, V: Visitor<'de>> Visitor<'de> for Less<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Less(fields))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Less<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(Name(name)) = self.0.next_key()? {
            if !matches!(&*name, "apiVersion" | "kind") {
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
            self.0.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// The name of a field; not copied where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl<'de> Visitor<'de> for Take {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Take)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{kinds::Kind, task::Task};

    #[test]
    fn text_reads_as_its_value_does() {
        let value = json!({
            "kind": "Task", "metadata": { "name": "t", "labels": { "kind": "x" } }, "apiVersion": "cube/v1",
            "spec": { "image": "x", "env": [{ "name": "A", "value": "\u{e9}\n" }] },
        });
        let text = value.to_string();
        let task = |decoded: Result<Box<dyn crate::kinds::AnyResource>, serde_json::Error>| {
            decoded.unwrap().as_any().downcast_ref::<Task>().unwrap().clone()
        };
        assert_eq!(
            task(Kind::Task.decode_text(text.as_bytes())),
            task(Kind::Task.decode(&value))
        );
        for wrong in [
            "{",
            "[]",
            "1",
            r#"{"spec":{"image":"x"},"other":1}"#,
            r#"{"spec":{"image":"x"}} x"#,
        ] {
            assert!(Kind::Task.decode_text(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
