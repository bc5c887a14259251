//! How long a loop may have a thread at a time: who has much to do lets others have their turn in between.
//!
//! tokio switches only where something is waited for. On a machine of two cores two loops that decide for half a second would
//! hold up everybody who asks for something. It takes no turn away from anybody, and changes nothing of what is decided: in a
//! simulation, where deciding takes no time, it never lets go.
use std::time::Duration;

use tokio::{task::yield_now, time::Instant};

/// Less costs more switches, which take a microsecond; more is felt by who asks for something.
const SLICE: Duration = Duration::from_millis(2);

/// A loop's time on a thread.
pub struct Slice(Instant);

impl Slice {
    /// It begins now.
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Lets others have their turn, if the time is over. To be called after each small piece of work.
    pub async fn share(&mut self) {
        if self.0.elapsed() >= SLICE {
            yield_now().await;
            *self = Self::begin();
        }
    }
}
