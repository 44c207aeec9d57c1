//! A source that does what a test says, for what a real one does only by chance.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use treesync::model::{Batch, ContentHash, Entry, Kind, Mtime, Position, Put, SourceId, TreePath, Wanted};
use treesync::publish::{Changed, Limit, Step};
use treesync::wire::{Source, SourceError, SourceStatus, Steps};

pub(crate) const ID: SourceId = SourceId([7; 16]);

pub(crate) fn at(generation: u64) -> Position {
    Position { source: ID, epoch: 1, generation }
}

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::parse(text).expect("a good path")
}

pub(crate) fn put(text: &str, kind: Kind) -> Put {
    let mtime = Mtime::default();
    let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime, link_target: Vec::new(), xattrs: Vec::new(), link_group: 0 };
    Put { path: path(text), entry, content_generation: 1, inline: None, held_at: None, delta: None, data_bytes: None }
}

pub(crate) fn file(bytes: &[u8]) -> Kind {
    Kind::File { size_bytes: bytes.len() as u64, content: ContentHash::of(bytes) }
}

pub(crate) fn batch(from: u64, puts: Vec<Put>) -> Batch {
    Batch { source: ID, epoch: 1, from, to: from + 1, is_last_part: true, structure: Vec::new(), puts }
}

/// A source whose steps and files a test sets. Clones are the same source.
#[derive(Clone, Default)]
pub(crate) struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    steps: Vec<Step>,
    followers: Vec<Sender<Step>>,
    files: BTreeMap<TreePath, Vec<u8>>,
    generation: u64,
    opened: Vec<TreePath>,
    since: Vec<Option<Position>>,
}

impl Scripted {
    /// Gives a step to all that follow now or later.
    pub(crate) fn step(&self, step: Step) {
        let mut script = self.0.lock().expect("not poisoned");
        script.followers.retain(|follower| follower.send(step.clone()).is_ok());
        script.steps.push(step);
    }

    pub(crate) fn hold(&self, text: &str, bytes: &[u8]) {
        self.0.lock().expect("not poisoned").files.insert(path(text), bytes.to_vec());
    }

    /// Those who come later see only what comes later.
    pub(crate) fn forget_steps(&self) {
        self.0.lock().expect("not poisoned").steps.clear();
    }

    /// How often the bytes of a path were asked for.
    pub(crate) fn opened(&self, text: &str) -> usize {
        let opened = path(text);
        self.0.lock().expect("not poisoned").opened.iter().filter(|path| **path == opened).count()
    }

    /// From where each stream was asked for.
    pub(crate) fn asked_since(&self) -> Vec<Option<Position>> {
        self.0.lock().expect("not poisoned").since.clone()
    }

    fn position(&self) -> Position {
        at(self.0.lock().expect("not poisoned").generation)
    }
}

struct Followed(Receiver<Step>);

impl Steps for Followed {
    fn next(&mut self, timeout: Duration) -> Result<Option<Step>, SourceError> {
        match self.0.recv_timeout(timeout) {
            Ok(step) => Ok(Some(step)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(SourceError::Failed("the source is closed".to_owned())),
        }
    }
}

impl Source for Scripted {
    fn subscribe(&self, _: &Limit, since: Option<Position>) -> Result<Box<dyn Steps>, SourceError> {
        let (sender, receiver) = channel();
        let mut script = self.0.lock().expect("not poisoned");
        for step in &script.steps {
            sender.send(step.clone()).expect("the receiver is here");
        }
        script.since.push(since);
        script.followers.push(sender);
        Ok(Box::new(Followed(receiver)))
    }

    fn open(&self, _: &Limit, wanted: &Wanted) -> Result<Option<Box<dyn Read + Send>>, SourceError> {
        let mut script = self.0.lock().expect("not poisoned");
        script.opened.push(wanted.path.clone());
        let Some(bytes) = script.files.get(&wanted.path) else { return Ok(None) };
        let start = usize::try_from(wanted.offset_bytes).expect("small");
        Ok(Some(Box::new(Cursor::new(bytes[start.min(bytes.len())..].to_vec()))))
    }

    fn push(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, SourceError> {
        if path.as_bytes() == b"missing" {
            return Err(SourceError::Refused("path \"missing\" does not exist in the source".to_owned()));
        }
        if !is_dry_run {
            self.0.lock().expect("not poisoned").generation += 1;
        }
        Ok(Changed { position: self.position(), paths: vec![path.clone()] })
    }

    fn delete(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, SourceError> {
        self.push(path, is_dry_run)
    }

    fn checkpoint(&self) -> Result<Position, SourceError> {
        Ok(self.position())
    }

    fn rescan(&self) -> Result<Position, SourceError> {
        Ok(self.position())
    }

    fn status(&self) -> SourceStatus {
        SourceStatus { position: self.position(), state: "scripted".to_owned(), details: Vec::new() }
    }
}
