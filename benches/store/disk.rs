//! What the disk allows: append 1 KB, sync, again.
use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use crate::Failure;

pub fn appends_a_second(directory: &Path, duration: Duration) -> Result<f64, Failure> {
    let path = directory.join("appended");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let piece = [b'x'; 1024];
    let (begun, mut appends) = (Instant::now(), 0);
    while begun.elapsed() < duration {
        file.write_all(&piece)?;
        file.sync_data()?;
        appends += 1;
    }
    let rate = f64::from(appends) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
