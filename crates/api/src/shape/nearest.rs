//! The nearest right name to a wrong one.

/// The candidate that was most likely meant: the same but for case, `-` and `_`, or few slips away (letters added, left
/// out, replaced, or two swapped). None if nothing is near. Of equally near ones the first.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name far longer than any of ours is no slip, and comparing it would cost.
    if given.len() > 64 {
        return None;
    }
    let given = plain(given);
    // A third of the letters: fewer miss `imgae`, more would find `port` for `host`.
    let allowed = (given.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (slips(&given, &plain(candidate)), candidate))
        .filter(|(slips, candidate)| *slips <= allowed && *slips < candidate.len())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

fn plain(name: &str) -> Vec<char> {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Edit distance in which swapping two neighbours counts once (optimal string alignment).
fn slips(a: &[char], b: &[char]) -> usize {
    let mut two_above: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(two_above[j - 2] + 1);
            }
            row.push(best);
        }
        two_above = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
