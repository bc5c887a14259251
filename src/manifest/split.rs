//! The documents of a text, and how deep it nests, told by its lines alone: before a parser sees it.
//!
//! Each document is parsed by itself, so that a broken one does not hide the others. And the YAML library calls itself
//! once a level, so what nests too deep must never reach it.
use std::ops::Range;

/// The bytes of each document that is not empty.
///
/// `---` at the start of a line begins a document wherever it stands: YAML forbids it inside of texts.
pub(super) fn documents(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    let (mut content, mut begun) = (false, false);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if let Some(rest) = marker(line, "---") {
            // Comments and directives (`%YAML`) before it are this document's.
            if content || begun {
                if content {
                    found.push(start..at);
                }
                (start, content) = (at, false);
            }
            begun = true;
            content |= says_something(rest);
        } else if marker(line, "...").is_some() {
            if content {
                found.push(start..end);
            }
            (start, content, begun) = (end, false, false);
        } else {
            content |= says_something(line) && (begun || content || !line.starts_with('%'));
        }
        at = end;
    }
    if content {
        found.push(start..at);
    }
    found
}

fn marker<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    line.strip_prefix(marker)
        .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn says_something(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// More than this many levels by indentation or `- - -` are refused unparsed. Far above the real limit, as texts inside
/// of the document look like levels too; low enough for the smallest stack (a level costs the parser about 1 KiB).
const LEVELS: usize = 256;

/// Where a text seems to nest far too deep, if it does. Counts at least every second level that the parser would enter
/// (`- a:` are two), save those in brackets, which the parser bounds itself.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let mut column = line.len() - line.trim_start_matches([' ', '\t']).len();
        let mut rest = &line[column..];
        if !rest.trim_end().is_empty() {
            open.truncate(open.partition_point(|other| *other < column));
            open.push(column);
        }
        while let Some(word) = rest.split([' ', '\t', '\r', '\n']).next()
            && (matches!(word, "-" | "?" | ":" | "---") || word.starts_with(['&', '!']))
        {
            let after = &rest[word.len()..];
            let next = after.trim_start_matches([' ', '\t']);
            if next.trim_end().is_empty() {
                break;
            }
            column += rest.len() - next.len();
            open.push(column);
            rest = next;
        }
        if open.len() > LEVELS {
            return Some(at + column);
        }
        at += line.len();
    }
    None
}

/// How often the text names a map or list (`&name` before one), by its looks.
pub(super) fn anchors(text: &str) -> usize {
    let named = |(at, _): &(usize, &str)| {
        let before = text[..*at].chars().next_back();
        let rest = &text[at + 1..];
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}'));
        let after = rest[end.unwrap_or(rest.len())..].trim_start_matches([' ', '\t', '\r']);
        before.is_none_or(|c| c.is_whitespace() || matches!(c, '[' | '{' | ','))
            && end != Some(0)
            && after.starts_with(['\n', '[', '{', '#', '!'])
    };
    text.match_indices('&').filter(named).count()
}
