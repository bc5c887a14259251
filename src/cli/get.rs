//! `cube get`: what there is, as tables for people, and JSON or YAML for programs.
use clap::ValueEnum;
use cube_api::{API_VERSION, kinds::Kind};
use serde_json::{Value, json};

use super::{
    Context,
    error::{CliError, Exit},
    names::{self, Wanted},
    output::{Cell, Style, Table, words},
};
use crate::{
    client::{Change, Client, Form, Selection},
    source::ObjectId,
};

/// Show objects: of kinds, by name, or all that runs
///
/// A kind can be written as plural, singular or short name, and several with commas between them: `tasks,deploy`.
/// `all` are deployments and tasks.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// KIND[,KIND…], KIND NAME…, KIND/NAME…, or all
    #[arg(value_name = "KIND", required = true)]
    what: Vec<String>,
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only with these labels: app=web,tier!=db,env in (a, b),!old
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    selector: String,
    /// Only with these fields: metadata.name=web,status.phase!=Running
    #[arg(long, value_name = "FIELDS", default_value = "", hide_default_value = true)]
    field_selector: String,
    /// Go on with every change
    #[arg(short, long)]
    watch: bool,
    /// How to tell it; json, yaml and name are stable
    #[arg(short, long, value_enum)]
    output: Option<Telling>,
    /// Show who set which field, too
    #[arg(long)]
    show_managed_fields: bool,
    /// Fill in the defaults of what was left out
    #[arg(long)]
    show_defaults: bool,
}

/// How objects are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Telling {
    /// A table with more columns
    Wide,
    /// JSON; a list has metadata.resourceVersion and items
    Json,
    /// YAML
    Yaml,
    /// KIND/NAME, one a line
    Name,
}

impl Args {
    /// Prints what there is.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let wanted = names::wanted(&self.what, context)?;
        let get = Get {
            client: context.client(),
            context,
            args: &self,
        };
        match (&wanted, self.watch, get.is_table()) {
            (Wanted::Objects(_), ..) if !(self.selector.is_empty() && self.field_selector.is_empty()) => Err(
                CliError::usage("objects are chosen by name or by a selector, not by both"),
            ),
            (Wanted::Objects(_), ..) if self.all_namespaces => {
                Err(CliError::usage("an object has one namespace: leave -A out")
                    .with_hint("-n NAMESPACE chooses another"))
            }
            (_, true, _) => get.watch(wanted).await,
            (Wanted::Kinds(kinds), _, true) => get.tables(kinds).await,
            (Wanted::Kinds(kinds), _, false) => get.lists(kinds).await,
            (Wanted::Objects(ids), ..) => get.objects(ids).await,
        }
    }
}

struct Get<'a> {
    client: Client,
    context: &'a Context,
    args: &'a Args,
}

impl Get<'_> {
    fn is_table(&self) -> bool {
        matches!(self.args.output, None | Some(Telling::Wide))
    }

    fn form(&self) -> Form {
        if self.is_table() { Form::Table } else { Form::Objects }
    }

    fn selection(&self) -> Selection {
        Selection {
            namespace: (!self.args.all_namespaces).then(|| self.context.namespace().to_owned()),
            labels: self.args.selector.clone(),
            fields: self.args.field_selector.clone(),
        }
    }

    async fn tables(&self, kinds: &[Kind]) -> Result<Exit, CliError> {
        let mut begun = false;
        for kind in kinds {
            let told = self.client.list_as(*kind, &self.selection(), Form::Table).await?;
            let rows = self.rows(*kind, kinds.len() > 1, &told);
            let mut table = rows.table();
            rows.fill(&mut table, &told, false);
            if table.is_empty() {
                continue;
            }
            if std::mem::replace(&mut begun, true) {
                self.context.output.line("")?;
            }
            self.context.output.table(&table)?;
        }
        if !begun {
            self.tell_none(kinds);
        }
        Ok(Exit::Done)
    }

    async fn lists(&self, kinds: &[Kind]) -> Result<Exit, CliError> {
        let mut items = Vec::new();
        let mut revision: Option<u64> = None;
        for kind in kinds {
            let list = self.client.list(*kind, &self.selection()).await?;
            // Whoever goes on from here with watches must miss nothing of any kind.
            let told = list.revision.parse().unwrap_or(0);
            revision = Some(revision.map_or(told, |revision| revision.min(told)));
            items.extend(list.items.into_iter().map(|item| (*kind, self.cleaned(*kind, item))));
        }
        if items.is_empty() {
            self.tell_none(kinds);
        }
        let kind = match kinds {
            [kind] => format!("{}List", kind.info().kind),
            _ => "List".to_owned(),
        };
        self.tell_list(kind, revision.unwrap_or(0), items)
    }

    fn tell_list(&self, kind: String, revision: u64, items: Vec<(Kind, Value)>) -> Result<Exit, CliError> {
        if self.args.output == Some(Telling::Name) {
            for (kind, item) in &items {
                self.tell(*kind, item)?;
            }
            return Ok(Exit::Done);
        }
        let items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
        let list = json!({
            "apiVersion": API_VERSION, "kind": kind,
            "metadata": { "resourceVersion": revision.to_string() }, "items": items,
        });
        self.tell(Kind::Task, &list)?;
        Ok(Exit::Done)
    }

    async fn objects(&self, ids: &[ObjectId]) -> Result<Exit, CliError> {
        let mut found: Vec<(&ObjectId, Value)> = Vec::new();
        let mut missing = Vec::new();
        for id in ids {
            match self.client.get_as(id.kind, &id.namespace, &id.name, self.form()).await {
                Ok(told) => found.push((id, told)),
                Err(error) if error.is_not_found() => missing.push(self.context.not_found(id)),
                Err(error) => return Err(error.into()),
            }
        }
        if self.is_table() {
            let several = found.iter().any(|(id, _)| id.kind != found[0].0.kind);
            for (at, of_kind) in found.chunk_by(|a, b| a.0.kind == b.0.kind).enumerate() {
                let rows = self.rows(of_kind[0].0.kind, several, &of_kind[0].1);
                let mut table = rows.table();
                of_kind.iter().for_each(|(_, told)| rows.fill(&mut table, told, false));
                if at > 0 {
                    self.context.output.line("")?;
                }
                self.context.output.table(&table)?;
            }
        } else if let ([(id, told)], 1) = (&found[..], ids.len()) {
            self.tell(id.kind, &self.cleaned(id.kind, told.clone()))?;
        } else if !found.is_empty() {
            let revisions = found
                .iter()
                .filter_map(|(_, told)| told["metadata"]["resourceVersion"].as_str()?.parse().ok());
            let revision = revisions.min().unwrap_or(0);
            let items = found
                .into_iter()
                .map(|(id, told)| (id.kind, self.cleaned(id.kind, told)));
            self.tell_list("List".to_owned(), revision, items.collect())?;
        }
        for error in &missing {
            error.tell(&self.context.output);
        }
        if missing.is_empty() {
            Ok(Exit::Done)
        } else {
            Err(CliError::Told(Exit::Error))
        }
    }

    async fn watch(&self, wanted: Wanted) -> Result<Exit, CliError> {
        let (kind, selection) = match &wanted {
            Wanted::Kinds(kinds) if kinds.len() == 1 => (kinds[0], self.selection()),
            Wanted::Objects(ids) if ids.len() == 1 => {
                (ids[0].kind, Selection::of(&ids[0].namespace).named(&ids[0].name))
            }
            _ => return Err(CliError::usage("-w watches one kind or one object at a time")),
        };
        let mut follow = self.client.follow(kind, selection, self.form());
        let mut shown: Option<(Rows, Table)> = None;
        let begin = |told: &Value| {
            let rows = self.rows(kind, false, told);
            let table = rows.table();
            (rows, table)
        };
        loop {
            match follow.next().await? {
                Change::All(told) if self.is_table() => {
                    // Told again after a break, it is the same table: the headings stand above already.
                    let (rows, table) = shown.get_or_insert_with(|| begin(&told));
                    rows.fill(table, &told, false);
                    if !table.is_empty() {
                        self.context.output.table(table)?;
                        table.printed();
                    } else if matches!(wanted, Wanted::Kinds(_)) {
                        self.tell_none(&[kind]);
                    }
                }
                Change::All(told) => {
                    for item in told["items"].as_array().into_iter().flatten() {
                        self.tell(kind, &self.cleaned(kind, item.clone()))?;
                    }
                }
                change @ (Change::Set(_) | Change::Gone(_)) => {
                    let gone = matches!(change, Change::Gone(_));
                    let (Change::Set(told) | Change::Gone(told)) = change else {
                        continue;
                    };
                    if self.is_table() {
                        let (rows, table) = shown.get_or_insert_with(|| begin(&told));
                        rows.fill(table, &told, gone);
                        self.context.output.table(table)?;
                        table.printed();
                    } else if !gone {
                        self.tell(kind, &self.cleaned(kind, told))?;
                    }
                }
                Change::Lost(error) => self.context.output.note(&format!("{error}; trying again")),
            }
        }
    }

    /// One object, or a list, for programs.
    fn tell(&self, kind: Kind, value: &Value) -> Result<(), CliError> {
        match self.args.output {
            Some(Telling::Yaml) if self.args.watch => self
                .context
                .output
                .line("---")
                .and_then(|()| self.context.output.yaml(value)),
            Some(Telling::Yaml) => self.context.output.yaml(value),
            Some(Telling::Name) => {
                let name = value["metadata"]["name"].as_str().unwrap_or_default();
                self.context.output.line(&format!("{}/{name}", kind.info().singular))
            }
            _ => self.context.output.json(value),
        }
    }

    fn cleaned(&self, kind: Kind, mut value: Value) -> Value {
        if !self.args.show_managed_fields
            && let Some(meta) = value["metadata"].as_object_mut()
        {
            meta.remove("managedFields");
        }
        if self.args.show_defaults {
            kind.shape().fill_defaults(&value)
        } else {
            value
        }
    }

    fn tell_none(&self, kinds: &[Kind]) {
        let plurals: Vec<String> = kinds.iter().map(|kind| kind.info().plural.to_owned()).collect();
        let chosen = !(self.args.selector.is_empty() && self.args.field_selector.is_empty());
        let mut text = format!("no {}", words::list(&plurals).replace(" and ", " or "));
        if chosen {
            text.push_str(" with such labels or fields");
        }
        let namespaced = kinds.iter().any(|kind| kind.info().namespaced);
        if namespaced && !self.args.all_namespaces {
            text.push_str(&format!(" in namespace {}; -A looks in all", self.context.namespace()));
        }
        self.context.output.talk(&text);
    }

    /// How a kind's tables are shown, from the first of them.
    fn rows(&self, kind: Kind, prefixed: bool, first: &Value) -> Rows {
        let wide = self.args.output == Some(Telling::Wide);
        let columns = first["columnDefinitions"].as_array().into_iter().flatten().enumerate();
        Rows {
            prefix: if prefixed {
                format!("{}/", kind.info().singular)
            } else {
                String::new()
            },
            namespaces: self.args.all_namespaces && kind.info().namespaced,
            columns: columns
                .filter(|(_, column)| wide || column["priority"].as_u64().unwrap_or(0) == 0)
                .map(|(at, column)| (at, column["name"].as_str().unwrap_or_default().to_uppercase()))
                .collect(),
        }
    }
}

/// How tables of the server's are shown. The later ones of a watch come without headings.
struct Rows {
    prefix: String,
    namespaces: bool,
    /// The columns that are shown: their number and heading.
    columns: Vec<(usize, String)>,
}

impl Rows {
    /// A table with the headings.
    fn table(&self) -> Table {
        let namespace = self.namespaces.then_some("NAMESPACE");
        Table::new(
            namespace
                .into_iter()
                .chain(self.columns.iter().map(|(_, heading)| heading.as_str())),
        )
    }

    /// Adds the rows of a table of the server's.
    fn fill(&self, table: &mut Table, told: &Value, gone: bool) {
        for row in told["rows"].as_array().into_iter().flatten() {
            let mut cells = Vec::with_capacity(self.columns.len() + 1);
            if self.namespaces {
                cells.push(
                    row["object"]["metadata"]["namespace"]
                        .as_str()
                        .unwrap_or_default()
                        .into(),
                );
            }
            for (at, heading) in &self.columns {
                let text = match &row["cells"][*at] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                cells.push(match heading.as_str() {
                    "NAME" => format!("{}{text}", self.prefix).into(),
                    "STATUS" if gone => Cell::new("Gone", Style::Dim),
                    "STATUS" | "READY" | "TYPE" => Cell::new(text.as_str(), state_style(&text)),
                    _ => text.into(),
                });
            }
            table.row(cells);
        }
    }
}

fn state_style(text: &str) -> Style {
    match text.split_once('/') {
        Some((ready, wanted)) if ready == wanted => Style::Good,
        Some(_) => Style::Waiting,
        None => Style::of_state(text),
    }
}
