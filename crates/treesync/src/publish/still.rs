//! Still images of files that are written to all the time: clones that share their blocks, where the filesystem has such.
//!
//! A clone is of one moment between two writes (ioctl_ficlone(2)); reading takes as long as it takes. Images have no
//! name, so that none outlives the process.

use crate::model::{ContentHash, RESERVED_NAME};
use crate::tree::{Filesystem, Root, open_below};
use rustix::fs::OFlags;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Images of one file that are kept: the last one, and the one that copies may be fetching.
const PER_FILE: usize = 2;
/// Images that are kept in all.
const MOST: usize = 64;
/// How long an image can be asked for. What its file has overwritten since takes room on the source as long.
const KEPT: Duration = Duration::from_mins(1);

struct Still {
    inode: u64,
    content: ContentHash,
    file: Arc<File>,
    taken: Duration,
}

/// Images that copies may ask for.
#[derive(Default)]
pub(super) struct Stills(Mutex<State>);

#[derive(Default)]
struct State {
    images: VecDeque<Still>,
    /// Files that had changed when a copy asked for their bytes, by inode, and when. They need an image, also when they
    /// can be read without.
    restless: HashMap<u64, Duration>,
}

/// An image of an open file of a source as it is now. None where the filesystem has no clones, or no room for one.
pub(super) fn image_of(root: &Root, file: &File) -> io::Result<Option<File>> {
    if !matches!(root.filesystem(), Filesystem::Xfs | Filesystem::Btrfs) {
        return Ok(None);
    }
    let image = File::from(open_below(root, RESERVED_NAME, OFlags::TMPFILE | OFlags::RDWR)?);
    // XFS may be made without clones, a file may be marked as one that has none, and the disk may be full.
    Ok(rustix::fs::ioctl_ficlone(&image, file).is_ok().then_some(image))
}

impl Stills {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps none any more.
    pub fn clear(&self) {
        self.state().images.clear();
    }

    /// A file had changed when a copy asked for its bytes.
    pub fn note_restless(&self, inode: u64, now: Duration) {
        self.state().restless.insert(inode, now);
    }

    /// Whether there are files that need an image.
    pub fn has_restless(&self) -> bool {
        !self.state().restless.is_empty()
    }

    /// Whether a file needs an image.
    pub fn is_restless(&self, inode: u64) -> bool {
        self.state().restless.contains_key(&inode)
    }

    /// Keeps an image for a while.
    pub fn keep(&self, inode: u64, content: ContentHash, file: File, now: Duration) {
        let list = &mut self.state().images;
        if list.iter().filter(|still| still.inode == inode).count() >= PER_FILE
            && let Some(oldest) = list.iter().position(|still| still.inode == inode)
        {
            list.remove(oldest);
        }
        if list.len() >= MOST {
            list.pop_front();
        }
        list.push_back(Still { inode, content, file: Arc::new(file), taken: now });
    }

    /// The image with these bytes.
    pub fn with(&self, content: ContentHash) -> Option<Arc<File>> {
        self.state().images.iter().find(|still| still.content == content).map(|still| still.file.clone())
    }

    /// Drops those that are too old; how long until the next one is.
    pub fn expire(&self, now: Duration) -> Option<Duration> {
        let State { images, restless } = &mut *self.state();
        while images.pop_front_if(|still| still.taken + KEPT <= now).is_some() {}
        restless.retain(|_, noted| *noted + KEPT > now);
        images.front().map(|still| (still.taken + KEPT).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(stills: &Stills, inode: u64, content: u8, at_seconds: u64) {
        let file = tempfile::tempfile().expect("a temporary file");
        stills.keep(inode, ContentHash([content; 32]), file, Duration::from_secs(at_seconds));
    }

    #[test]
    fn the_last_images_of_each_file_are_kept_for_a_while() {
        let stills = Stills::default();
        for (inode, content, at_seconds) in [(7, 1, 0), (8, 2, 1), (7, 3, 2), (7, 4, 3)] {
            keep(&stills, inode, content, at_seconds);
        }
        let has = |content: u8| stills.with(ContentHash([content; 32])).is_some();
        assert_eq!([1, 2, 3, 4].map(has), [false, true, true, true], "the oldest of three images of one file is gone");
        assert_eq!(stills.expire(Duration::from_secs(61)), Some(Duration::from_secs(1)));
        assert_eq!([2, 3, 4].map(has), [false, true, true]);
        assert_eq!(stills.expire(Duration::from_secs(100)), None);
        stills.note_restless(7, Duration::from_secs(100));
        stills.expire(Duration::from_secs(159));
        assert!(stills.is_restless(7) && !stills.is_restless(8));
        stills.expire(Duration::from_secs(160));
        assert!(!stills.has_restless());
    }

    #[test]
    fn there_is_a_bound_to_the_images_of_all_files() {
        let stills = Stills::default();
        for number in 0..2 * MOST as u64 {
            keep(&stills, number, u8::try_from(number).expect("few"), 0);
        }
        assert_eq!(stills.state().images.len(), MOST);
    }
}
