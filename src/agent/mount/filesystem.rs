//! Which filesystem a device holds, by its superblock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A filesystem that volumes of a pool may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filesystem {
    /// XFS.
    Xfs,
    /// ext4, and ext2 and ext3, which its driver also mounts.
    Ext4,
}

impl Filesystem {
    /// The kernel's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
        }
    }
}

/// A filesystem as its superblock describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    /// Which.
    pub kind: Filesystem,
    /// How much of its device it uses.
    pub size_bytes: u64,
}

/// What a filesystem may leave unused at the end of its device, since it is made of whole blocks and groups.
const SLACK_BYTES: u64 = 64 << 20;

impl Found {
    /// Whether the device has grown since the filesystem was made.
    pub fn is_smaller_than(self, device_bytes: u64) -> bool {
        self.size_bytes + SLACK_BYTES <= device_bytes
    }
}

/// Reads the superblock; `None` for anything else, an empty device included.
pub fn detect(device: &Path) -> io::Result<Option<Found>> {
    let mut head = [0; HEAD_BYTES];
    File::open(device)?.read_exact_at(&mut head, 0)?;
    Ok(of_superblock(&head))
}

/// Covers the superblocks of both: XFS at 0, ext4 at 1024, each 1024 bytes at most.
const HEAD_BYTES: usize = 2048;

fn of_superblock(head: &[u8; HEAD_BYTES]) -> Option<Found> {
    xfs(head).or_else(|| ext4(head))
}

/// Source: Linux `fs/xfs/libxfs/xfs_format.h`, `struct xfs_dsb`: big endian.
fn xfs(head: &[u8; HEAD_BYTES]) -> Option<Found> {
    head.starts_with(b"XFSB").then_some(())?;
    let block_bytes = u32::from_be_bytes(head[4..8].try_into().ok()?);
    let blocks = u64::from_be_bytes(head[8..16].try_into().ok()?);
    Some(Found { kind: Filesystem::Xfs, size_bytes: blocks * u64::from(block_bytes) })
}

/// Source: Linux `fs/ext4/ext4.h`, `struct ext4_super_block`: little endian, at 1024.
fn ext4(head: &[u8; HEAD_BYTES]) -> Option<Found> {
    let superblock = &head[1024..];
    (superblock[0x38..0x3a] == [0x53, 0xef]).then_some(())?;
    let word = |offset: usize| Some(u32::from_le_bytes(superblock[offset..offset + 4].try_into().ok()?));
    let blocks = u64::from(word(0x150)?) << 32 | u64::from(word(0x4)?);
    let block_bytes = 1024_u64.checked_shl(word(0x18)?)?;
    Some(Found { kind: Filesystem::Ext4, size_bytes: blocks.checked_mul(block_bytes)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_are_no_filesystem() {
        assert_eq!(of_superblock(&[0; HEAD_BYTES]), None);
    }

    #[test]
    fn an_xfs_superblock_tells_its_size() {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(b"XFSB");
        head[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        head[8..16].copy_from_slice(&262_144_u64.to_be_bytes());
        let found = of_superblock(&head).expect("the magic number is there");
        assert_eq!((found.kind, found.size_bytes), (Filesystem::Xfs, 1 << 30));
        assert!(found.is_smaller_than(2 << 30) && !found.is_smaller_than(1 << 30));
    }

    #[test]
    fn an_ext4_superblock_tells_its_size() {
        let mut head = [0; HEAD_BYTES];
        head[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        head[1024 + 0x4..1024 + 0x8].copy_from_slice(&262_144_u32.to_le_bytes());
        head[1024 + 0x18..1024 + 0x1c].copy_from_slice(&2_u32.to_le_bytes());
        let found = of_superblock(&head).expect("the magic number is there");
        assert_eq!((found.kind, found.size_bytes), (Filesystem::Ext4, 1 << 30));
    }
}
