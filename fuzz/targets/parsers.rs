//! Every parser of a short text: what one takes, another that stands behind it must take too, and mean the same.
use std::collections::BTreeMap;

use cube::{
    client::{Endpoint, is_loopback},
    engine::Reference,
    registry::FieldSelector,
};
use cube_api::{
    deployment::IntOrPercent,
    error::{FieldPath, Reason},
    kinds::Kind,
    probe::PortReference,
    quantity::Quantity,
    selector::Selector,
    shape::{formats::FORMATS, nearest},
};
use serde_json::{Value, json};

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    formats(text);
    quantity(text);
    selectors(text);
    path(text);
    others(text);
}

/// Whether the form of this name has the text.
fn has_form(name: &str, text: &str) -> bool {
    let format = FORMATS.iter().find(|format| format.name == name);
    (format.expect("the form is there").matches)(text)
}

fn formats(text: &str) {
    for format in FORMATS {
        let taken = (format.matches)(text);
        // Paths may be of any bytes but NUL, and are tamed where they are shown.
        let acts = format.name != "absolute-path" && text.contains(|c: char| c.is_control());
        assert!(!(taken && acts), "{}: {text:?}", format.name);
    }
    assert!(!has_form("absolute-path", text) || !text.split('/').any(|part| part == ".."));
}

fn quantity(text: &str) {
    let read = Quantity::parse(text);
    assert_eq!(
        read.is_ok(),
        has_form("quantity", text),
        "form and parser disagree about {text:?}: {read:?}"
    );
    let Ok(quantity) = read else { return };
    let written = serde_json::to_value(&quantity).expect("a quantity can be written");
    assert_eq!(written, json!(text), "it stays as it was written");
    assert_eq!(
        serde_json::from_value::<Quantity>(written).expect("and is read back"),
        quantity
    );
    if let Ok(canonical) = Quantity::parse(&quantity.canonical()) {
        assert_eq!(canonical, quantity, "{text}");
    }
    assert!(quantity.milli() <= quantity.units().saturating_mul(1000), "{text}");
    assert!(!quantity.is_negative() || quantity.milli() == 0);
    let amount = quantity.milli();
    if amount < u64::MAX {
        assert_eq!(Quantity::from_milli(amount).milli(), amount);
    }
    assert_eq!(Quantity::bytes(amount).units(), amount);
}

fn selectors(text: &str) {
    let labels: BTreeMap<String, String> = [("app", "web"), ("tier", "")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    if let Ok(selector) = Selector::parse(text) {
        assert!(!selector.is_empty() || selector.matches(&labels), "{text:?}");
        // Said twice is said once.
        let doubled = Selector::parse(&format!("{text},{text}")).expect("a comma means and");
        assert_eq!(doubled.matches(&labels), selector.matches(&labels), "{text:?}");
    }
    for kind in Kind::ALL {
        if let Ok(selector) = FieldSelector::parse(*kind, text)
            && let Some(name) = selector.only_name()
        {
            assert!(text.contains(name));
        }
    }
}

fn path(text: &str) {
    if let Ok(path) = text.parse::<FieldPath>() {
        let shown = path.to_string();
        let again: FieldPath = shown.parse().expect("what is shown is read back");
        assert_eq!(again.to_string(), shown, "{text:?}");
    }
    let of_a_stray_field = FieldPath::root().field("spec").field(text).index(1).key(text);
    let shown = of_a_stray_field.to_string();
    let again = shown.parse::<FieldPath>().expect("what is shown is read back");
    assert_eq!(again.to_string(), shown);
    assert!(again.leaf().is_none_or(|leaf| leaf == text));
}

fn others(text: &str) {
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint.clone()));
        if let Endpoint::Loopback(authority) = &endpoint {
            let host = authority.rsplit_once(':').map_or("", |(host, _)| host);
            assert!(is_loopback(host), "{authority:?} is elsewhere");
        }
    }
    if let Ok(share) = IntOrPercent::parse(text) {
        let written = serde_json::to_value(share).expect("a share can be written");
        assert_eq!(serde_json::from_value::<IntOrPercent>(written).ok(), Some(share));
        assert!(share.floor_of(u32::MAX) <= share.ceil_of(u32::MAX));
    }
    assert!(
        !has_form("int-or-percent", text) || IntOrPercent::parse(text).is_ok(),
        "{text:?}"
    );
    if let Ok(value) = serde_json::from_str::<Value>(text)
        && let Ok(port) = serde_json::from_value::<PortReference>(value)
    {
        let written = serde_json::to_value(&port).expect("a port can be written");
        assert_eq!(serde_json::from_value::<PortReference>(written).ok(), Some(port));
    }
    let image = Reference::parse(text);
    assert!(!image.registry.is_empty() && text.contains(image.name) && image.name.contains(image.repository()));
    assert!(image.canonical().starts_with(image.repository()), "{text:?}");
    if let Some(kind) = Kind::from_name(text) {
        assert_eq!(Kind::from_name(kind.info().plural), Some(kind));
    }
    if let Some(reason) = Reason::from_k8s(text) {
        assert_eq!(Reason::from_k8s(reason.as_k8s()), Some(reason));
    }
    assert!(
        nearest(text, ["spec", "metadata"]).is_none_or(|meant| meant != text || text == "spec" || text == "metadata")
    );
}
