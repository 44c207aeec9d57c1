//! Fills a staged file, and checks every byte that comes from elsewhere against its digest.

use crate::apply::contents::{ContentError, Contents};
use crate::apply::error::Problem;
use crate::apply::plan::Bytes;
use crate::model::{ContentHash, Put, TreePath, Wanted};
use crate::tree::{BLOCK_BYTES, DataExtents, Lookup, hash_sparse};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Blocks of zeros of this size are left as holes: the block size of ext4 and XFS, and the page size of x86-64.
const HOLE_BYTES: usize = 4096;

/// How many bytes of a file came from where.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::apply) struct Filled {
    pub(in crate::apply) received_bytes: u64,
    pub(in crate::apply) local_bytes: u64,
}

/// Room for one block; kept from file to file.
pub(super) struct Filler<'f, 'r> {
    pub(super) lookup: &'f mut Lookup<'r>,
    pub(super) contents: &'f dyn Contents,
    pub(super) buffer: Vec<u8>,
    /// Bytes that came with a put were compared with their digest.
    pub(super) trusts_inline: bool,
}

impl Filler<'_, '_> {
    /// Fills the empty file with the bytes of a put.
    pub(super) fn fill(&mut self, file: &File, put: &Put, from: &Bytes) -> Result<Filled, Problem> {
        let Some((size_bytes, content)) = put.entry.file() else {
            return Err(Problem::Hostile { path: put.path.clone(), found: "has bytes and is not a file" });
        };
        match from {
            Bytes::Inline => {
                let bytes = put.inline.as_deref().unwrap_or_default();
                let is_sound = self.trusts_inline || ContentHash::of(bytes) == content;
                if bytes.len() as u64 != size_bytes || !is_sound {
                    return Err(Problem::WrongBytes(put.path.clone()));
                }
                write_sparse(file, bytes, 0).and_then(|()| end_at(file, size_bytes, bytes)).map_err(write_failed(put))?;
                Ok(Filled { received_bytes: size_bytes, local_bytes: 0 })
            }
            Bytes::Local(at) => self.local(file, put, at, size_bytes, content),
            Bytes::Patch(at) => self.patch(file, put, at, size_bytes),
            Bytes::Ask => self.ask(file, put, &Wanted::whole(put.path.clone(), size_bytes, content), content),
        }
    }

    /// When the copy has other bytes than it seemed, they are asked for.
    fn local(&mut self, file: &File, put: &Put, at: &TreePath, size_bytes: u64, content: ContentHash) -> Result<Filled, Problem> {
        let (held, _) = self.lookup.open_file(at)?;
        self.clone_or_copy(&held, file, size_bytes).map_err(write_failed(put))?;
        if hash_sparse(file, size_bytes).map_err(write_failed(put))? == Some(content) {
            file.set_len(size_bytes).map_err(write_failed(put))?;
            return Ok(Filled { received_bytes: 0, local_bytes: size_bytes });
        }
        file.set_len(0).map_err(write_failed(put))?;
        self.ask(file, put, &Wanted::whole(put.path.clone(), size_bytes, content), content)
    }

    /// Each block that comes is compared with its own digest. The whole is not: to read all of a large file costs more than to
    /// send what changed. What is not sent is what the copy was given before, known by generation, size and time, and trusted by
    /// those as everywhere (`Held::Yes`); a comparison of content finds what somebody else wrote there under the same size and time.
    fn patch(&mut self, file: &File, put: &Put, base: &TreePath, size_bytes: u64) -> Result<Filled, Problem> {
        let Some(delta) = &put.delta else {
            return Err(Problem::Hostile { path: put.path.clone(), found: "is to be patched and has no delta" });
        };
        let (held, _) = self.lookup.open_file(base)?;
        self.clone_or_copy(&held, file, delta.base_size_bytes).map_err(write_failed(put))?;
        // Cut first: bytes beyond the end of the base are zeros, also where the file was longer in between.
        file.set_len(size_bytes.min(delta.base_size_bytes)).map_err(write_failed(put))?;
        file.set_len(size_bytes).map_err(write_failed(put))?;
        let content = put.entry.file().map_or(ContentHash([0; 32]), |(_, content)| content);
        let mut filled = Filled { received_bytes: 0, local_bytes: delta.base_size_bytes };
        for block in &delta.blocks {
            let (offset_bytes, length_bytes) = (block.offset_bytes, u64::from(block.length_bytes));
            let wanted = Wanted { path: put.path.clone(), content, size_bytes, offset_bytes, length_bytes };
            filled.received_bytes += self.ask(file, put, &wanted, block.content)?.received_bytes;
        }
        Ok(filled)
    }

    fn ask(&mut self, file: &File, put: &Put, wanted: &Wanted, digest: ContentHash) -> Result<Filled, Problem> {
        let failed = |error| Problem::Content { path: put.path.clone(), error };
        let mut reader = self.contents.open(wanted).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut at = wanted.offset_bytes;
        let end = wanted.offset_bytes + wanted.length_bytes;
        // In a patched file zeros are written out: what they replace is not a hole.
        let may_leave_holes = wanted.is_whole();
        self.buffer.resize(BLOCK_BYTES, 0);
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            let read = read_full(&mut reader, &mut self.buffer[..most]).map_err(|error| failed(ContentError::of(error)))?;
            if read == 0 {
                return Err(Problem::WrongBytes(put.path.clone()));
            }
            let bytes = &self.buffer[..read];
            hasher.update(bytes);
            let written = if may_leave_holes { write_sparse(file, bytes, at) } else { file.write_all_at(bytes, at) };
            written.map_err(write_failed(put))?;
            at += read as u64;
        }
        if hasher.finalize().as_bytes() != &digest.0 {
            return Err(Problem::WrongBytes(put.path.clone()));
        }
        if may_leave_holes {
            file.set_len(wanted.size_bytes).map_err(write_failed(put))?;
        }
        Ok(Filled { received_bytes: wanted.length_bytes, local_bytes: 0 })
    }

    /// Shares the blocks where the filesystem can (ioctl_ficlone(2)), else copies the data and leaves the holes.
    fn clone_or_copy(&mut self, from: &File, to: &File, size_bytes: u64) -> io::Result<()> {
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::XDEV | Errno::NOTTY | Errno::NOSYS | Errno::TXTBSY) => {}
            Err(error) => return Err(error.into()),
        }
        for extent in DataExtents::new(from, size_bytes) {
            self.copy(from, to, extent?)?;
        }
        to.set_len(size_bytes)
    }

    fn copy(&mut self, from: &File, to: &File, extent: Range<u64>) -> io::Result<()> {
        self.buffer.resize(BLOCK_BYTES, 0);
        let mut at = extent.start;
        while at < extent.end {
            let most = usize::try_from(extent.end - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            let read = from.read_at(&mut self.buffer[..most], at)?;
            if read == 0 {
                break;
            }
            to.write_all_at(&self.buffer[..read], at)?;
            at += read as u64;
        }
        Ok(())
    }
}

fn write_failed(put: &Put) -> impl Fn(io::Error) -> Problem {
    |error| Problem::io("write the new", &put.path, error)
}

/// Short only at the end, so that blocks of zeros are seen as blocks.
fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Writes all but whole blocks of zeros. The caller sets the length.
fn write_sparse(file: &File, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
    let mut pending = 0..0;
    for (number, block) in bytes.chunks(HOLE_BYTES).enumerate() {
        let start = number * HOLE_BYTES;
        let is_hole = block.len() == HOLE_BYTES && block.iter().all(|byte| *byte == 0);
        if !is_hole {
            pending.end = start + block.len();
        } else if pending.is_empty() {
            pending = start + HOLE_BYTES..start + HOLE_BYTES;
        } else {
            file.write_all_at(&bytes[pending.clone()], offset_bytes + pending.start as u64)?;
            pending = start + HOLE_BYTES..start + HOLE_BYTES;
        }
    }
    if pending.is_empty() {
        return Ok(());
    }
    file.write_all_at(&bytes[pending.clone()], offset_bytes + pending.start as u64)
}

/// Sets the length when the last block was left as a hole.
fn end_at(file: &File, size_bytes: u64, bytes: &[u8]) -> io::Result<()> {
    let ends_in_hole = bytes.last() == Some(&0);
    if ends_in_hole { file.set_len(size_bytes) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn blocks_of_zeros_become_holes_and_all_bytes_stay() {
        for data_at in [&[][..], &[0], &[5 * 4096], &[0, 4095, 4096, 9 * 4096], &[40_959], &[10 * 4096]] {
            let mut bytes = vec![0; 10 * HOLE_BYTES + 10];
            for at in data_at {
                bytes[*at] = 1;
            }
            let file = tempfile::tempfile().expect("a temporary file");
            write_sparse(&file, &bytes, 0).and_then(|()| end_at(&file, bytes.len() as u64, &bytes)).expect("written");
            let mut read = vec![0; bytes.len()];
            file.read_exact_at(&mut read, 0).expect("read");
            assert!(read == bytes && file.metadata().expect("stat").len() == bytes.len() as u64, "{data_at:?}");
            let blocks = file.metadata().expect("stat").blocks() * 512;
            assert!(blocks <= (data_at.len() as u64 + 1) * HOLE_BYTES as u64 || blocks == 0, "{blocks} bytes on disk for {data_at:?}");
        }
    }
}
