//! `treesync subscribe`: keeps copies in step until it is stopped.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use super::arguments::{Subscribe, Travel};
use super::output::{Event, Output};
use super::{Outcome, asked_to_stop};
use crate::apply::CopyOptions;
use crate::model::{Position, RuleOptions, Rules};
use crate::session::{Notice, Session, Settings, copy_at, watched_copy_at};

/// Paths of one event that are named; there may be thousands.
const PATHS_SAID: usize = 20;

/// The rules that arguments ask for.
pub(super) fn rules(travel: Travel, preserve_on_copies: Vec<String>) -> anyhow::Result<Rules> {
    let Travel { exclude, allow_setuid, allow_capabilities, more_xattrs } = travel;
    Ok(Rules::new(RuleOptions { exclude, preserve_on_copies, allow_setuid, allow_capabilities, more_xattrs })?)
}

pub(super) async fn subscribe(arguments: Subscribe, output: &Output) -> anyhow::Result<Outcome> {
    let Subscribe { from, directories, travel, preserve, adopt, watch_drift, once, spool, tls } = arguments;
    let options = CopyOptions { rules: Arc::new(rules(travel, preserve)?), adopt, ..CopyOptions::default() };
    let mut copies = Vec::new();
    for directory in distinct(directories)? {
        let open = if watch_drift { watched_copy_at } else { copy_at };
        copies.push((directory.display().to_string(), open(directory, options.clone())));
    }
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("a name for the session")?;
    let count = copies.len();
    let jitter =
        || u32::try_from(RandomState::new().build_hasher().finish() >> 32).map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX));
    let (address, tls, session) = (from, tls.source(), uuid.trim().to_owned());
    let settings = Settings {
        address,
        server_name: None,
        source: String::new(),
        tls,
        session,
        copies,
        spool_directory: spool,
        jitter: Box::new(jitter),
    };
    let (sender, notices) = mpsc::unbounded_channel();
    let running = Session::start(settings, sender).context("cannot keep the copies in step")?;
    let stopped = tokio::select! {
        stopped = asked_to_stop() => stopped,
        () = tell(notices, count, once, output) => Ok(()),
    };
    running.stop().await.context("cannot keep the copies in step")?;
    stopped.context("cannot wait for signals")?;
    output.say(&Event::Stopped);
    Ok(Outcome::Good)
}

/// Each directory once, by its real path.
fn distinct(directories: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    let mut real: Vec<PathBuf> = Vec::new();
    for directory in directories {
        let path = std::fs::canonicalize(&directory).with_context(|| format!("copy {} cannot be used", directory.display()))?;
        if real.contains(&path) {
            bail!("copy {} is named twice", path.display());
        }
        real.push(path);
    }
    Ok(real)
}

/// Says what the session tells. Ready when all copies are in sync and that was all to be done.
async fn tell(mut notices: mpsc::UnboundedReceiver<Notice>, count: usize, once: bool, output: &Output) {
    let mut in_sync: BTreeMap<String, Position> = BTreeMap::new();
    let mut said = None;
    while let Some(notice) = notices.recv().await {
        match &notice {
            Notice::Opened { copy, .. } => drop(in_sync.remove(copy)),
            // Nobody wants to read once a second that nothing happens.
            Notice::InSync { copy, position } if in_sync.insert(copy.clone(), *position) == Some(*position) => continue,
            _ => {}
        }
        output.say(&event(notice));
        let mut positions = in_sync.values();
        let first = positions.next().copied();
        let Some(position) = first.filter(|first| in_sync.len() == count && in_sync.values().all(|other| other == first)) else { continue };
        if said != Some(position) {
            said = Some(position);
            output.say(&Event::InSync { position: position.into() });
        }
        if once {
            return;
        }
    }
}

fn event(notice: Notice) -> Event {
    let retry_ms = |retry: std::time::Duration| u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
    match notice {
        Notice::Opened { copy, position } => Event::Opened { copy, position: position.map(Into::into) },
        Notice::Visible { copy, position } => Event::Visible { copy, position: position.into() },
        Notice::Durable { copy, position } => Event::Durable { copy, position: position.into() },
        Notice::InSync { copy, position } => Event::CopyInSync { copy, position: position.into() },
        Notice::Behind { copy, problem, retry } => Event::Behind { copy, problem, retry_ms: retry_ms(retry) },
        Notice::Drifted { copy, paths, total } => {
            Event::Drifted { copy, paths: paths.iter().take(PATHS_SAID).map(ToString::to_string).collect(), total }
        }
        Notice::Connected { address } => Event::Connected { address: address.to_string() },
        Notice::Disconnected { problem, retry } => Event::Disconnected { problem, retry_ms: retry_ms(retry) },
    }
}
