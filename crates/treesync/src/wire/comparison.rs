//! What a verifying peer gets: digests of directories, or the entries of those that differ.

use std::collections::BTreeSet;

use tonic::Status;

use super::frame::{Digests, Message};
use super::service::Outlet;
use crate::model::{ContentHash, ManifestPart, Position, Put, TreePath, proto};
use crate::verify::DirectoryDigester;

/// Directories or entries in one message.
const PART: usize = 2048;

/// Makes an answer from a manifest while it comes by.
pub(super) struct Comparison {
    /// None: digests are wanted.
    directories: BTreeSet<TreePath>,
    digester: DirectoryDigester,
    digests: Vec<(TreePath, ContentHash)>,
    puts: Vec<Put>,
    position: Option<Position>,
    sequence: u64,
}

impl Comparison {
    pub(super) fn new(directories: BTreeSet<TreePath>, with_content: bool) -> Self {
        let digester = DirectoryDigester::new(with_content);
        Self { directories, digester, digests: Vec::new(), puts: Vec::new(), position: None, sequence: 0 }
    }

    /// Takes the next part of the manifest.
    pub(super) fn take(&mut self, part: ManifestPart, outlet: &Outlet<proto::Frame>) -> Result<(), Status> {
        self.position = Some(part.position);
        for put in part.puts {
            if self.directories.is_empty() {
                self.digests.extend(self.digester.take(&put.path, &put.entry));
            } else if self.is_asked_for(&put) {
                self.puts.push(put);
            }
        }
        if self.digests.len() >= PART || self.puts.len() >= PART { self.send(false, outlet) } else { Ok(()) }
    }

    /// What is asked for of a directory: itself, and what is directly in it. A file with several names is told
    /// wherever they are, since it can only be repaired with all of them.
    fn is_asked_for(&self, put: &Put) -> bool {
        let parent = put.path.parent();
        let is_in = parent.is_some_and(|parent| self.directories.contains(&parent));
        is_in || put.entry.link_group != 0 || self.directories.contains(&put.path)
    }

    /// The manifest is at its end.
    pub(super) fn finish(mut self, outlet: &Outlet<proto::Frame>) -> Result<(), Status> {
        let digester = std::mem::replace(&mut self.digester, DirectoryDigester::new(false));
        if self.directories.is_empty() {
            self.digests.extend(digester.finish());
        }
        self.send(true, outlet)
    }

    fn send(&mut self, is_last_part: bool, outlet: &Outlet<proto::Frame>) -> Result<(), Status> {
        let position = self.position.ok_or_else(|| Status::unavailable("the source has no list of its entries"))?;
        let message = if self.directories.is_empty() {
            Message::Digests(Digests { position, is_last_part, directories: std::mem::take(&mut self.digests) })
        } else {
            Message::Manifest(ManifestPart { position, is_last_part, puts: std::mem::take(&mut self.puts) })
        };
        for frame in message.to_frames() {
            outlet.put(proto::Frame { sequence: self.sequence, ..frame })?;
            self.sequence += 1;
        }
        Ok(())
    }
}
