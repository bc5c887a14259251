//! JSON that tells of fields that are given twice (a parser that keeps the last of them hides a mistake), and of lists that
//! are too long before they are in memory.
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses JSON; beside it the paths of fields that are there more than once (`spec.image`). Of those the last is taken.
///
/// # Errors
/// When it is not JSON, or nested too deeply.
pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<(Value, Vec<String>)> {
    let mut doubled = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let here = Here {
        path: None,
        doubled: &mut doubled,
    };
    let value = here.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, doubled))
}

/// Whether a text is a list of more than `most` items, as far as it is JSON. Reads no further, and keeps nothing of it.
pub(super) fn has_more_items(bytes: &[u8], most: usize) -> bool {
    let mut seen = 0;
    let counted = serde_json::Deserializer::from_slice(bytes).deserialize_seq(Counting { most, seen: &mut seen });
    // It ends with an error when it stops before the list does; that one is not told.
    drop(counted);
    seen > most
}

struct Counting<'a> {
    most: usize,
    seen: &'a mut usize,
}

impl<'de> Visitor<'de> for Counting<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while *self.seen <= self.most && items.next_element::<IgnoredAny>()?.is_some() {
            *self.seen += 1;
        }
        Ok(())
    }
}

/// A place in the document.
struct Here<'a> {
    path: Option<&'a Step<'a>>,
    doubled: &'a mut Vec<String>,
}

/// The way to a place, from its end.
struct Step<'a> {
    above: Option<&'a Step<'a>>,
    to: To<'a>,
}

enum To<'a> {
    Field(&'a str),
    Item(usize),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match (&self.to, self.above) {
            (To::Item(index), _) => write!(f, "[{index}]"),
            (To::Field(name), None) => f.write_str(name),
            (To::Field(name), Some(_)) => write!(f, ".{name}"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Here<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Here<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let step = Step {
                above: self.path,
                to: To::Item(list.len()),
            };
            let item = Here {
                path: Some(&step),
                doubled: &mut *self.doubled,
            };
            match items.next_element_seed(item)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let step = Step {
                above: self.path,
                to: To::Field(&name),
            };
            if map.contains_key(&name) {
                self.doubled.push(step.to_string());
            }
            let field = Here {
                path: Some(&step),
                doubled: &mut *self.doubled,
            };
            let value = fields.next_value_seed(field)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,1e300,"\u00e9"],"b":{},"c":[]}"#;
        let (value, doubled) = parse(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        assert!(doubled.is_empty());
        for bad in ["", "{", "{} x", "[1,]", r#"{"a":nul}"#, &"[".repeat(10_000)] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:.20}");
        }
    }

    #[test]
    fn a_list_is_counted_before_it_is_read() {
        for (text, more) in [
            ("[1,2,3]", false),
            ("[1,[2,2,2],{},4]", true),
            ("[1,2,3,4 and no more JSON", true),
            ("[1,2,3 and no more JSON", false),
            ("{}", false),
            ("", false),
        ] {
            assert_eq!(has_more_items(text.as_bytes(), 3), more, "{text}");
        }
    }

    #[test]
    fn tells_where_a_field_is_doubled_and_takes_the_last() {
        let text = r#"{"a":1,"spec":{"env":[{"name":"x"},{"name":"y","name":"z"}],"image":"p","image":"q"},"a":2}"#;
        let (value, doubled) = parse(text.as_bytes()).unwrap();
        assert_eq!(doubled, ["spec.env[1].name", "spec.image", "a"]);
        assert_eq!(value["a"], 2);
        assert_eq!(value["spec"]["image"], "q");
    }
}
