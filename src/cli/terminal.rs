//! The terminal that a person sits at, while a program elsewhere has it: each key goes to the program, as it is.
//!
//! However it ends, the terminal is given back as it was: on the way out, in a panic, and by whoever handles signals.
use std::io::IsTerminal as _;
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{self, OptionalActions, Termios};

use crate::engine::TerminalSize;

/// As it was; kept where a panic finds it, which drops nothing in a build that aborts.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static ON_PANIC: Once = Once::new();

/// Whether there is somebody at a terminal.
pub fn is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// Its size, if it has one.
pub fn size() -> Option<TerminalSize> {
    let size = termios::tcgetwinsize(std::io::stdin()).ok()?;
    Some(TerminalSize {
        width: size.ws_col,
        height: size.ws_row,
    })
    .filter(|size| size.width > 0 && size.height > 0)
}

/// A terminal that passes everything on, until this is dropped.
pub struct Raw(());

impl Raw {
    /// Makes it so.
    ///
    /// # Errors
    /// When there is none.
    pub fn begin() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        ON_PANIC.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                next(panic);
            }));
        });
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // Where the terminal is gone there is nothing to give back.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}
