//! Bytes of the source for copies that lack them, exactly those that the index knows.

use super::PublishError;
use super::rate::Limit;
use super::ring::Shared;
use crate::model::{Mtime, Wanted};
use crate::tree::Stat;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// Reads wanted bytes. Fails with `InvalidData` when the file changed before the last of them was read.
pub struct ContentReader {
    shared: Arc<Shared>,
    file: Arc<File>,
    /// With what it is to be compared when all is read; none for what cannot change.
    before: Option<Stat>,
    at: u64,
    end: u64,
    /// Of the subscriber; that of all is shared.
    limit: Limit,
}

/// Opens a file, if it still is what the index knows and the subscriber wants.
pub(super) fn open(shared: &Arc<Shared>, wanted: &Wanted, limit: &Limit) -> Result<Option<ContentReader>, PublishError> {
    let Some(end) = wanted.offset_bytes.checked_add(wanted.length_bytes).filter(|end| *end <= wanted.size_bytes) else {
        return Err(PublishError::Refused(format!("{}: more bytes are wanted than the file has", wanted.path)));
    };
    // A file that never rests: its image, also when there is a newer one by now.
    if let Some(file) = shared.stills.with(wanted.content).filter(|_| shared.rules.travels(&wanted.path)) {
        return Ok(Some(reader(shared, file, None, (wanted.offset_bytes, end), limit)));
    }
    let Some(row) = shared.index()?.view()?.row(&wanted.path)? else { return Ok(None) };
    if !shared.rules.travels(&wanted.path) {
        return Ok(None);
    }
    let changed = || shared.stills.note_restless(row.stamp.inode, shared.now());
    if row.entry.file() != Some((wanted.size_bytes, wanted.content)) {
        changed();
        return Ok(None);
    }
    let (file, before) = match shared.root()?.lookup().open_file(&wanted.path) {
        Ok(opened) => opened,
        Err(error) if error.is_absent() => return Ok(None),
        // Another kind of thing is there by now.
        Err(error) if error.errno().is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_known = row.stamp.ctime == before.ctime;
    // The ctime was too young to be kept: the mtime must do, and the digest at the other end.
    let is_plausible = row.stamp.ctime == Mtime::default() && row.entry.mtime == before.mtime;
    if row.stamp.inode != before.identity.inode || before.size_bytes != wanted.size_bytes || !(is_known || is_plausible) {
        changed();
        return Ok(None);
    }
    Ok(Some(reader(shared, Arc::new(file), Some(before), (wanted.offset_bytes, end), limit)))
}

fn reader(shared: &Arc<Shared>, file: Arc<File>, before: Option<Stat>, (at, end): (u64, u64), limit: &Limit) -> ContentReader {
    ContentReader { shared: shared.clone(), file, before, at, end, limit: limit.clone() }
}

impl ContentReader {
    fn changed() -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was read")
    }

    fn check(&mut self) -> io::Result<()> {
        if let Some(before) = self.before.take() {
            let after = Stat::at(&*self.file, b"").map_err(io::Error::from)?;
            if (after.ctime, after.size_bytes) != (before.ctime, before.size_bytes) {
                self.shared.stills.note_restless(before.identity.inode, self.shared.now());
                return Err(Self::changed());
            }
        }
        Ok(())
    }
}

/// A pause is so long at most, before it is looked whether the source was let go.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

impl ContentReader {
    fn rest(&self, mut pause: Duration) {
        while !pause.is_zero() && self.shared.check().is_ok() {
            let slice = pause.min(PAUSE);
            self.shared.clock.sleep(slice);
            pause -= slice;
        }
    }
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.shared.check().map_err(io::Error::other)?;
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        if length == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        if read == 0 {
            return Err(Self::changed());
        }
        self.at += read as u64;
        // With the last bytes: whoever has all that it wants does not read on.
        if self.at == self.end {
            self.check()?;
        }
        self.rest(self.shared.take(&self.limit, read as u64));
        Ok(read)
    }
}
