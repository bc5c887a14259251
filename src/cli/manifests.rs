//! What `-f` names: files, directories, standard input; read, checked, and put into the order in which objects depend
//! on one another.
//!
//! The same rules as for a watched directory, so that what `validate` passes, `cube up` takes. Read [`read`] first.
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use cube_api::{
    API_VERSION,
    error::{FieldError, FieldPath},
    kinds::Kind,
    namespace,
    shape::nearest,
};
use serde_json::Value;

use super::{
    Context,
    error::{CliError, Exit},
};
use crate::{
    manifest::{self, Diagnostic, Document, Kinds, Limits},
    registry,
    source::{self, ObjectId},
    world::files::{Disk, Files as _},
};

/// Files to read.
#[derive(Args, Clone, Debug, Default)]
pub struct FileArgs {
    /// A manifest, a directory of manifests (.yaml, .yml, .json, with all below it), or - for standard input; several
    /// times for several
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    pub files: Vec<String>,
}

/// One object that a file says.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Which object.
    pub id: ObjectId,
    /// The object as it was written, its namespace filled in.
    pub value: Value,
    /// Where it was written.
    document: Document,
}

impl Manifest {
    /// An error about a field, at its place in the file.
    pub fn locate(&self, error: &FieldError) -> Diagnostic {
        self.document.locate(error)
    }

    /// An error about the object, at its name.
    pub fn about(&self, message: impl Into<String>) -> Diagnostic {
        self.at_metadata("name", message)
    }

    /// An error at a field of the metadata, or at what encloses it.
    pub fn at_metadata(&self, field: &str, message: impl Into<String>) -> Diagnostic {
        let path = FieldPath::root().field("metadata").field(field);
        match self.document.place_of(&path, false) {
            Some(place) => Diagnostic::at(self.document.source(), place, message),
            None => Diagnostic::of_file(&self.document.source().name, message),
        }
    }
}

/// All that the files say, in dependency order.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The objects.
    pub objects: Vec<Manifest>,
    /// So many files were read.
    pub files: usize,
}

/// Reads all files, whole, before anything is done.
///
/// # Errors
/// Everything that is wrong with any of them; `consequence` says what that means.
pub fn read(files: &FileArgs, context: &Context, consequence: &'static str) -> Result<Manifests, CliError> {
    let mut found = Found::default();
    for path in &files.files {
        found.take(path)?;
    }
    let files = found.files.len();
    let (objects, mut wrong) = (parse(found.files, context), found.wrong);
    let mut objects = objects.unwrap_or_else(|diagnostics| {
        wrong.extend(diagnostics);
        Vec::new()
    });
    if !wrong.is_empty() {
        return Err(CliError::Manifests {
            diagnostics: wrong,
            consequence,
            exit: Exit::BadInput,
        });
    }
    objects.sort_by_key(|object| object.id.kind);
    Ok(Manifests { objects, files })
}

/// Bytes by the name that people know them by, and what cannot be read.
#[derive(Default)]
struct Found {
    files: Vec<(String, Vec<u8>)>,
    wrong: Vec<Diagnostic>,
}

impl Found {
    fn take(&mut self, given: &str) -> Result<(), CliError> {
        if given == "-" {
            self.file("stdin", io::stdin().lock());
            return Ok(());
        }
        let path = Path::new(given);
        let what = match path.metadata() {
            Ok(what) => what,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(path)),
            Err(error) => return Err(CliError::usage(format!("{given} cannot be read: {error}"))),
        };
        if what.is_dir() {
            return self.directory(path);
        }
        let limit = Limits::default().bytes;
        if what.is_file() && what.len() > limit as u64 {
            self.too_large(given, &what.len().to_string());
            return Ok(());
        }
        // What the person names is opened whatever it is: a pipe of the shell's, too.
        match File::open(path) {
            Ok(file) => self.file(given, file),
            Err(error) => return Err(CliError::usage(format!("{given} cannot be read: {error}"))),
        }
        Ok(())
    }

    fn file(&mut self, name: &str, input: impl io::Read) {
        let limit = Limits::default().bytes;
        let mut bytes = Vec::new();
        match input.take(limit as u64 + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() > limit => self.too_large(name, &format!("more than {limit}")),
            Ok(_) => self.files.push((name.to_owned(), bytes)),
            Err(error) => self
                .wrong
                .push(Diagnostic::of_file(name, format!("the file cannot be read: {error}"))),
        }
    }

    fn too_large(&mut self, name: &str, bytes: &str) {
        let message = format!(
            "the file has {bytes} bytes; at most {} are read",
            Limits::default().bytes
        );
        self.wrong
            .push(Diagnostic::of_file(name, message).help("split it into several files"));
    }

    fn directory(&mut self, path: &Path) -> Result<(), CliError> {
        let cannot = |error: io::Error| CliError::usage(format!("{} cannot be read: {error}", path.display()));
        let real = Disk.directory(path).map_err(cannot)?.path;
        let walked = source::walk(&Disk, &real, source::Trust::Person, None).map_err(cannot)?;
        let name = |relative: &PathBuf| path.join(relative).display().to_string();
        for (relative, why) in &walked.refused {
            self.wrong
                .push(Diagnostic::of_file(&name(relative), format!("the file {why}")));
        }
        if walked.files.is_empty() && walked.refused.is_empty() {
            let message = format!("there is no manifest in {} (.yaml, .yml, .json)", path.display());
            return Err(CliError::usage(message));
        }
        for (relative, stamp) in &walked.files {
            let name = name(relative);
            if stamp.size > Limits::default().bytes as u64 {
                self.too_large(&name, &stamp.size.to_string());
                continue;
            }
            match File::open(real.join(relative)) {
                Ok(file) => self.file(&name, file),
                Err(error) => self
                    .wrong
                    .push(Diagnostic::of_file(&name, format!("the file cannot be read: {error}"))),
            }
        }
        Ok(())
    }
}

fn missing(path: &Path) -> CliError {
    let error = CliError::usage(format!("there is no file or directory {}", path.display()));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = std::fs::read_dir(parent.unwrap_or(Path::new("."))).ok();
    let mut names: Vec<String> = beside
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let given = path.file_name().unwrap_or_default().to_string_lossy();
    match nearest(&given, names.iter().map(String::as_str)) {
        Some(meant) => {
            let meant = parent.map_or_else(|| meant.into(), |parent| parent.join(meant));
            error.with_hint(format!("did you mean {}?", meant.display()))
        }
        None => error,
    }
}

fn parse(files: Vec<(String, Vec<u8>)>, context: &Context) -> Result<Vec<Manifest>, Vec<Diagnostic>> {
    let shape = |name: &str| {
        Kind::from_kind(name)
            .filter(|kind| kind.info().manifest)
            .map(Kind::shape)
    };
    let names: Vec<&str> = Kind::ALL
        .iter()
        .map(|kind| kind.info())
        .filter(|info| info.manifest)
        .map(|info| info.kind)
        .collect();
    let kinds = Kinds {
        api_version: API_VERSION,
        names: &names,
        shape: &shape,
    };
    let mut objects: Vec<Manifest> = Vec::new();
    let mut first: BTreeMap<ObjectId, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, bytes) in files {
        let documents = match manifest::read(&name, &bytes, &Limits::default()) {
            Ok(documents) => documents,
            Err(error) => {
                wrong.push(*error);
                continue;
            }
        };
        if documents.is_empty() {
            wrong.push(Diagnostic::of_file(
                &name,
                "the file says nothing: no document in it has content",
            ));
        }
        for document in documents {
            match object(document, &kinds, context) {
                Err(errors) => wrong.extend(errors),
                Ok(object) => {
                    let place = object.about("");
                    let at = place
                        .place
                        .as_ref()
                        .map_or_else(|| name.clone(), |at| format!("{name}:{}", at.line));
                    match first.get(&object.id) {
                        Some(before) => wrong.push(object.about(format!("{} is already in {before}", object.id))),
                        None => drop(first.insert(object.id.clone(), at)),
                    }
                    objects.push(object);
                }
            }
        }
    }
    if wrong.is_empty() { Ok(objects) } else { Err(wrong) }
}

fn object(document: Document, kinds: &Kinds<'_>, context: &Context) -> Result<Manifest, Vec<Diagnostic>> {
    let manifest::Object { kind, mut value } = document.object(kinds)?;
    let Some(kind) = Kind::from_kind(&kind) else {
        return Err(Vec::new());
    };
    let faults = registry::check(kind, &value);
    if !faults.is_empty() {
        return Err(faults.iter().map(|fault| document.locate(fault)).collect());
    }
    let given = value["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let namespace = match (kind.info().namespaced, given.as_str()) {
        (false, _) => String::new(),
        (true, "") => context
            .namespace
            .clone()
            .unwrap_or_else(|| namespace::DEFAULT.to_owned()),
        (true, given) => {
            if let Some(wanted) = &context.namespace
                && wanted != given
            {
                let path = FieldPath::root().field("metadata").field("namespace");
                let error = FieldError::invalid(path, format!("must be {wanted}, as --namespace says")).given(given);
                return Err(vec![document.locate(&error)]);
            }
            given.to_owned()
        }
    };
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = namespace.as_str().into();
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(Manifest {
        id: ObjectId { kind, namespace, name },
        value,
        document,
    })
}
