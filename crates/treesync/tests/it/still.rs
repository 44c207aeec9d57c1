//! A source that is a directory at rest: a manifest by a walk, bytes from its files.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use treesync::model::{ManifestPart, Position, Put, Rules, SourceId, TreePath, Wanted};
use treesync::publish::{Changed, Limit, Step};
use treesync::tree::{Reading, Root, Walk};
use treesync::wire::{Source, SourceError, SourceStatus, Steps};

/// Entries of one part: few, so that parts have seams in all places.
const PART: usize = 3;

pub(crate) fn position() -> Position {
    Position { source: SourceId([9; 16]), epoch: 1, generation: 7 }
}

pub(crate) struct Still(pub(crate) PathBuf);

struct Parts(std::vec::IntoIter<Step>);

impl Steps for Parts {
    fn next(&mut self, timeout: Duration) -> Result<Option<Step>, SourceError> {
        let step = self.0.next();
        if step.is_none() {
            std::thread::park_timeout(timeout);
        }
        Ok(step)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err gives")]
fn refused(error: impl ToString) -> SourceError {
    SourceError::Failed(error.to_string())
}

impl Source for Still {
    fn subscribe(&self, _: &Limit, since: Option<Position>) -> Result<Box<dyn Steps>, SourceError> {
        let mut steps = Vec::new();
        if since != Some(position()) {
            let root = Root::open(&self.0).map_err(refused)?;
            let mut puts = Vec::new();
            for visit in Walk::new(&root, TreePath::root()) {
                let path = visit.map_err(refused)?.path;
                if let Reading::Entry(entry, _) = root.lookup().read_entry(&path, &Rules::default()).map_err(refused)? {
                    puts.push(Put {
                        path,
                        entry: *entry,
                        content_generation: 1,
                        inline: None,
                        held_at: None,
                        delta: None,
                        data_bytes: None,
                    });
                }
            }
            let count = puts.chunks(PART).count();
            for (index, part) in puts.chunks(PART).enumerate() {
                let part = ManifestPart { position: position(), is_last_part: index + 1 == count, puts: part.to_vec() };
                steps.push(Step::Manifest(part));
            }
        }
        steps.push(Step::InSync(position()));
        Ok(Box::new(Parts(steps.into_iter())))
    }

    fn open(&self, _: &Limit, wanted: &Wanted) -> Result<Option<Box<dyn Read + Send>>, SourceError> {
        let root = Root::open(&self.0).map_err(refused)?;
        let opened = root.lookup().open_file(&wanted.path);
        Ok(opened.ok().map(|(file, _)| -> Box<dyn Read + Send> { Box::new(file) }))
    }

    fn push(&self, _: &TreePath, _: bool) -> Result<Changed, SourceError> {
        Err(SourceError::Refused("it is at rest".to_owned()))
    }

    fn delete(&self, _: &TreePath, _: bool) -> Result<Changed, SourceError> {
        Err(SourceError::Refused("it is at rest".to_owned()))
    }

    fn checkpoint(&self) -> Result<Position, SourceError> {
        Ok(position())
    }

    fn rescan(&self) -> Result<Position, SourceError> {
        Ok(position())
    }

    fn status(&self) -> SourceStatus {
        SourceStatus { position: position(), state: "at rest".to_owned(), details: Vec::new() }
    }
}
