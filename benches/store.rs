//! What durable writes and watches cost through the API, over the Unix socket, beside what the disk allows:
//! `cargo bench --bench store` (`-- DIRECTORY` for another disk than the build directory's).
//!
//! The server and the clients are processes of their own, this program again. What is compared is measured by turns, each
//! turn on a new store, and told as medians over the turns.
//!
//! ```text
//! main ─► disk: append 1 KB, fdatasync ─► server (store, registry, HTTP) ◄─ socket ─ clients, watches
//! ```
#[path = "store/disk.rs"]
mod disk;
#[path = "store/load.rs"]
mod load;
#[path = "store/served.rs"]
mod served;
#[path = "store/wire.rs"]
mod wire;

use std::{error::Error, path::PathBuf, time::Duration};

use crate::served::Served;

type Failure = Box<dyn Error + Send + Sync>;

/// Turns of everything. More make the medians steadier, and it all take longer.
const TURNS: usize = 5;
/// How long each figure is measured in a turn.
const TURN: Duration = Duration::from_secs(1);
const MANY: usize = 64;
const WATCHES: usize = 100;
const EVENTS_A_SECOND: u64 = 1000;
const APPLIED: usize = 1000;

fn main() -> Result<(), Failure> {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", directory] => served::serve(directory.as_ref()),
        ["create", socket, clients, millis] => load::create(socket, clients.parse()?, millis.parse()?),
        ["watch", socket, watches, rate, millis] => {
            load::watch(socket, watches.parse()?, rate.parse()?, millis.parse()?)
        }
        ["apply", socket, objects] => load::apply(socket, objects.parse()?),
        [] => measure(concat!(env!("CARGO_TARGET_TMPDIR"), "/store").into()),
        [directory] => measure(PathBuf::from(directory).join("cube-bench")),
        _ => Err("usage: cargo bench --bench store [-- DIRECTORY]".into()),
    }
}

/// The figures of all turns.
#[derive(Default)]
struct Turns {
    disk: Vec<f64>,
    one: Vec<f64>,
    one_of_disk: Vec<f64>,
    many: Vec<f64>,
    many_cpu: Vec<f64>,
    from_request: Vec<f64>,
    from_answer: Vec<f64>,
    apply: Vec<f64>,
}

fn measure(directory: PathBuf) -> Result<(), Failure> {
    let mut turns = Turns::default();
    for turn in 1..=TURNS {
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)?;
        let server = Served::start(&directory)?;
        let before = disk::appends_a_second(&directory, TURN / 2)?;
        let one = server.client("create", &["1", &TURN.as_millis().to_string()])?;
        let after = disk::appends_a_second(&directory, TURN / 2)?;
        let disk = (before + after) / 2.0;
        let cpu = server.cpu_seconds()?;
        let many = server.client("create", &[&MANY.to_string(), &TURN.as_millis().to_string()])?;
        let cpu = server.cpu_seconds()? - cpu;
        let watch = server.client(
            "watch",
            &[
                &WATCHES.to_string(),
                &EVENTS_A_SECOND.to_string(),
                &(TURN * 2).as_millis().to_string(),
            ],
        )?;
        let apply = server.client("apply", &[&APPLIED.to_string()])?;
        drop(server);
        eprintln!(
            "turn {turn} of {TURNS}: disk {disk:.0}/s, 1 client {:.0}/s, {MANY} clients {:.0}/s, watches {:.1} ms, apply {:.0} ms",
            one[0], many[0], watch[0], apply[0]
        );
        turns.disk.push(disk);
        turns.one.push(one[0]);
        turns.one_of_disk.push(one[0] / disk);
        turns.many.push(many[0]);
        turns.many_cpu.push(cpu / many[1] * 1e6);
        turns.from_request.push(watch[0]);
        turns.from_answer.push(watch[1]);
        turns.apply.push(apply[0]);
    }
    std::fs::remove_dir_all(&directory)?;
    println!("append and fdatasync of 1 KB    {:>10.0} /s", median(turns.disk));
    println!("creates, 1 client               {:>10.0} /s", median(turns.one));
    println!("  of append and fdatasync       {:>10.2}", median(turns.one_of_disk));
    println!("creates, {MANY} clients             {:>10.0} /s", median(turns.many));
    println!(
        "  the server's time on a core   {:>10.0} µs each",
        median(turns.many_cpu)
    );
    println!("{WATCHES} watches, {EVENTS_A_SECOND} events a second, p99");
    println!(
        "  from sending the request      {:>10.1} ms",
        median(turns.from_request)
    );
    println!("  from its answer               {:>10.1} ms", median(turns.from_answer));
    println!("{APPLIED} unchanged, applied again    {:>10.0} ms", median(turns.apply));
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
