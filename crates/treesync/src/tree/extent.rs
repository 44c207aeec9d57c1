//! Data and holes of a file.

use crate::model::ContentHash;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What is read or written at once: large enough that the calls cost little, small enough to stay in the cache of a core.
pub const BLOCK_BYTES: usize = 128 * 1024;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

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
        Self { file, at: 0, size_bytes }
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

/// Digest of the first `size_bytes` of a file; holes are done_bytes as zeros and not read. `None` when the file is shorter.
///
/// # Errors
/// Reading failed.
pub fn hash_sparse(file: &File, size_bytes: u64) -> io::Result<Option<ContentHash>> {
    let mut hasher = blake3::Hasher::new();
    let mut done_bytes = 0;
    // One read is cheaper than to ask for holes, and a hole in it reads as zeros.
    let extents: &mut dyn Iterator<Item = io::Result<Range<u64>>> =
        if size_bytes <= BLOCK_BYTES as u64 { &mut std::iter::once(Ok(0..size_bytes)) } else { &mut DataExtents::new(file, size_bytes) };
    let mut buffer = vec![0; usize::try_from(size_bytes).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES)];
    for extent in extents {
        let extent = extent?;
        hash_zeros(&mut hasher, extent.start - done_bytes);
        let mut at = extent.start;
        while at < extent.end {
            let wanted = usize::try_from(extent.end - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            let read = file.read_at(&mut buffer[..wanted], at)?;
            if read == 0 {
                return Ok(None);
            }
            hasher.update(&buffer[..read]);
            at += read as u64;
        }
        done_bytes = extent.end;
    }
    hash_zeros(&mut hasher, size_bytes - done_bytes);
    Ok(Some(ContentHash(*hasher.finalize().as_bytes())))
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    while count > 0 {
        let now = usize::try_from(count).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        hasher.update(&ZEROS[..now]);
        count -= now as u64;
    }
}
