//! How much a document's aliases (`*name`) stand for, counted before anything is copied.
//!
//! The YAML library bounds that itself, but takes a map's key for one value, though it may be a list of aliases too: so a
//! bomb of half a KiB whose maps are keys would go through. Here all is counted, by the parser's events alone.
use std::collections::BTreeMap;

use saphyr_parser::{BufferedInput, Event, Parser};

/// Values that the aliases of a document may stand for. Each takes some hundred bytes; people write some hundred.
pub(super) const MOST: usize = 20_000;

/// The character of the alias with which it is more than [`MOST`], if it is.
pub(super) fn too_many(text: &str) -> Option<usize> {
    if !text.contains('*') {
        return None;
    }
    let (mut sizes, mut open, mut copied) = (BTreeMap::<usize, usize>::new(), Vec::<(usize, usize)>::new(), 0_usize);
    for event in Parser::new(BufferedInput::new(text.chars())) {
        // What is wrong with it is told by who reads it.
        let (event, span) = event.ok()?;
        let (name, size) = match event {
            Event::Alias(name) => {
                let size = sizes.get(&name).copied().unwrap_or(1);
                copied += size;
                if copied > MOST {
                    return Some(span.start.index());
                }
                (0, size)
            }
            Event::Scalar(_, _, name, _) => (name, 1),
            Event::SequenceStart(name, _) | Event::MappingStart(name, _) => {
                open.push((name, 1));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
        };
        if name != 0 {
            sizes.insert(name, size);
        }
        if let Some((_, around)) = open.last_mut() {
            *around += size;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each level stands for nine times the one before.
    fn bomb(level: impl Fn(&str) -> String) -> String {
        let mut text = format!("a0: &a0 {}\n", level("x"));
        for n in 1..9 {
            text += &format!("a{n}: &a{n} {}\n", level(&format!("*a{}", n - 1)));
        }
        text
    }

    #[test]
    fn bombs_are_seen_wherever_they_are() {
        let nine = |of: &str| [of; 9].join(", ");
        for (name, text) in [
            ("lists", bomb(|of| format!("[{}]", nine(of)))),
            ("keys", bomb(|of| format!("{{? [{}] : 1}}", nine(of)))),
            ("values", bomb(|of| format!("{{k: [{}]}}", nine(of)))),
            (
                "one large thing, often",
                format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1000), "*a, ".repeat(100)),
            ),
        ] {
            assert!(text.len() < 4000, "{name}");
            assert!(too_many(&text).is_some(), "{name}");
        }
        for text in [
            "a: *b\n",
            "a: &a [x]\nb: [*a, *a]\n",
            "a: '*'\n",
            "a: [*\n",
            &"- *a\n".repeat(1000),
        ] {
            assert_eq!(too_many(text), None, "{text}");
        }
        let honest = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(100), "*a, ".repeat(100));
        assert_eq!(too_many(&honest), None);
    }
}
