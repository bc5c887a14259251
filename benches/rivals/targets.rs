//! What each ratio is to be: known before anything was measured, and never fitted to what was.
use cube_bench::report::Row;

use crate::side::Side;

/// Sets the target of a figure's row, where there is one.
pub fn judge(row: Row, bench: &str, figure: &str, side: Side) -> Row {
    match (bench, figure, side) {
        ("B1", "30 up", Side::Cube) => row.at_most(1.10),
        ("B1", "30 up", Side::Swarm) => row.at_least(3.0),
        ("B1", "30 up", Side::Compose) => row.at_least(1.5),
        ("B6", "30 that obey: none is left", Side::Cube) => row.at_most(1.10),
        ("B6", "30 that obey: none is left", Side::Swarm) => row.at_least(3.5),
        ("B6", "30 that obey: none is left", Side::Compose) => row.at_least(1.5),
        // Its grace, and two seconds.
        ("B6", "30 that ignore TERM, grace 10 s: none is left", Side::Cube) => row.by_itself().at_most(12_000.0),
        (_, figure, _) if figure.ends_with(": leftovers") => row.by_itself().at_most(0.0),
        _ => row,
    }
}
