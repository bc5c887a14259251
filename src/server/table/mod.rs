//! Objects as rows for people: `meta.k8s.io` Tables, which kubectl and Cube's own command line print.
//!
//! What the columns are is in `columns`; this file knows how a Table is written.
mod age;
mod columns;

#[cfg(test)]
mod tests;

use cube_api::kinds::Kind;
use jiff::Timestamp;
use serde_json::{Value, json};

pub use age::{age, duration};
pub use columns::{complaint, node_status, task_status};

use super::{accept::MetaVersion, render::metadata_of};
use crate::registry::Object;

/// What a row carries of its object beside the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    Nothing,
    Metadata,
    Whole,
}

impl Include {
    /// Reads `includeObject`.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::Nothing,
            Some("Object") => Self::Whole,
            _ => Self::Metadata,
        }
    }
}

/// A Table of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub kind: Kind,
    pub version: MetaVersion,
    pub include: Include,
}

impl Table {
    /// Writes the Table of these objects. A watch says its columns once.
    pub fn write<'a>(
        &self,
        text: &mut Vec<u8>,
        objects: impl IntoIterator<Item = &'a Object>,
        head: &Value,
        now: Timestamp,
        with_columns: bool,
    ) {
        let columns = if with_columns { self.columns() } else { json!([]) };
        let version = self.version.as_str();
        text.extend_from_slice(
            format!(
                r#"{{"kind":"Table","apiVersion":"{version}","metadata":{head},"columnDefinitions":{columns},"rows":["#
            )
            .as_bytes(),
        );
        for (index, object) in objects.into_iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            self.row(text, object, now);
        }
        text.extend_from_slice(b"]}");
    }

    fn row(&self, text: &mut Vec<u8>, object: &Object, now: Timestamp) {
        let cells = columns::columns(self.kind)
            .iter()
            .map(|column| (column.cell)(object, now));
        let cells = Value::Array(cells.collect());
        text.extend_from_slice(format!(r#"{{"cells":{cells}"#).as_bytes());
        match self.include {
            Include::Nothing => {}
            Include::Metadata => {
                text.extend_from_slice(b",\"object\":");
                metadata_of(text, object, self.version);
            }
            Include::Whole => {
                text.extend_from_slice(b",\"object\":");
                text.extend_from_slice(&object.json());
            }
        }
        text.push(b'}');
    }

    fn columns(&self) -> Value {
        let columns = columns::columns(self.kind).iter().map(|column| {
            json!({
                "name": column.name,
                "type": if column.number { "integer" } else { "string" },
                "format": if column.name == "Name" { "name" } else { "" },
                "description": column.about,
                "priority": i32::from(column.wide),
            })
        });
        Value::Array(columns.collect())
    }
}
