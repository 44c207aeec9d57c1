//! What the program says: text for people, or one JSON object a line.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::model::Position;
use crate::wire::CopyState;

/// A position, as it is said.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    generation: u64,
    epoch: u64,
    source: String,
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Self { generation: position.generation, epoch: position.epoch, source: position.source.to_string() }
    }
}

/// A copy at a publisher, as it is said.
#[derive(Serialize, Clone, Debug)]
pub(super) struct CopyLine {
    name: String,
    visible: Option<Place>,
    durable: Option<Place>,
    problem: Option<String>,
    drift: Option<u64>,
}

impl From<CopyState> for CopyLine {
    fn from(state: CopyState) -> Self {
        let CopyState { name, visible, durable, problem, drift } = state;
        Self { name, visible: visible.map(Into::into), durable: durable.map(Into::into), problem, drift }
    }
}

/// Something worth saying. In JSON, `event` is its name in snake case.
#[derive(Serialize, Clone, Debug)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Listening {
        address: String,
    },
    /// The source is compared with what is known of it.
    Scanning {
        position: Place,
    },
    Connected {
        address: String,
    },
    Disconnected {
        problem: String,
        retry_ms: u64,
    },
    Opened {
        copy: String,
        position: Option<Place>,
    },
    Visible {
        copy: String,
        position: Place,
    },
    Durable {
        copy: String,
        position: Place,
    },
    CopyInSync {
        copy: String,
        position: Place,
    },
    /// All copies of this process.
    InSync {
        position: Place,
    },
    Behind {
        copy: String,
        problem: String,
        retry_ms: u64,
    },
    /// Others have changed paths of the copy; not all of them are named. None so far when the total is 0.
    Drifted {
        copy: String,
        paths: Vec<String>,
        total: u64,
    },
    Stopped,
    Receipt {
        position: Place,
        is_dry_run: bool,
        is_complete: bool,
        paths: Vec<String>,
        is_cut_off: bool,
        copies: Vec<CopyLine>,
    },
    Done {
        what: &'static str,
        position: Place,
    },
    Status {
        position: Place,
        state: String,
        details: Vec<(String, String)>,
        copies: Vec<CopyLine>,
    },
    CopyStatus {
        copy: String,
        position: Option<Place>,
        state: String,
    },
    Finding {
        copy: String,
        path: String,
        difference: String,
    },
    Verified {
        copy: String,
        level: &'static str,
        source: Place,
        position: Option<Place>,
        differences: u64,
        read_before: u64,
        is_repaired: bool,
    },
    Error {
        message: String,
    },
}

impl Event {
    /// Said to people only when they watch: it comes with every change.
    fn is_progress(&self) -> bool {
        matches!(self, Self::Visible { .. } | Self::Durable { .. } | Self::CopyInSync { .. })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { address } => write!(f, "listening on {address}"),
            Self::Scanning { position } => write!(f, "comparing the source with generation {}", position.generation),
            Self::Connected { address } => write!(f, "connected to {address}"),
            Self::Disconnected { problem, retry_ms } => write!(f, "{problem}; next try in {:?}", Duration::from_millis(*retry_ms)),
            Self::Opened { copy, position: Some(position) } => write!(f, "{copy} is at generation {}", position.generation),
            Self::Opened { copy, position: None } => write!(f, "{copy} has no position; it will be compared with the source"),
            Self::Visible { copy, position } => write!(f, "{copy} shows generation {}", position.generation),
            Self::Durable { copy, position } => write!(f, "{copy} has generation {} for good", position.generation),
            Self::CopyInSync { copy, position } => write!(f, "{copy} is in sync at generation {}", position.generation),
            Self::InSync { position } => write!(f, "in sync at generation {}", position.generation),
            Self::Behind { copy, problem, retry_ms } => {
                write!(f, "{copy} stays where it is: {problem}; next try in {:?}", Duration::from_millis(*retry_ms))
            }
            Self::Drifted { copy, total: 0, .. } => write!(f, "{copy} is watched for changes that others make"),
            Self::Drifted { copy, paths, total } => {
                write!(f, "{copy}: another process changed {} ({total} paths so far); verify --repair brings them back", paths.join(", "))
            }
            Self::Stopped => f.write_str("stopped"),
            Self::Receipt { .. } => self.fmt_receipt(f),
            Self::Done { what, position } => write!(f, "{what} at generation {}", position.generation),
            Self::Status { position, state, details, copies } => {
                write!(f, "{state} at generation {} (epoch {} of source {})", position.generation, position.epoch, position.source)?;
                details.iter().try_for_each(|(name, value)| write!(f, "\n{name}: {value}"))?;
                copies.iter().try_for_each(|copy| write!(f, "\n{copy}"))
            }
            Self::CopyStatus { copy, position: Some(position), state } => {
                write!(
                    f,
                    "{copy} is {state} at generation {} (epoch {} of source {})",
                    position.generation, position.epoch, position.source
                )
            }
            Self::CopyStatus { copy, position: None, state } => write!(f, "{copy} is {state}"),
            Self::Finding { path, difference, .. } => write!(f, "{path}: {difference}"),
            Self::Verified { copy, level, source, differences: 0, .. } => {
                write!(f, "{copy} equals its source at generation {} ({level})", source.generation)
            }
            Self::Verified { copy, level, source, differences, is_repaired, .. } => {
                let repaired = if *is_repaired { ", repaired" } else { "" };
                write!(f, "{copy} differs from its source at generation {} in {differences} paths ({level}){repaired}", source.generation)
            }
            Self::Error { message } => write!(f, "treesync: {message}"),
        }
    }
}

impl Event {
    fn fmt_receipt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Receipt { position, is_dry_run, is_complete, paths, is_cut_off, copies } = self else { return Ok(()) };
        let verb = if *is_dry_run { "would change" } else { "changed" };
        paths.iter().try_for_each(|path| writeln!(f, "{verb}: {path}"))?;
        if *is_cut_off {
            writeln!(f, "… and more")?;
        }
        if *is_dry_run {
            return write!(f, "dry run: nothing was changed");
        }
        copies.iter().try_for_each(|copy| writeln!(f, "{copy}"))?;
        let has = if *is_complete { "every attached copy has" } else { "not every attached copy has" };
        write!(f, "{has} generation {}", position.generation)
    }
}

impl fmt::Display for CopyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = |place: &Option<Place>| place.as_ref().map_or_else(|| "none".to_owned(), |place| place.generation.to_string());
        write!(f, "copy {}: visible {}, durable {}", self.name, generation(&self.visible), generation(&self.durable))?;
        if let Some(drift) = self.drift.filter(|drift| *drift > 0) {
            write!(f, ", {drift} paths changed by others")?;
        }
        self.problem.as_ref().map_or(Ok(()), |problem| write!(f, ", behind: {problem}"))
    }
}

/// Where events go.
pub(super) struct Output {
    is_json: bool,
    is_terminal: bool,
    has_progress: AtomicBool,
}

impl Output {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, is_terminal: std::io::stderr().is_terminal(), has_progress: AtomicBool::new(false) }
    }

    /// Says it. Errors in text go to standard error; progress only to a terminal, on one line that is written over.
    pub(super) fn say(&self, event: &Event) {
        self.say_progress(event, event.is_progress());
    }

    /// As [`Output::say`], for an event that is progress or not depending on what was said before.
    pub(super) fn say_progress(&self, event: &Event, is_progress: bool) {
        // A reader that is gone is no reason to stop keeping copies in step.
        if self.is_json {
            let line = serde_json::to_string(event).unwrap_or_else(|error| format!("{{\"event\":\"error\",\"message\":\"{error}\"}}"));
            writeln!(std::io::stdout(), "{line}").ok();
        } else if is_progress {
            if self.is_terminal {
                self.has_progress.store(true, Ordering::Relaxed);
                write!(std::io::stderr(), "\r\x1b[K{event}").ok();
            }
        } else {
            if self.has_progress.swap(false, Ordering::Relaxed) {
                write!(std::io::stderr(), "\r\x1b[K").ok();
            }
            if matches!(event, Event::Error { .. }) {
                writeln!(std::io::stderr(), "{event}").ok();
            } else {
                writeln!(std::io::stdout(), "{event}").ok();
            }
        }
    }
}
