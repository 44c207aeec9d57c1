//! The public file of a copy: what a pod may know of the content that it reads, as one line of JSON.
//!
//! A pod that may write its volume may put anything in the place of our directory. Every step is below an open
//! directory and follows no link.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timestamps, futimens, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;
use treesync::model::Position;

/// The directory of the public file in the root of a copy. It never travels.
pub(super) const DIRECTORY: &str = ".volume-dispatcher";
const FILE: &str = "generation.json";

/// Directories that no comparison looks into.
const OF_EACH_FILESYSTEM: [&str; 2] = [DIRECTORY, "lost+found"];

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What the file says.
#[derive(Debug, Serialize)]
struct Content<'a> {
    pool: &'a str,
    source: String,
    epoch: u64,
    generation: u64,
    time: String,
}

/// Makes the directory, without a trace in the times of the root, which are those of the source.
///
/// Must be done before anybody else works on the copy.
pub(super) fn prepare(copy: &Path) -> io::Result<()> {
    let root = openat(CWD, copy, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    directory(&root).map(drop)
}

/// Replaces the file: a reader sees the old or the new one. Not durable: after a crash the next change writes it again.
pub(super) fn write(copy: &Path, pool: &str, position: &Position, now: Timestamp) -> io::Result<()> {
    let content = Content {
        pool,
        source: position.source.to_string(),
        epoch: position.epoch,
        generation: position.generation,
        time: format!("{now:.3}"),
    };
    let mut line = serde_json::to_vec(&content)?;
    line.push(b'\n');
    replace(copy, FILE, &line, Durability::None)
}

/// Whether a file outlives a loss of power from now on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Durability {
    /// After one the file may be the old one, the new one, or empty.
    None,
    /// The new one.
    Synced,
}

/// Replaces a file in our directory of a volume.
pub(super) fn replace(volume: &Path, name: &str, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let root = openat(CWD, volume, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (directory, next) = (directory(&root)?, format!("{name}.next"));
    remove(&directory, &next)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&directory, &next, flags, Mode::from_raw_mode(0o644))?);
    file.write_all(bytes)?;
    if durability == Durability::Synced {
        file.sync_all()?;
    }
    renameat(&directory, &next, &directory, name)?;
    if durability == Durability::Synced { File::from(directory).sync_all() } else { Ok(()) }
}

/// Removes a file of our directory of a volume.
pub(super) fn forget(volume: &Path, name: &str) -> io::Result<()> {
    let root = openat(CWD, volume, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    remove(&openat(&root, DIRECTORY, OPEN_DIRECTORY, Mode::empty())?, name)
}

/// Reads a file of our directory of a volume, at most so many bytes.
pub(super) fn read(volume: &Path, name: &str, longest: u64) -> io::Result<Vec<u8>> {
    let root = openat(CWD, volume, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let directory = openat(&root, DIRECTORY, OPEN_DIRECTORY, Mode::empty())?;
    // A pod may have put a pipe there, which nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut bytes = Vec::new();
    File::from(openat(&directory, name, flags, Mode::empty())?).take(longest).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens the directory; whatever else has its name is put out of the way, or makes it fail.
fn directory(root: &OwnedFd) -> io::Result<OwnedFd> {
    match openat(root, DIRECTORY, OPEN_DIRECTORY, Mode::empty()) {
        Ok(directory) => return Ok(directory),
        Err(Errno::NOENT) => {}
        Err(Errno::NOTDIR | Errno::LOOP) => remove(root, DIRECTORY)?,
        Err(error) => return Err(error.into()),
    }
    keeping_times(root, || Ok(mkdirat(root, DIRECTORY, Mode::from_raw_mode(0o755))?))?;
    Ok(openat(root, DIRECTORY, OPEN_DIRECTORY, Mode::empty())?)
}

/// Changes something in a directory without a trace in its times.
fn keeping_times(directory: &OwnedFd, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let before = statat(directory, "", AtFlags::EMPTY_PATH)?;
    change()?;
    let time = |seconds, nanoseconds| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(before.st_atime, before.st_atime_nsec.cast_signed()),
        last_modification: time(before.st_mtime, before.st_mtime_nsec.cast_signed()),
    };
    Ok(futimens(directory, &times)?)
}

/// Removes what pods have left in directories of a copy that belong to each filesystem, into which no comparison looks.
///
/// Nobody else may work on the copy meanwhile, and no pod may have it.
pub(super) fn clear(copy: &Path) -> io::Result<()> {
    let root = openat(CWD, copy, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    keeping_times(&root, || OF_EACH_FILESYSTEM.iter().try_for_each(|name| empty(&root, name)))?;
    directory(&root).map(drop)
}

fn empty(root: &OwnedFd, name: &str) -> io::Result<()> {
    let directory = match openat(root, name, OPEN_DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return remove(root, name),
        Err(error) => return Err(error.into()),
    };
    // By its descriptor: whatever has the name meanwhile, this is the directory that was opened.
    for entry in std::fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { std::fs::remove_dir_all(entry.path())? } else { std::fs::remove_file(entry.path())? }
    }
    Ok(())
}

fn remove(directory: impl AsFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use treesync::model::SourceId;

    const NEXT: &str = "generation.json.next";

    fn position(generation: u64) -> Position {
        Position { source: SourceId([7; 16]), epoch: 2, generation }
    }

    fn written(copy: &Path, generation: u64) -> serde_json::Value {
        write(copy, "shop/web", &position(generation), Timestamp::UNIX_EPOCH).expect("it can be written");
        let text = fs::read_to_string(copy.join(".volume-dispatcher/generation.json")).expect("it is there");
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        serde_json::from_str(&text).expect("it is JSON")
    }

    #[test]
    fn the_file_says_pool_source_epoch_generation_and_time_and_is_replaced() {
        let copy = tempfile::tempdir().expect("a folder");
        let first = written(copy.path(), 41);
        assert_eq!(first["pool"], "shop/web");
        assert_eq!(first["source"], "07070707-0707-0707-0707-070707070707");
        assert_eq!((&first["epoch"], &first["generation"]), (&2.into(), &41.into()));
        assert_eq!(first["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(written(copy.path(), 42)["generation"], 42);
        let names: Vec<_> = fs::read_dir(copy.path().join(DIRECTORY)).expect("it is there").flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn the_root_keeps_its_time_of_change() {
        let copy = tempfile::tempdir().expect("a folder");
        let before = fs::metadata(copy.path()).expect("it is there");
        prepare(copy.path()).expect("it can be prepared");
        written(copy.path(), 1);
        let after = fs::metadata(copy.path()).expect("it is there");
        assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()));
    }

    #[test]
    fn what_a_pod_left_where_no_comparison_looks_is_cleared_away_and_nothing_else() {
        let (copy, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let precious = elsewhere.path().join("precious");
        for path in [&precious, &copy.path().join("page")] {
            fs::write(path, "as it was").expect("a file");
        }
        for name in OF_EACH_FILESYSTEM {
            let folder = copy.path().join(name);
            fs::create_dir_all(folder.join("deep/deeper")).expect("a folder");
            fs::write(folder.join("deep/secret"), "mine").expect("a file");
            symlink(elsewhere.path(), folder.join("link")).expect("a link");
            symlink(elsewhere.path(), folder.join("deep/link")).expect("a link");
        }
        let time = |path: &Path| fs::metadata(path).map(|data| (data.mtime(), data.mtime_nsec())).expect("it is there");
        let before = time(copy.path());
        clear(copy.path()).expect("it can be cleared");
        assert_eq!(time(copy.path()), before);
        for name in OF_EACH_FILESYSTEM {
            assert_eq!(fs::read_dir(copy.path().join(name)).expect("it is there").count(), 0, "{name}");
        }
        fs::remove_dir_all(copy.path().join("lost+found")).expect("it can go");
        drop(fs::remove_dir_all(copy.path().join(DIRECTORY)));
        symlink(elsewhere.path(), copy.path().join(DIRECTORY)).expect("a link");
        clear(copy.path()).expect("it can be cleared");
        assert!(copy.path().join(DIRECTORY).is_dir() && !copy.path().join(DIRECTORY).is_symlink());
        for path in [&precious, &copy.path().join("page")] {
            assert_eq!(fs::read_to_string(path).expect("it is there"), "as it was");
        }
    }

    #[test]
    fn links_that_a_pod_puts_in_the_way_lead_nowhere() {
        let (copy, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        symlink(elsewhere.path(), copy.path().join(DIRECTORY)).expect("a link");
        assert_eq!(written(copy.path(), 1)["generation"], 1);
        let precious = elsewhere.path().join("precious");
        fs::write(&precious, "as it was").expect("a file");
        for name in [FILE, NEXT] {
            drop(fs::remove_file(copy.path().join(DIRECTORY).join(name)));
            symlink(&precious, copy.path().join(DIRECTORY).join(name)).expect("a link");
            assert_eq!(written(copy.path(), 2)["generation"], 2);
        }
        assert_eq!(fs::read_to_string(&precious).expect("it is there"), "as it was");
        assert_eq!(fs::read_dir(elsewhere.path()).expect("it is there").count(), 1);
    }
}
