//! `cube schema`: JSON Schemas of the kinds, for editors.
//!
//! The schema of any Cube file is `if` this kind `then` its schema, kind by kind: editors then blame the very field, where
//! `oneOf` would make them blame a kind at random.
use std::path::{Path, PathBuf};

use cube_api::{API_VERSION, kinds::Kind};
use serde_json::{Map, Value, json};

use super::{
    Context,
    error::{CliError, Exit},
    names,
};

/// Print the JSON Schema of a kind, or one schema for any Cube file
///
/// For the YAML language server, begin each document with
/// `# yaml-language-server: $schema=/path/to/cube.json`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The kind; without one, any kind that manifests can be of
    kind: Option<String>,
    /// Write all schemas into this directory: cube.json for any file, and one file a kind
    #[arg(long, value_name = "DIR", conflicts_with = "kind")]
    all: Option<PathBuf>,
}

impl Args {
    /// Prints a schema, or writes them all.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        match (self.all, self.kind) {
            (Some(directory), _) => {
                write_all(&directory)?;
                context
                    .output
                    .talk(&format!("wrote the schemas to {}", directory.display()));
            }
            (None, Some(kind)) => context.output.json(&of_kind(names::one_kind(&kind)?))?,
            (None, None) => context.output.json(&of_any_file())?,
        }
        Ok(Exit::Done)
    }
}

fn write_all(directory: &Path) -> Result<(), CliError> {
    let path = |name: &str| directory.join(format!("{name}.json"));
    std::fs::create_dir_all(directory).map_err(CliError::io(format!("make {}", directory.display())))?;
    let kinds = Kind::ALL
        .iter()
        .map(|kind| (path(kind.info().singular), of_kind(*kind)));
    for (path, schema) in kinds.chain([(path("cube"), of_any_file())]) {
        std::fs::write(&path, format!("{schema:#}\n")).map_err(CliError::io(format!("write {}", path.display())))?;
    }
    Ok(())
}

/// The schema of one kind.
fn of_kind(kind: Kind) -> Value {
    let mut schema = kind.schema();
    schema["title"] = kind.info().kind.into();
    schema
}

/// The schema of any manifest.
fn of_any_file() -> Value {
    let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| kind.info().manifest).collect();
    let mut parts = Map::new();
    let mut branches = Vec::new();
    for kind in &kinds {
        let name = kind.info().kind;
        let mut schema = kind.schema();
        if let Some(fields) = schema.as_object_mut() {
            fields.remove("$schema");
            if let Some(Value::Object(own)) = fields.remove("$defs") {
                // The same type has the same schema, whatever kind it is a part of.
                parts.extend(own);
            }
        }
        parts.insert(name.to_owned(), schema);
        branches.push(json!({
            "if": { "properties": { "kind": { "const": name } }, "required": ["kind"] },
            "then": { "$ref": format!("#/$defs/{name}") },
        }));
    }
    let names: Vec<&str> = kinds.iter().map(|kind| kind.info().kind).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cube manifest",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": { "const": API_VERSION, "type": "string", "description": "Group and version: `cube/v1`." },
            "kind": { "enum": names, "type": "string", "description": "What it is." },
        },
        "allOf": branches,
        "$defs": parts,
    })
}
