//! Digests of the blocks of large files, and how a file changed last.

use super::IndexError;
use super::row::{Cursor, put_counted, put_time};
use crate::model::{ChangedBlock, ContentHash, Delta, Mtime};
use std::sync::LazyLock;

/// Length of a block whose digest is kept. 1 MiB: one patch of an XFS clone costs about as much as reading this much.
pub const BLOCK_BYTES: u64 = 1024 * 1024;
/// Files from this size on have digests of blocks. 8 MiB: below, sending the whole file is as fast.
pub const LARGE_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Digest of a whole block of zeros.
static ZEROS: LazyLock<ContentHash> = LazyLock::new(|| ContentHash::of(&vec![0; usize::try_from(BLOCK_BYTES).unwrap_or(1 << 20)]));

/// The blocks of a file and its last delta.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Blocks {
    pub digests: Vec<ContentHash>,
    pub delta: Option<Delta>,
}

/// A large file as the index had it.
pub(super) struct Base<'a> {
    pub size_bytes: u64,
    pub mtime: Mtime,
    pub content_generation: u64,
    pub digests: &'a [ContentHash],
}

/// How new bytes differ from the base. None when more than half differs: then the whole file is sent.
pub(super) fn delta_between(base: &Base, size_bytes: u64, digests: &[ContentHash]) -> Option<Delta> {
    if base.digests.is_empty() || digests.is_empty() {
        return None;
    }
    let mut blocks = Vec::new();
    let mut offset_bytes = 0;
    for (number, digest) in digests.iter().enumerate() {
        let length = BLOCK_BYTES.min(size_bytes.saturating_sub(offset_bytes));
        let base_length = BLOCK_BYTES.min(base.size_bytes.saturating_sub(offset_bytes));
        if base.digests.get(number) != Some(digest) || length != base_length {
            let length_bytes = u32::try_from(length).ok().filter(|length| *length > 0)?;
            blocks.push(ChangedBlock { offset_bytes, length_bytes, content: *digest });
        }
        offset_bytes += length;
    }
    let is_worth_it = blocks.len() * 2 <= digests.len() && offset_bytes == size_bytes;
    is_worth_it.then_some(Delta {
        base_size_bytes: base.size_bytes,
        base_mtime: base.mtime,
        base_content_generation: base.content_generation,
        blocks,
    })
}

impl Blocks {
    /// How many bytes of the file are not in whole blocks of zeros; none when its blocks are not known.
    pub fn data_bytes(&self, size_bytes: u64) -> Option<u64> {
        let zeros = self.digests.iter().filter(|digest| **digest == *ZEROS).count() as u64;
        (!self.digests.is_empty()).then(|| size_bytes.saturating_sub(zeros * BLOCK_BYTES))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.digests.len() * 32);
        put_counted(&mut out, self.digests.iter().flat_map(|digest| digest.0).collect::<Vec<u8>>().as_slice());
        if let Some(delta) = &self.delta {
            out.extend_from_slice(&delta.base_size_bytes.to_be_bytes());
            put_time(&mut out, delta.base_mtime);
            out.extend_from_slice(&delta.base_content_generation.to_be_bytes());
            for block in &delta.blocks {
                out.extend_from_slice(&block.offset_bytes.to_be_bytes());
                out.extend_from_slice(&block.length_bytes.to_be_bytes());
                out.extend_from_slice(&block.content.0);
            }
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        Self::take(&mut Cursor(bytes)).ok_or(IndexError::Damaged("the blocks of a file are cut off"))
    }

    fn take(from: &mut Cursor) -> Option<Self> {
        let mut digests_from = Cursor(from.counted()?);
        let mut digests = Vec::with_capacity(digests_from.0.len() / 32);
        while !digests_from.0.is_empty() {
            digests.push(digests_from.hash()?);
        }
        if from.0.is_empty() {
            return Some(Self { digests, delta: None });
        }
        let (base_size_bytes, base_mtime, base_content_generation) = (from.u64()?, from.time()?, from.u64()?);
        let mut blocks = Vec::new();
        while !from.0.is_empty() {
            blocks.push(ChangedBlock { offset_bytes: from.u64()?, length_bytes: from.u32()?, content: from.hash()? });
        }
        Some(Self { digests, delta: Some(Delta { base_size_bytes, base_mtime, base_content_generation, blocks }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(blocks: &str) -> Vec<ContentHash> {
        blocks.bytes().map(|byte| ContentHash::of(&[byte])).collect()
    }

    fn delta(before: &str, before_bytes: u64, after: &str, after_bytes: u64) -> Option<Vec<(u64, u32)>> {
        let before = digests(before);
        let base = Base { size_bytes: before_bytes, mtime: Mtime::default(), content_generation: 1, digests: &before };
        let delta = delta_between(&base, after_bytes, &digests(after))?;
        assert_eq!(
            Blocks::decode(&Blocks { digests: before.clone(), delta: Some(delta.clone()) }.encode()).expect("decodes").delta,
            Some(delta.clone())
        );
        Some(delta.blocks.iter().map(|block| (block.offset_bytes / 1024, block.length_bytes / 1024)).collect())
    }

    #[test]
    fn only_blocks_that_differ_are_in_a_delta() {
        let mib = BLOCK_BYTES;
        assert_eq!(delta("aaaa", 4 * mib, "aaba", 4 * mib), Some(vec![(2048, 1024)]), "one block");
        assert_eq!(delta("aaaa", 4 * mib, "aaa", 3 * mib), Some(vec![]), "cut short");
        assert_eq!(delta("aaaa", 4 * mib, "aaaab", 5 * mib - 1024), Some(vec![(4096, 1023)]), "grown");
        assert_eq!(delta("aaab", 4 * mib - 1024, "aaab", 4 * mib), Some(vec![(3072, 1024)]), "same digest, other length");
        assert_eq!(delta("aaaa", 4 * mib, "abbb", 4 * mib), None, "most of it differs");
    }
}
