//! Digests of the files that a comparison has read, in a file outside of the copy, so that one that was ended goes on.
//!
//! A digest counts for a file while its inode, size and ctime are what they were: only the kernel sets a ctime. So what
//! changed meanwhile is read again, and nothing else is. The file is with whoever verifies, not on the copy, where who
//! changed a file could also change what is noted of it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;

use crate::model::{ContentHash, Entry, Kind, Mtime, Rules, TreePath};
use crate::tree::{Lookup, NodeKind, Reading, Root, Stat, TreeError, read_xattrs};

/// The start of the file; the number is the version of what follows.
const MAGIC: &[u8; 16] = b"treesync-verify1";
/// Digest of which copy it is, and when the comparison began, in seconds since 1970.
const HEADER_BYTES: usize = MAGIC.len() + 32 + 8;
/// Inode, time of birth, ctime, size, digest, crc32c of all these.
const RECORD_BYTES: usize = 8 + 12 + 12 + 8 + 32 + 4;
/// What was read before this is read anew: a disk may have lost it since.
const MAX_AGE: Duration = Duration::from_hours(7 * 24);
/// So many bytes are read again at most when the process dies: less than a second's work.
const SAVE_EVERY_BYTES: u64 = 16 * 1024 * 1024;
/// So many digests are lost at most.
const SAVE_EVERY_RECORDS: usize = 1024;
/// A file that changed within this time may change again and keep its ctime: kernels stamp with the timer tick.
const YOUNG: Duration = Duration::from_secs(1);

/// Which file, as it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    inode: u64,
    born: Mtime,
    ctime: Mtime,
    size_bytes: u64,
}

impl Key {
    fn of(stat: &Stat) -> Self {
        Self { inode: stat.identity.inode, born: stat.identity.born, ctime: stat.ctime, size_bytes: stat.size_bytes }
    }
}

/// What a comparison has read so far.
#[derive(Default)]
pub struct Progress {
    /// None: it is not kept.
    file: Option<(PathBuf, File)>,
    known: HashMap<Key, ContentHash>,
    unsaved: Vec<u8>,
    unsaved_read_bytes: u64,
    read_before: u64,
}

impl Progress {
    /// Kept in a file, which is made, or taken up if it is of the same copy and not too old.
    ///
    /// # Errors
    /// It cannot be read or written, is another kind of file, or another comparison is using it.
    pub fn kept_in(path: &Path, root: &Root) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(io::Error::other("another comparison keeps its progress there")),
            Err(error) => return Err(error.into()),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if !bytes.is_empty() && !bytes.starts_with(MAGIC) {
            return Err(io::Error::other("it is not the progress of a comparison; name another file"));
        }
        let (header, now) = (copy_digest(root)?, since_1970());
        let records = match bytes.split_at_checked(HEADER_BYTES) {
            Some((start, records)) if is_of_this_run(start, &header, now) => decode(records),
            _ => Vec::new(),
        };
        let mut progress = Self::default();
        progress.file = Some((path.to_owned(), file));
        if records.is_empty() {
            progress.begin(&header, now)?;
        } else {
            // What follows a record that was cut off, or is damaged, is written over.
            progress.set_length((HEADER_BYTES + records.len() * RECORD_BYTES) as u64)?;
        }
        progress.known = records.into_iter().collect();
        Ok(progress)
    }

    fn begin(&mut self, header: &ContentHash, now: Duration) -> io::Result<()> {
        self.set_length(0)?;
        let start = [&MAGIC[..], &header.0, &now.as_secs().to_be_bytes()].concat();
        self.file.as_mut().map_or(Ok(()), |(_, file)| file.write_all(&start))
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let Some((_, file)) = &mut self.file else { return Ok(()) };
        file.set_len(length)?;
        file.seek(io::SeekFrom::Start(length)).map(drop)
    }

    /// Files that an earlier run had read, and that were not read again.
    pub fn read_before(&self) -> u64 {
        self.read_before
    }

    /// Reads a path with its bytes, unless they are known.
    ///
    /// # Errors
    /// As [`Lookup::read_entry`].
    pub fn read_entry(&mut self, path: &TreePath, lookup: &mut Lookup<'_>, rules: &Rules) -> Result<Reading, TreeError> {
        if !self.known.is_empty()
            && let Some(reading) = self.recall(path, lookup, rules)?
        {
            return Ok(reading);
        }
        let reading = lookup.read_entry(path, rules)?;
        if let Reading::Entry(entry, stat) = &reading
            && let Kind::File { content, .. } = entry.kind
        {
            self.note(stat, content);
        }
        Ok(reading)
    }

    fn recall(&mut self, path: &TreePath, lookup: &mut Lookup<'_>, rules: &Rules) -> Result<Option<Reading>, TreeError> {
        let Ok((descriptor, stat)) = lookup.open_path(path) else { return Ok(None) };
        let Some(content) = self.known.get(&Key::of(&stat)).filter(|_| stat.kind == NodeKind::File) else { return Ok(None) };
        let xattrs = read_xattrs(&descriptor, rules).map_err(|error| lookup.failed(path, "read the extended attributes of", error))?;
        let kind = Kind::File { size_bytes: stat.size_bytes, content: *content };
        let link_group = if stat.links > 1 { stat.identity.inode } else { 0 };
        let Stat { mode, uid, gid, mtime, .. } = stat;
        let entry = Entry { kind, mode: rules.file_mode(mode), uid, gid, mtime, link_target: Vec::new(), xattrs, link_group };
        self.read_before += 1;
        Ok(Some(Reading::Entry(Box::new(entry), stat)))
    }

    fn note(&mut self, stat: &Stat, content: ContentHash) {
        let changed = Duration::from_secs(u64::try_from(stat.ctime.seconds).unwrap_or(0));
        if self.file.is_none() || since_1970().saturating_sub(changed) < YOUNG {
            return;
        }
        encode(&Key::of(stat), content, &mut self.unsaved);
        self.unsaved_read_bytes += stat.size_bytes;
        if self.unsaved_read_bytes >= SAVE_EVERY_BYTES || self.unsaved.len() >= SAVE_EVERY_RECORDS * RECORD_BYTES {
            self.save();
        }
    }

    /// What cannot be saved is read again after an end; the comparison goes on.
    fn save(&mut self) {
        self.unsaved_read_bytes = 0;
        let unsaved = std::mem::take(&mut self.unsaved);
        if let Some((path, file)) = &mut self.file
            && let Err(error) = file.write_all(&unsaved)
        {
            tracing::warn!(path = %path.display(), %error, "the progress of the comparison is not kept any more");
            self.file = None;
        }
    }

    /// The comparison is done: there is nothing to go on with.
    pub fn finish(&mut self) {
        if let Some((path, _)) = self.file.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "the progress of a comparison that is done stays");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.save();
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Tells copies apart: filesystem, inode and birth of the root.
fn copy_digest(root: &Root) -> io::Result<ContentHash> {
    let stat = Stat::at(root, b"").map_err(io::Error::from)?;
    let state = rustix::fs::fstatvfs(root)?;
    let Mtime { seconds, nanoseconds } = stat.identity.born;
    let numbers = [state.f_fsid, stat.identity.inode, seconds.cast_unsigned(), nanoseconds.into()];
    Ok(ContentHash::of(&numbers.map(u64::to_be_bytes).concat()))
}

fn is_of_this_run(start: &[u8], header: &ContentHash, now: Duration) -> bool {
    let (known, begun) = start[MAGIC.len()..].split_at(32);
    let begun = begun.try_into().map_or(0, u64::from_be_bytes);
    known == header.0 && now.saturating_sub(Duration::from_secs(begun)) < MAX_AGE
}

fn encode(key: &Key, content: ContentHash, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&key.inode.to_be_bytes());
    for time in [key.born, key.ctime] {
        out.extend_from_slice(&time.seconds.to_be_bytes());
        out.extend_from_slice(&time.nanoseconds.to_be_bytes());
    }
    out.extend_from_slice(&key.size_bytes.to_be_bytes());
    out.extend_from_slice(&content.0);
    out.extend_from_slice(&crc32c::crc32c(&out[start..]).to_be_bytes());
}

/// The whole records up to the first that is damaged.
fn decode(bytes: &[u8]) -> Vec<(Key, ContentHash)> {
    bytes.chunks_exact(RECORD_BYTES).map_while(record).collect()
}

fn record(bytes: &[u8]) -> Option<(Key, ContentHash)> {
    let (fields, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(fields) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(*fields[at..].first_chunk()?));
    let time = |at: usize| {
        let nanoseconds = u32::from_be_bytes(*fields[at + 8..].first_chunk()?);
        Some(Mtime { seconds: number(at)?.cast_signed(), nanoseconds })
    };
    let key = Key { inode: number(0)?, born: time(8)?, ctime: time(20)?, size_bytes: number(32)? };
    Some((key, ContentHash(*fields[40..].first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn root(folder: &Path) -> Root {
        Root::open(folder).expect("a folder")
    }

    /// Reads all files of a folder by the progress, and says how many were spared.
    fn read_all(folder: &Path, progress: &mut Progress) -> u64 {
        let root = root(folder);
        let mut lookup = root.lookup();
        for name in lookup.names(&TreePath::root()).expect("names") {
            let path = TreePath::parse(name).expect("a path");
            let read = progress.read_entry(&path, &mut lookup, &Rules::default()).expect("readable");
            let again = root.lookup().read_entry(&path, &Rules::default()).expect("readable");
            assert_eq!(read, again, "what is recalled is what is read");
        }
        progress.read_before()
    }

    fn world() -> (tempfile::TempDir, tempfile::TempDir) {
        let (copy, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for number in 0..10 {
            fs::write(copy.path().join(number.to_string()), vec![number; 1000]).expect("written");
        }
        // No clock can be put forward for ctimes, which the kernel sets.
        while since_1970().as_secs() <= fs::metadata(copy.path().join("9")).map_or(0, |file| file.ctime().cast_unsigned()) + 1 {
            std::thread::yield_now();
        }
        (copy, other)
    }

    #[test]
    fn what_was_read_is_not_read_again_but_what_changed_is() {
        let (copy, other) = world();
        let at = other.path().join("progress");
        let open = || Progress::kept_in(&at, &root(copy.path())).expect("usable");
        assert_eq!(read_all(copy.path(), &mut open()), 0);
        assert_eq!(read_all(copy.path(), &mut open()), 10);
        fs::write(copy.path().join("3"), vec![9; 1000]).expect("written");
        assert_eq!(read_all(copy.path(), &mut open()), 9, "same size and name, another ctime");
        let mut file = OpenOptions::new().append(true).open(&at).expect("there");
        file.write_all(&[1; 30]).expect("half a record");
        let mut progress = open();
        assert_eq!(read_all(copy.path(), &mut progress), 9);
        progress.finish();
        assert!(!at.exists());
    }

    #[test]
    fn progress_of_another_copy_or_of_long_ago_is_not_used_and_other_files_are_left_alone() {
        let (copy, other) = world();
        let at = other.path().join("progress");
        let open = |folder: &Path| Progress::kept_in(&at, &root(folder));
        let mut first = open(copy.path()).expect("usable");
        read_all(copy.path(), &mut first);
        assert!(open(copy.path()).is_err(), "it is in use");
        drop(first);
        let mut bytes = fs::read(&at).expect("saved");
        bytes[MAGIC.len() + 32..HEADER_BYTES].copy_from_slice(&since_1970().saturating_sub(MAX_AGE).as_secs().to_be_bytes());
        fs::write(&at, &bytes).expect("written");
        assert_eq!(read_all(copy.path(), &mut open(copy.path()).expect("usable")), 0, "too old");
        assert_eq!(open(other.path()).expect("usable").known.len(), 0, "of another copy");
        fs::write(&at, "somebody's letter").expect("written");
        assert!(open(copy.path()).is_err());
        assert_eq!(fs::read(&at).expect("left alone"), b"somebody's letter");
    }

    #[test]
    fn a_damaged_record_ends_what_is_known() {
        let mut bytes = Vec::new();
        for inode in 0..5 {
            let key =
                Key { inode, born: Mtime { seconds: -5, nanoseconds: 6 }, ctime: Mtime { seconds: 7, nanoseconds: 8 }, size_bytes: 9 };
            encode(&key, ContentHash([3; 32]), &mut bytes);
        }
        assert_eq!((bytes.len(), decode(&bytes).len()), (5 * RECORD_BYTES, 5));
        bytes[2 * RECORD_BYTES + 5] ^= 1;
        let known = decode(&bytes);
        assert!(
            known.len() == 2 && known.iter().all(|(key, _)| key.inode < 2 && key.born.seconds == -5 && key.size_bytes == 9),
            "{known:?}"
        );
    }
}
