//! What each ratio is to be: known before anything was measured, and never fitted to what was.
use cube_bench::report::Row;

use crate::side::Side;

/// Sets the target of a figure's row, where there is one.
pub fn judge(row: Row, bench: &str, figure: &str, side: Side) -> Row {
    match (bench, figure, side) {
        ("B1", "30 up" | "30 up as objects of one each", Side::Cube) => row.at_most(1.10),
        ("B1", "30 up" | "30 up as objects of one each", Side::Swarm) => row.at_least(3.0),
        ("B1", "30 up" | "30 up as objects of one each", Side::Compose) => row.at_least(1.5),
        ("B2", "30 up on a bridge of their own", Side::Cube) => row.at_most(1.08),
        ("B2", "30 up on a bridge of their own", Side::Compose) => row.at_least(1.0),
        ("B2", "  first of 30 on a bridge of their own", Side::Cube) => row.by_itself().at_most(500.0),
        ("B3", "100 up" | "200 up", Side::Swarm | Side::Compose) => row.at_least(2.0),
        ("B4", "30 objects applied again", Side::Cube) => row.at_most(12.0),
        ("B4", "30 objects applied again", Side::Compose) => row.at_least(50.0),
        ("B4", "1000 objects applied again", Side::Cube) => row.at_most(60.0),
        ("B4", figure, Side::Cube) if figure.contains("again: ") => row.at_most(0.0),
        ("B5", _, Side::Cube) => row.by_itself().at_most(250.0),
        ("B5", _, Side::Swarm) => row.at_least(20.0),
        ("B5", _, Side::SwarmAtOnce) => row.at_least(2.5),
        ("B6", "30 that obey: none is left", Side::Cube) => row.by_itself().at_most(2_000.0),
        ("B6", "30 that obey: none is left", Side::Swarm) => row.at_least(3.5),
        ("B6", "30 that obey: none is left", Side::Compose) => row.at_least(1.5),
        // Their grace, and two seconds.
        ("B6", "30 that ignore TERM, grace 10 s: none is left", Side::Cube) => row.by_itself().at_most(12_000.0),
        ("B7", "cube's process: resident", _) => row.at_most(20.0),
        ("B7", "cube's process: processor", _) => row.at_most(0.1),
        ("B8", "start on an empty store, to the first write acknowledged", Side::Cube) => row.at_most(50.0),
        ("B8", "started again with 10000 objects, to them listed", Side::Cube) => row.at_most(300.0),
        ("B9", "1 client: creates", Side::Cube) => row.at_least(0.8),
        ("B9", "64 clients: creates", Side::Cube) => row.by_itself().at_least(15_000.0),
        ("B9", "64 clients: a create, p99", Side::Cube) => row.by_itself().at_most(5.0),
        ("B12", _, Side::Cube) => row.p99().at_most(30.0),
        ("B13", "cube killed and started, to it saying that all run", _) => row.at_most(300.0),
        ("B13", "cube killed and started: containers touched", _) => row.at_most(0.0),
        ("B14", "20 replaced", Side::Swarm) => row.at_least(1.5),
        ("B14", "20 replaced: running at the least", Side::Cube) => row.at_least(20.0),
        (_, figure, Side::Cube) if figure.ends_with(": leftovers") => row.by_itself().at_most(0.0),
        _ => row,
    }
}
