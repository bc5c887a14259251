//! From a document's text to its tree, by the saphyr library. The one file that knows it, beside `aliases`.
//!
//! saphyr gives values with their types guessed, and stops at the first duplicate key. Here the written text is taken
//! back from the source by each value's span, and duplicates are all told, with both places.
use std::{collections::BTreeMap, ops::Range, sync::Arc};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar as Guessed, ScanError, YamlData};

use super::{Content, Diagnostic, Document, Entry, Limits, Node, Place, Scalar, Source, aliases, split};

/// Duplicate keys that are told in a document. Each costs one more parse.
const DUPLICATES: usize = 8;

/// Bytes of a document times its named maps and lists. The library copies what is named, once a level: a low bound
/// refuses honest files, a high one lets a file of some KiB take GiB.
const ANCHORED_BYTES: usize = 16 << 20;

/// Reads one document; none if it is empty after all.
pub(super) fn document(source: &Arc<Source>, part: Range<usize>, limits: &Limits) -> Option<Document> {
    let mut reader = Reader::new(source, part, limits);
    let root = match reader.parse() {
        Ok(None) => return None,
        Ok(Some(yaml)) => reader.node(&yaml, 0),
        Err(problem) => {
            reader.problems.push(*problem);
            None
        }
    };
    Some(Document {
        source: source.clone(),
        root,
        problems: reader.problems,
    })
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    part: Range<usize>,
    /// Byte of each character in the part; empty if each is one byte.
    offsets: Vec<usize>,
    limits: &'a Limits,
    /// Names of duplicate keys, by the character that stood in for them.
    renamed: BTreeMap<char, String>,
    /// Written text of each scalar that has a name.
    anchors: BTreeMap<String, String>,
    problems: Vec<Diagnostic>,
    too_deep: bool,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Arc<Source>, part: Range<usize>, limits: &'a Limits) -> Self {
        let text = &source.text[part.clone()];
        let offsets = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().map(|(at, _)| at).collect(),
        };
        let (renamed, anchors) = (BTreeMap::new(), BTreeMap::new());
        Reader {
            source,
            part,
            offsets,
            limits,
            renamed,
            anchors,
            problems: Vec::new(),
            too_deep: false,
        }
    }

    fn text(&self) -> &'a str {
        &self.source.text[self.part.clone()]
    }

    /// The byte of a character, in the whole file.
    fn byte(&self, char_index: usize) -> usize {
        let length = self.part.len();
        let at = match self.offsets.is_empty() {
            true => char_index.min(length),
            false => self.offsets.get(char_index).copied().unwrap_or(length),
        };
        self.part.start + at
    }

    fn place(&self, yaml: &MarkedYaml<'_>) -> Place {
        let (start, end) = (self.byte(yaml.span.start.index()), self.byte(yaml.span.end.index()));
        let text = &self.source.text[start..end.max(start)];
        self.source.place(start..start + text.trim_end().len())
    }

    fn parse(&mut self) -> Result<Option<MarkedYaml<'static>>, Box<Diagnostic>> {
        if let Some(at) = split::too_deep(self.text()) {
            return Err(Box::new(self.nested(self.part.start + at)));
        }
        let anchors = split::anchors(self.text());
        if anchors.saturating_mul(self.part.len()) > ANCHORED_BYTES {
            let message =
                format!("too many anchors ({anchors} `&name`s of maps and lists) for a document of this size");
            return Err(Box::new(
                Diagnostic::of_file(&self.source.name, message).help("write out what they stand for"),
            ));
        }
        if let Some(at) = aliases::too_many(self.text()) {
            let (place, most) = (self.source.place(self.byte(at)..self.byte(at)), aliases::MOST);
            let message = format!("aliases (`*name`) stand for more than {most} values");
            return Err(Box::new(Diagnostic::at(self.source, place, message)));
        }
        let mut characters: Option<Vec<char>> = None;
        loop {
            let loaded = match &characters {
                None => MarkedYaml::load_from_iter(self.text().chars()),
                Some(changed) => MarkedYaml::load_from_iter(changed.iter().copied()),
            };
            let error = match loaded {
                Ok(documents) => return Ok(documents.into_iter().find(|document| !is_empty(document))),
                Err(error) => error,
            };
            // Another name in the key's place lets the library go on; `node` turns it back and tells the duplicate.
            let changed = characters.get_or_insert_with(|| self.text().chars().collect());
            if error.info() != "duplicated key in mapping"
                || self.renamed.len() >= DUPLICATES
                || !rename_key(changed, error.marker().index(), &mut self.renamed)
            {
                return Err(Box::new(self.syntax(&error)));
            }
        }
    }

    fn nested(&self, byte: usize) -> Diagnostic {
        let place = self.source.place(byte..byte);
        let message = format!(
            "maps and lists are nested more than {} levels deep",
            self.limits.nesting
        );
        Diagnostic::at(self.source, place, message)
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        // What lacks an end is told where the document ends, not at the one after it.
        let end = self.part.start + self.text().trim_end().len();
        let byte = self.byte(error.marker().index()).min(end);
        let info = error.info();
        if info == "recursion limit exceeded" {
            return self.nested(byte);
        }
        let help = match info {
            "duplicated key in mapping" => Some("each key can be set once"),
            _ if info.contains("tab") => Some("indent with spaces: YAML does not allow tabs"),
            _ if info.starts_with("mapping values are not allowed") => {
                Some("check the indentation; a text that has `: ` in it must be in quotes")
            }
            _ if info.contains("unknown anchor") => Some("an alias `*name` needs an anchor `&name` before it"),
            _ if info.contains("cannot start any token") => Some("put the text in quotes"),
            _ => None,
        };
        let diagnostic = Diagnostic::at(self.source, self.source.place(byte..byte), format!("not YAML: {info}"));
        match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }

    /// The tree of a value; none if something in it made that impossible, which then is among the problems.
    fn node(&mut self, yaml: &MarkedYaml<'_>, depth: usize) -> Option<Node> {
        let place = self.place(yaml);
        if depth > self.limits.nesting {
            if !std::mem::replace(&mut self.too_deep, true) {
                self.problems.push(self.nested(place.bytes.start));
            }
            return None;
        }
        let content = match &yaml.data {
            YamlData::Sequence(items) => {
                let items: Vec<_> = items.iter().map(|item| self.node(item, depth + 1)).collect();
                Content::Sequence(items.into_iter().collect::<Option<_>>()?)
            }
            YamlData::Mapping(pairs) => {
                let entries: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| self.entry(key, value, depth + 1))
                    .collect();
                Content::Mapping(self.mapping(entries.into_iter().collect::<Option<_>>()?)?)
            }
            YamlData::Value(guessed) => Content::Scalar(self.scalar(guessed, &place)),
            YamlData::Tagged(tag, inner) => {
                let message = format!("the tag `{tag}` means nothing here");
                self.problems
                    .push(Diagnostic::at(self.source, place.clone(), message).help("leave it out"));
                let inner = self.node(inner, depth + 1)?;
                return Some(Node { place, ..inner });
            }
            YamlData::Representation(..) | YamlData::BadValue | YamlData::Alias(_) => {
                let (message, help) = match self.source.text[place.bytes.clone()].starts_with('*') {
                    true => ("the alias stands inside of what it names", "write out what is meant"),
                    false => ("the value is not of the type that its tag says", "leave the tag out"),
                };
                self.problems
                    .push(Diagnostic::at(self.source, place, message).help(help));
                return None;
            }
        };
        Some(Node { content, place })
    }

    fn entry(&mut self, key: &MarkedYaml<'_>, value: &MarkedYaml<'_>, depth: usize) -> Option<Entry> {
        let key_place = self.place(key);
        let text = match &key.data {
            YamlData::Value(guessed) => Some(self.scalar(guessed, &key_place).text),
            _ => None,
        };
        let Some(text) = text else {
            let place = self.source.first_line_of(&key_place);
            self.problems
                .push(Diagnostic::at(self.source, place, "a key must be text"));
            return None;
        };
        let stand_in = text.chars().next().and_then(|first| self.renamed.get(&first));
        let key = stand_in.cloned().unwrap_or(text);
        Some(Entry {
            key,
            key_place,
            value: self.node(value, depth)?,
        })
    }

    /// Tells duplicate keys and puts in what `<<` brings.
    fn mapping(&mut self, entries: Vec<Entry>) -> Option<Vec<Entry>> {
        let mut first: BTreeMap<String, Place> = BTreeMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        let mut merged = Vec::new();
        for entry in entries {
            if let Some(before) = first.get(&entry.key) {
                let message = format!("duplicate key `{}`", entry.key);
                let mut problem = Diagnostic::at(self.source, entry.key_place, message);
                problem.label = Some(format!("already set at line {}, column {}", before.line, before.column));
                self.problems.push(problem);
                continue;
            }
            first.insert(entry.key.clone(), entry.key_place.clone());
            match (entry.key.as_str(), entry.value.content) {
                ("<<", Content::Mapping(more)) => merged.extend(more),
                ("<<", Content::Sequence(several)) if several.iter().all(Node::is_mapping) => {
                    merged.extend(several.into_iter().flat_map(Node::into_entries));
                }
                ("<<", _) => {
                    let problem = Diagnostic::at(self.source, entry.value.place, "`<<` takes a map or a list of maps");
                    self.problems.push(problem);
                    return None;
                }
                (_, content) => kept.push(Entry {
                    value: Node { content, ..entry.value },
                    ..entry
                }),
            }
        }
        // What is written in the map itself wins, then what was merged first.
        for entry in merged {
            if first.insert(entry.key.clone(), entry.key_place.clone()).is_none() {
                kept.push(entry);
            }
        }
        Some(kept)
    }

    fn scalar(&mut self, guessed: &Guessed<'_>, place: &Place) -> Scalar {
        let (name, written) = without_properties(&self.source.text[place.bytes.clone()]);
        let scalar = match guessed {
            Guessed::String(text) => {
                let plain = written == text && matches!(Guessed::parse_from_cow((&**text).into()), Guessed::String(_));
                Scalar {
                    text: text.to_string(),
                    plain,
                }
            }
            // An alias: what it names was read before it.
            _ if written.starts_with('*') => {
                let text = self.anchors.get(written[1..].trim_end()).cloned().unwrap_or_default();
                Scalar { text, plain: true }
            }
            _ => Scalar {
                text: written.to_owned(),
                plain: true,
            },
        };
        if let Some(name) = name {
            self.anchors.insert(name.to_owned(), scalar.text.clone());
        }
        scalar
    }
}

impl Node {
    fn is_mapping(&self) -> bool {
        matches!(self.content, Content::Mapping(_))
    }

    fn into_entries(self) -> Vec<Entry> {
        match self.content {
            Content::Mapping(entries) => entries,
            _ => Vec::new(),
        }
    }
}

fn is_empty(yaml: &MarkedYaml<'_>) -> bool {
    matches!(yaml.data, YamlData::BadValue | YamlData::Value(Guessed::Null)) && yaml.span.is_empty()
}

/// The name that `&name` gives, if any, and the text after it and after a tag.
fn without_properties(written: &str) -> (Option<&str>, &str) {
    let (mut name, mut rest) = (None, written);
    while rest.starts_with(['&', '!']) {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        if rest.starts_with('&') {
            name = Some(&rest[1..end]);
        }
        rest = rest[end..].trim_start();
    }
    (name, rest)
}

/// Puts a name that is nowhere else in place of the key at `start`, as long as it. Whether it could.
fn rename_key(characters: &mut [char], start: usize, renamed: &mut BTreeMap<char, String>) -> bool {
    let mut start = start;
    while characters.get(start).is_some_and(|c| matches!(c, '&' | '!')) {
        start += characters[start..].iter().take_while(|c| !c.is_whitespace()).count();
        start += characters[start..].iter().take_while(|c| c.is_whitespace()).count();
    }
    let rest = &characters[start..];
    let Some(inner) = key_characters(rest) else {
        return false;
    };
    let token: String = rest[..inner.end + inner.start].iter().collect();
    let name = match MarkedYaml::load_from_str(&token).map(|documents| documents.into_iter().next()) {
        Ok(Some(MarkedYaml {
            data: YamlData::Value(Guessed::String(name)),
            ..
        })) => name.into_owned(),
        Ok(Some(_)) => token,
        _ => return false,
    };
    // Of the characters for private use, one that the text has not.
    let free = ('\u{e000}'..='\u{f8ff}').find(|c| !characters.contains(c));
    let Some(stand_in) = free else { return false };
    characters[start..][inner].fill(stand_in);
    renamed.insert(stand_in, name);
    true
}

/// Where a key's own characters are at the start of this text, without quotes.
fn key_characters(rest: &[char]) -> Option<Range<usize>> {
    let quote = match rest.first()? {
        quote @ ('"' | '\'') => *quote,
        '*' | '[' | '{' | '?' | '|' | '>' => return None,
        _ => {
            let ends = |at: &usize| {
                rest[*at] == ':'
                    && rest
                        .get(at + 1)
                        .is_none_or(|c| c.is_whitespace() || matches!(c, ',' | ']' | '}'))
            };
            let colon = (0..rest.len()).find(ends)?;
            let length = rest[..colon].iter().rposition(|c| !c.is_whitespace())? + 1;
            return Some(0..length);
        }
    };
    let mut at = 1;
    loop {
        match rest.get(at)? {
            '\\' if quote == '"' => at += 2,
            c if *c == quote && quote == '\'' && rest.get(at + 1) == Some(&'\'') => at += 2,
            c if *c == quote => break,
            _ => at += 1,
        }
    }
    // An empty key has no character to change.
    (at > 1).then_some(1..at)
}
