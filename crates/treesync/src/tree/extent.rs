//! Data and holes of a file.

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;

/// What is read or written at once: large enough that the calls cost little, small enough to stay in the cache of a core.
pub const BLOCK_BYTES: usize = 128 * 1024;

/// The ranges of a file, up to a size, that hold data; between them are holes. A filesystem that does not know holes
/// (`EINVAL`) has one range.
#[derive(Debug)]
pub struct DataExtents<'f> {
    file: &'f File,
    at: u64,
    size_bytes: u64,
}

impl<'f> DataExtents<'f> {
    /// From the start of the file.
    pub fn new(file: &'f File, size_bytes: u64) -> Self {
        Self::within(file, 0..size_bytes)
    }

    /// Of a part of the file.
    pub fn within(file: &'f File, part: Range<u64>) -> Self {
        Self { file, at: part.start, size_bytes: part.end }
    }
}

impl Iterator for DataExtents<'_> {
    type Item = io::Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.size_bytes {
            return None;
        }
        let start = match rustix::fs::seek(self.file, SeekFrom::Data(self.at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return None,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => self.at,
            Err(error) => return Some(Err(error.into())),
        };
        let end = match rustix::fs::seek(self.file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(self.size_bytes),
            Err(Errno::NXIO) => return None,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => self.size_bytes,
            Err(error) => return Some(Err(error.into())),
        };
        self.at = end;
        (start < end).then_some(Ok(start..end))
    }
}
