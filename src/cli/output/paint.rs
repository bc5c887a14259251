//! Colours by their meaning.

/// What a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Nothing particular.
    #[default]
    Plain,
    /// A heading.
    Heading,
    /// As it should be.
    Good,
    /// On its way.
    Waiting,
    /// Not as it should be.
    Bad,
    /// Of less weight.
    Dim,
    /// The word before an error.
    Error,
    /// The word before a warning.
    Warning,
    /// The word before a note or hint.
    Note,
    /// One of several, told apart by colour alone.
    Series(usize),
}

impl Style {
    /// The text in this style.
    pub fn paint(self, text: &str, colour: bool) -> String {
        match self.code() {
            Some(code) if colour && !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    fn code(self) -> Option<&'static str> {
        // Cyan, yellow, green, magenta, blue, and the bright ones: none of them means an error.
        const SERIES: [&str; 10] = ["36", "33", "32", "35", "34", "96", "93", "92", "95", "94"];
        Some(match self {
            Self::Plain => return None,
            Self::Heading => "1",
            Self::Good => "32",
            Self::Waiting => "33",
            Self::Bad => "31",
            Self::Dim => "2",
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Note => "1;36",
            Self::Series(at) => SERIES[at % SERIES.len()],
        })
    }

    /// The style of a word of state.
    pub fn of_state(word: &str) -> Self {
        match word {
            "Running" | "Completed" | "Ready" | "True" | "Active" | "InStep" | "yes" => Self::Good,
            "Pending" | "Scheduled" | "Pulling" | "Creating" | "Starting" | "Stopping" | "Terminating" | "Unknown"
            | "WaitsForYes" | "Warning" => Self::Waiting,
            "Failed" | "Error" | "BackOff" | "Backoff" | "ImagePullBackOff" | "OOMKilled" | "Unschedulable"
            | "False" | "NotReady" | "StartError" | "PortInUse" | "Errors" | "DirectoryGone" => Self::Bad,
            _ => Self::Plain,
        }
    }
}
