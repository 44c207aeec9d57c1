//! Bytes of the source for copies that lack them, exactly those that the index knows.

use super::PublishError;
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
    file: File,
    before: Stat,
    at: u64,
    end: u64,
    is_checked: bool,
}

/// Opens a file, if it still is what the index knows and the subscriber wants.
pub(super) fn open(shared: &Arc<Shared>, wanted: &Wanted) -> Result<Option<ContentReader>, PublishError> {
    let Some(row) = shared.index.view()?.row(&wanted.path)? else { return Ok(None) };
    let Some(end) = wanted.offset_bytes.checked_add(wanted.length_bytes).filter(|end| *end <= wanted.size_bytes) else {
        return Err(PublishError::Refused(format!("{}: more bytes are wanted than the file has", wanted.path)));
    };
    if row.entry.file() != Some((wanted.size_bytes, wanted.content)) || !shared.rules.travels(&wanted.path) {
        return Ok(None);
    }
    let (file, before) = match shared.root.lookup().open_file(&wanted.path) {
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
        return Ok(None);
    }
    Ok(Some(ContentReader { shared: shared.clone(), file, before, at: wanted.offset_bytes, end, is_checked: false }))
}

impl ContentReader {
    fn changed() -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was read")
    }

    fn check(&mut self) -> io::Result<()> {
        if !self.is_checked {
            let after = Stat::at(&self.file, b"").map_err(io::Error::from)?;
            if (after.ctime, after.size_bytes) != (self.before.ctime, self.before.size_bytes) {
                return Err(Self::changed());
            }
            self.is_checked = true;
        }
        Ok(())
    }
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        if length == 0 {
            if left == 0 {
                self.check()?;
            }
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        if read == 0 {
            return Err(Self::changed());
        }
        self.at += read as u64;
        let now = self.shared.now();
        let pause = self.shared.state().bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.take(read as u64, now));
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        Ok(read)
    }
}
