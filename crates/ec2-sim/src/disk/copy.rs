//! Files of volumes and snapshots: made, cloned by reflink, or copied without their holes.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, ioctl_ficlone, seek};
use rustix::io::Errno;

use crate::error::{Error, io};

/// Makes an empty sparse file of `size` bytes; nothing when it is there already.
pub(crate) fn create(file: &Path, size: u64) -> Result<(), Error> {
    whole(file, |partial| partial.set_len(size))
}

/// Makes `to` with the content of `from`, grown to `size` bytes; nothing when it is there already.
pub(crate) fn clone(from: &Path, to: &Path, size: u64) -> Result<(), Error> {
    if to.exists() {
        return Ok(());
    }
    let source = File::open(from).map_err(io("open", from))?;
    whole(to, |partial| {
        reflink_or_copy(&source, partial)?;
        partial.set_len(size)
    })
}

/// Puts a clone in a file's place, so that whoever has the file open no longer changes it.
pub(crate) fn replace_with_clone(file: &Path) -> Result<(), Error> {
    let source = File::open(file).map_err(io("open", file))?;
    let partial = write_partial(file, |partial| reflink_or_copy(&source, partial))?;
    publish(&partial, file)
}

/// Makes a file that is either there as a whole or not at all.
fn whole(file: &Path, write: impl FnOnce(&File) -> std::io::Result<()>) -> Result<(), Error> {
    if file.exists() {
        return Ok(());
    }
    let partial = write_partial(file, write)?;
    publish(&partial, file)
}

fn write_partial(file: &Path, write: impl FnOnce(&File) -> std::io::Result<()>) -> Result<PathBuf, Error> {
    let partial = file.with_extension("img.partial");
    // Read and write for the owner, whatever the source allowed: a loop device
    // on a file that cannot be written would be read-only.
    let target =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(io("create", &partial))?;
    write(&target).map_err(io("write", &partial))?;
    target.sync_all().map_err(io("sync", &partial))?;
    Ok(partial)
}

/// Puts a finished file in its place; on return the disk knows its name.
pub(super) fn publish(partial: &Path, file: &Path) -> Result<(), Error> {
    fs::rename(partial, file).map_err(io("create", file))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let open = File::open(folder).map_err(io("open", folder))?;
    open.sync_all().map_err(io("sync", folder))
}

/// Whether the filesystem of this folder clones files without copying them.
pub(crate) fn has_reflinks(folder: &Path) -> Result<bool, Error> {
    let paths = [folder.join("reflink-a.partial"), folder.join("reflink-b.partial")];
    let [a, b] = &paths;
    let from = File::create(a).map_err(io("create", a))?;
    let to = File::create(b).map_err(io("create", b))?;
    from.set_len(1).map_err(io("write", a))?;
    let readable = File::open(a).map_err(io("open", a))?;
    let cloned = ioctl_ficlone(&to, &readable).is_ok();
    for path in &paths {
        super::remove(path)?;
    }
    Ok(cloned)
}

fn reflink_or_copy(from: &File, to: &File) -> std::io::Result<()> {
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(()),
        // The filesystem has no reflinks.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => sparse_copy(from, to),
        Err(e) => Err(e.into()),
    }
}

/// Copies the data of `from` and leaves its holes holes.
fn sparse_copy(from: &File, to: &File) -> std::io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut at = 0;
    while at < size {
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let hole = seek(from, SeekFrom::Hole(data))?;
        seek(from, SeekFrom::Start(data))?;
        seek(to, SeekFrom::Start(data))?;
        // The standard library uses copy_file_range here, and falls back where it must.
        std::io::copy(&mut from.take(hole - data), &mut &*to)?;
        at = hole;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    #[test]
    fn a_clone_has_the_content_and_keeps_the_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.img"), folder.path().join("b.img"));
        create(&from, 64 << 20).unwrap();
        let file = OpenOptions::new().write(true).open(&from).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", 33_000_000).unwrap();
        clone(&from, &to, 128 << 20).unwrap();
        let copy = File::open(&to).unwrap();
        let mut text = [0; 6];
        copy.read_exact_at(&mut text, 33_000_000).unwrap();
        assert_eq!(&text, b"middle");
        assert_eq!(copy.metadata().unwrap().len(), 128 << 20);
        let stored = copy.metadata().unwrap().blocks() * 512;
        assert!(stored < 1 << 20, "{stored} bytes for eleven");
    }

    #[test]
    fn a_sparse_copy_equals_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.img");
        create(&path, 3 << 20).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file.write_all_at(&[7; 5000], 4090).unwrap();
        file.write_all_at(&[9; 10], (3 << 20) - 10).unwrap();
        let to = tempfile::tempfile().unwrap();
        sparse_copy(&file, &to).unwrap();
        let read = |file: &File| {
            let mut content = vec![0; 3 << 20];
            file.read_exact_at(&mut content, 0).unwrap();
            content
        };
        assert!(read(&file) == read(&to));
    }

    #[test]
    fn a_file_that_exists_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.img");
        fs::write(&path, b"precious").unwrap();
        create(&path, 1 << 20).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
