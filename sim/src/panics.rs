//! Panics of a run: a process that one has happened to would have died.
use std::cell::RefCell;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has panics noted instead of printed.
pub fn note_them() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture().to_string();
        // The frames of ours say enough.
        let ours: Vec<&str> = backtrace
            .lines()
            .filter(|line| line.contains("src/"))
            .take(12)
            .collect();
        LAST.set(Some(format!("{panic}\n{}", ours.join("\n"))));
    }));
}

/// What panicked since it was last asked.
pub fn take() -> Option<String> {
    LAST.take()
}
