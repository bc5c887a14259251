//! The forms that a text can be asked to have: the schema's `format`, as a function and a sentence.
//!
//! To add one: a row in [`FORMATS`] and a function. A `format` that is not here is not checked (`uint16`, `date-time`).

use crate::quantity::Quantity;

/// A named form of text.
#[derive(Debug)]
pub struct Format {
    /// What the schema's `format` says.
    pub name: &'static str,
    /// What a text must be, for people: continues `must be`.
    pub what: &'static str,
    /// Whether a text has this form.
    pub matches: fn(&str) -> bool,
}

/// All forms.
pub const FORMATS: &[Format] = &[
    Format {
        name: "quantity",
        what: "a quantity, such as 500m, 1.5, 64Mi or 2G",
        matches: quantity,
    },
    Format {
        name: "dns-label",
        what: "at most 63 lowercase letters, digits or `-`, with a letter or digit at each end",
        matches: dns_label,
    },
    Format {
        name: "dns-subdomain",
        what: "at most 253 lowercase letters, digits, `-` or `.`, with a letter or digit at each end and around each dot",
        matches: dns_subdomain,
    },
    Format {
        name: "label-key",
        what: "a name of at most 63 letters, digits, `-`, `_` or `.`, which a domain and `/` may precede",
        matches: label_key,
    },
    Format {
        name: "label-value",
        what: "empty, or at most 63 letters, digits, `-`, `_` or `.`, with a letter or digit at each end",
        matches: label_value,
    },
    Format {
        name: "duration",
        what: "a duration, such as 30s, 5m or 1h30m",
        matches: duration,
    },
    Format {
        name: "image",
        what: "an image, such as nginx:1.27 or registry.example.com/team/app:2 (in lower case, no spaces, no `https://`)",
        matches: image,
    },
    Format {
        name: "absolute-path",
        what: "an absolute path, such as /data, without `..`",
        matches: absolute_path,
    },
    Format {
        name: "env-name",
        what: "a variable's name: not empty, no `=`, no spaces",
        matches: env_name,
    },
    Format {
        name: "int-or-percent",
        what: "a whole number, or a share such as 25%",
        matches: int_or_percent,
    },
];

/// The format of this name.
pub fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// As whoever reads it later: a form that takes more lets in what cannot be decoded.
fn quantity(text: &str) -> bool {
    Quantity::parse(text).is_ok()
}

fn dns_label(text: &str) -> bool {
    text.len() <= 63 && lowercase_word(text)
}

fn dns_subdomain(text: &str) -> bool {
    // A part may be longer than a label, as in Kubernetes: only the whole is bounded.
    text.len() <= 253 && text.split('.').all(lowercase_word)
}

fn lowercase_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn label_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63 && text.bytes().all(inner) && end(bytes.first()) && end(bytes.last())
}

fn label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => dns_subdomain(domain) && label_name(name),
        None => label_name(text),
    }
}

fn label_value(text: &str) -> bool {
    text.is_empty() || label_name(text)
}

fn duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        if digits == 0 || rest[..digits].parse::<f64>().is_err() {
            return false;
        }
        rest = &rest[digits..];
        // `ms` before `m`: the longer unit first.
        let Some(after) = ["ms", "s", "m", "h", "d"]
            .iter()
            .find_map(|unit| rest.strip_prefix(unit))
        else {
            return false;
        };
        rest = after;
    }
    !text.is_empty()
}

/// A reference by the grammar of the distribution project: `[host[:port]/]name[:tag][@digest]`.
fn image(text: &str) -> bool {
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    let tag_at = named.rfind(':').filter(|at| !named[*at..].contains('/'));
    let (name, tag) = match tag_at {
        Some(at) => (&named[..at], Some(&named[at + 1..])),
        None => (named, None),
    };
    let path = match name.split_once('/') {
        // As docker does: what looks like a host is one.
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host != host.to_lowercase() => {
            if !registry(host) {
                return false;
            }
            path
        }
        _ => name,
    };
    name.len() <= 255 && path.split('/').all(image_part) && tag.is_none_or(image_tag) && digest.is_none_or(image_digest)
}

fn registry(host: &str) -> bool {
    let (host, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    !host.is_empty() && host.bytes().all(letters) && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Lower-case letters and digits, with `.`, `_`, `__` or dashes between them.
fn image_part(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(inner) && part.bytes().last().is_some_and(inner);
    let between = |joint: &str| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-');
    ends && part.split(|c: char| c.is_ascii() && inner(c as u8)).all(between)
}

fn image_tag(tag: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&tag.len()) && tag.bytes().all(inner) && !tag.starts_with(['.', '-'])
}

fn image_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn absolute_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains('\0') && !text.split('/').any(|part| part == "..")
}

fn env_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control())
}

fn int_or_percent(text: &str) -> bool {
    let digits = text.strip_suffix('%').unwrap_or(text);
    (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}
