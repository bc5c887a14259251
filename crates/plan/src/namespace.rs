//! What a Namespace that is being deleted asks for: what is in it goes, then the Namespace itself.
use cube_api::meta::ObjectMeta;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is not being deleted: nothing.
    Stays,
    /// These of its objects are to be deleted, in the order of the look; each stands for itself.
    Empty(Vec<usize>),
    /// So many of its objects have to be gone first, and all of them are on their way.
    Waits(usize),
    /// It is empty: nothing holds it any more.
    Release,
}

/// What is to be done about a Namespace and the objects in it.
pub fn decide(namespace: &ObjectMeta, objects: &[&ObjectMeta]) -> Decision {
    if !namespace.is_deleting() {
        return Decision::Stays;
    }
    if objects.is_empty() {
        return Decision::Release;
    }
    let there = objects.iter().enumerate().filter(|(_, meta)| !meta.is_deleting());
    let there: Vec<usize> = there.map(|(index, _)| index).collect();
    if there.is_empty() {
        Decision::Waits(objects.len())
    } else {
        Decision::Empty(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_emptied_then_goes() {
        let live = ObjectMeta::default();
        let going = ObjectMeta {
            deletion_timestamp: Some(jiff::Timestamp::UNIX_EPOCH),
            ..ObjectMeta::default()
        };
        assert_eq!(decide(&live, &[&live]), Decision::Stays);
        assert_eq!(decide(&going, &[&live, &going, &live]), Decision::Empty(vec![0, 2]));
        assert_eq!(decide(&going, &[&going]), Decision::Waits(1));
        assert_eq!(decide(&going, &[]), Decision::Release);
    }
}
